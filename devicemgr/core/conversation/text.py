"""Items as lines, one each: when, who to whom, what, and how it ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .items import MANAGER, Call, Item, Lifeline, Note

LEGEND = "→ is a call, ⇢ an answer or an entry of a stream, ! a failure or a warning; no arrow: the manager by itself."
"""What the signs in the lines mean; every view that has lines says it."""
_NAMES = 40
"""Characters of the column of names; longer ones push the rest of their line to the right."""
_MOST_NAMES = 80
"""The same at most, where the column becomes as wide as its names need."""


def lines_of(items: Sequence[Item], *, since: float | None) -> list[str]:
    """All of them, below each other."""
    width = column_for(items)
    return [line_of(item, since=since, width=width) for item in items]


def column_for(items: Iterable[Item]) -> int:
    """The width of the column of names of these lines."""
    return min(max([_NAMES, *(len(_names(item)) for item in items)]), _MOST_NAMES)


def line_of(item: Item, *, since: float | None, width: int = _NAMES) -> str:
    """``    0.004 s    manager → gpu.sock [vendor.com/gpu]  Allocate(dev-0) ⇢ 1 device node (1.2 ms)``.

    ``since`` is the time from which seconds are counted; without it, or without a time, there is no such column.
    """
    when = "" if since is None or item.time is None else f"{item.time - since:9.3f} s  "
    mark = "! " if item.failed else "  "
    return f"{when}{mark}{_names(item):{width}}  {_said(item)}"


def _names(item: Item) -> str:
    if isinstance(item, Note):
        return MANAGER.name
    arrow = "→" if isinstance(item, Call) or not item.is_reply else "⇢"
    return f"{_name(item.source)} {arrow} {_name(item.target)}"


def _said(item: Item) -> str:
    if isinstance(item, Note):
        return item.sentence
    return f"{item.text} ⇢ {item.answer}{_duration(item.seconds)}" if isinstance(item, Call) else item.text


def _name(lifeline: Lifeline) -> str:
    return f"{lifeline.name} [{lifeline.resource}]" if lifeline.resource else lifeline.name


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f" ({seconds * 1000:.1f} ms)" if seconds < 1 else f" ({seconds:.1f} s)"
