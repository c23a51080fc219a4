"""In what two sides differ."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .story import Step

MISSING = "(missing)"
REWORDED = {
    r"endpoint \S.* has been stopped": "the endpoint has been stopped",  # LW-10: the dump of a Go struct
    r"(no containers return in allocation response)[^,]*": r"\1",  # ALLOC-E10: another
    r"requested API version .* is not supported by kubelet.*": "is not supported by kubelet",  # REG-5
    r"the ResourceName .* is invalid.*": "the ResourceName is invalid",  # REG-5: ours says why
}
"""Texts of which only a part is meant to be matched, and that part."""


@dataclass(frozen=True)
class Difference:
    """What one step showed of one thing, on both sides."""

    number: int
    step: Step
    where: tuple[str, ...]
    judge: Any
    ours: Any
    item: str | None = None
    """The item of the book that explains it."""

    def __str__(self) -> str:
        known = f" ({self.item})" if self.item else ""
        where = " / ".join(self.where)
        return f"step {self.number}, {self.step!r}{known}: {where}:\n    judge {self.judge!r}\n    ours  {self.ours!r}"


def differing(judge: Any, ours: Any, where: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Each place in which two values of plain types differ, down to the keys of dictionaries; but a pod that only one
    side has admitted is one difference, and so is a refusal."""
    if _is_refused(judge) != _is_refused(ours):
        yield where, judge, ours
    elif isinstance(judge, dict) and isinstance(ours, dict) and where[-1:] != ("refused",):
        for key in sorted(judge.keys() | ours.keys(), key=str):
            yield from differing(judge.get(key, MISSING), ours.get(key, MISSING), (*where, str(key)))
    elif _plain(judge) != _plain(ours):
        yield where, judge, ours


def _is_refused(value: Any) -> bool:
    return isinstance(value, dict) and value.get("refused") is not None


def without_empty(seen: Any) -> Any:
    """Without what is empty: resources without devices, containers without resources, and so on."""
    if isinstance(seen, dict):
        kept = {key: without_empty(one) for key, one in seen.items()}
        return {key: one for key, one in kept.items() if one not in ({}, None)}
    return seen


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, str):
        for text, stable in REWORDED.items():
            value = re.sub(text, stable, value)
    return value


def without_ids(seen: Any) -> Any:
    """What was seen in a step, with how many ids there are instead of which. Only ids that somebody chose go: those of
    lists and of allocatable devices stay."""
    return _without_ids(seen, ())


def _without_ids(value: Any, where: tuple[str, ...]) -> Any:
    match where:
        case (*_, "calls", _):
            return [tuple(len(part) if isinstance(part, list) else part for part in call) for call in value]
        case ("result", _, "containers", _, "devices", _) | (*_, "entries", _, "devices", _):
            return len(value)
        case (*_, "options") if isinstance(value, dict):
            return {name: len(part) for name, part in value.items()}
        case (*_, "answer"):
            return sorted(value)
        case (*_, "health", _, _, _):
            return sorted(value.values())
        case (*_, "pod-resources", _, _, "containers", _, _):
            return sorted(entry.partition("@")[2] for entry in value)
    if isinstance(value, dict):
        return {key: _without_ids(one, (*where, key)) for key, one in value.items()}
    return value


def without_order(seen: dict[str, Any]) -> dict[str, Any]:
    """The admissions of several pods, whoever came first."""
    admissions = [{**one, "pod": ""} for one in seen["result"].values()]
    calls = {plugin: sorted(map(_whoever_came_first, received)) for plugin, received in seen["calls"].items()}
    return {"result": sorted(admissions, key=str), "calls": calls}


def _whoever_came_first(call: tuple[Any, ...]) -> str:
    """A call without the devices that were still available, of which the first pod finds the most."""
    name, *parts = call
    return str((name, *parts[1:]) if name == "GetPreferredAllocation" else call)
