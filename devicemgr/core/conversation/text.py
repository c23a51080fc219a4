"""Items as lines, one each: when, who to whom, what, and how it ended."""

from __future__ import annotations

from .items import Call, Item, Lifeline, Note

_NAMES = 40
"""Characters of the column of names; longer ones push the rest of their line to the right."""


def line_of(item: Item, *, since: float | None) -> str:
    """``    0.004 s    manager → gpu.sock [vendor.com/gpu]  Allocate(dev-0) ⇢ 1 device node (1.2 ms)``.

    ``since`` is the time from which seconds are counted; without it, or without a time, there is no such column.
    """
    when = "" if since is None or item.time is None else f"{item.time - since:9.3f} s  "
    mark = "! " if item.failed else "  "
    if isinstance(item, Note):
        about = f" [{', '.join(sorted(item.about))}]" if item.about else ""
        return f"{when}{mark}{'manager':{_NAMES}}  {item.text}{about}"
    arrow = "→" if isinstance(item, Call) or not item.is_reply else "⇢"
    names = f"{_name(item.source)} {arrow} {_name(item.target)}"
    if not isinstance(item, Call):
        return f"{when}{mark}{names:{_NAMES}}  {item.text}"
    return f"{when}{mark}{names:{_NAMES}}  {item.text} ⇢ {item.answer}{_duration(item.seconds)}"


def _name(lifeline: Lifeline) -> str:
    return f"{lifeline.name} [{lifeline.resource}]" if lifeline.resource else lifeline.name


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f" ({seconds * 1000:.1f} ms)" if seconds < 1 else f" ({seconds:.1f} s)"
