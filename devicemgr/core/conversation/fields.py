"""Reading the fields of an event that may come from any file: of another version, cut, or made up.

A field that is missing or has another type counts as empty. No text is longer than what a line can show.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...events.summary import LONGEST, devices_in_short, shortened
from ...printable import printable

Event = Mapping[str, Any]
"""An event as :func:`~devicemgr.events.as_json` returns it, with its ``time`` if that is known."""
_LARGEST = 1e15
_MOST = 8
"""How many names of a list are shown."""


def text(event: Event, name: str, longest: int = LONGEST) -> str:
    """Safe for a terminal, and on one line."""
    value = event.get(name)
    return clean(value, longest) if isinstance(value, str) else ""


def clean(value: str, longest: int = LONGEST) -> str:
    """Shortened first: escaping a text of a megabyte would take long, and what is cut is not shown anyway."""
    return shortened(printable(shortened(value, longest)), longest)


def number(event: Event, name: str) -> float | None:
    value = event.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < _LARGEST else None  # neither is infinity, nor what is no number


def count(event: Event, name: str) -> int:
    return int(number(event, name) or 0)


def flag(event: Event, name: str) -> bool:
    return event.get(name) is True


def strings(event: Event, name: str) -> list[str]:
    value = event.get(name)
    return [one for one in value if isinstance(one, str)] if isinstance(value, list | tuple) else []


def mapping(event: Event, name: str) -> dict[str, Any]:
    value = event.get(name)
    return {key: one for key, one in value.items() if isinstance(key, str)} if isinstance(value, Mapping) else {}


def devices(event: Event, name: str) -> str:
    return clean(devices_in_short(strings(event, name)))


def listed(values: Iterable[str], longest: int = 80) -> str:
    values = list(values)
    more = f" and {len(values) - _MOST:,} more" if len(values) > _MOST else ""
    return ", ".join(clean(one, longest) for one in values[:_MOST]) + more
