"""Items as lines, one each: when, who to whom, what, and how it ended. On a terminal a long one is folded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...folding import folded
from .elapsed import with_duration
from .items import MANAGER, Call, Item, Note

LEGEND = "→ is a call, ⇢ an answer or an entry of a stream, ! a failure or a warning; no arrow: the manager by itself."
"""What the signs in the lines mean; every view that has lines says it."""
_NAMES = 40
"""Characters of the column of names; longer ones push the rest of their line to the right."""
_MOST_NAMES = 80
"""The same at most, where the column becomes as wide as its names need."""


_ROOM = 40
"""Characters beside the names, at least: where a terminal has fewer, what was said is below them."""


def lines_of(items: Sequence[Item], *, since: float | None, columns: int | None = None) -> list[str]:
    """All of them, below each other; folded for a terminal with so many ``columns``."""
    width = column_for(items, columns=columns)
    return [line for item in items for line in folded_line(item, since=since, width=width, columns=columns)]


def column_for(items: Iterable[Item], *, columns: int | None = None) -> int:
    """The width of the column of names of these lines. On a terminal it is no wider than they need."""
    least = _NAMES if columns is None else 0
    return min(max([least, *(len(_names(item)) for item in items)]), _MOST_NAMES)


def line_of(item: Item, *, since: float | None, width: int = _NAMES) -> str:
    """``    0.004 s    manager → gpu.sock [vendor.com/gpu]  Allocate(dev-0) ⇢ 1 device node (1.2 ms)``.

    ``since`` is the time from which seconds are counted; without it, or without a time, there is no such column.
    """
    return f"{_margin(item, since)}{_names(item):{width}}  {_said(item)}"


def folded_line(item: Item, *, since: float | None, width: int, columns: int | None) -> list[str]:
    """The same on a terminal with so many ``columns``, in as many lines as it needs; in one without (None)."""
    if columns is None:
        return [line_of(item, since=since, width=width)]
    names = f"{_margin(item, since)}{_names(item):{width}}  "
    if columns - len(names) >= _ROOM:
        return _folded_said(names, item, columns)
    below = len(_margin(item, since)) + 2
    return [*folded(names.rstrip(), columns, indent=below), *_folded_said(" " * below, item, columns)]


def _folded_said(before: str, item: Item, columns: int) -> list[str]:
    """What was said, below each other: a long call and its answer are two."""
    indent, line = len(before), f"{before}{_said(item)}"
    if len(line) <= columns or not isinstance(item, Call):
        return folded(line, columns, indent=indent)
    answer = folded(f"{' ' * indent}{_answer(item)}", columns, indent=indent + 2)
    return [*folded(f"{before}{item.text}", columns, indent=indent), *answer]


def _margin(item: Item, since: float | None) -> str:
    when = "" if since is None or item.time is None else f"{item.time - since:9.3f} s  "
    return f"{when}{'! ' if item.failed else '  '}"


def _names(item: Item) -> str:
    if isinstance(item, Note):
        return MANAGER.name
    arrow = "→" if isinstance(item, Call) or not item.is_reply else "⇢"
    return f"{item.source.label} {arrow} {item.target.label}"


def _said(item: Item) -> str:
    if isinstance(item, Note):
        return item.sentence
    return f"{item.text} {_answer(item)}" if isinstance(item, Call) else item.text


def _answer(call: Call) -> str:
    return f"⇢ {with_duration(call.answer, call.seconds)}"
