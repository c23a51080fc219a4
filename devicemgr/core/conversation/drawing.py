"""Items in the order of a picture, and how much of them is drawn: a picture is for a person."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

from ...events.timestamp import timestamp
from .elapsed import Elapsed, with_duration
from .items import API_SERVER, CALLER, CHECK, MANAGER, Call, Item, Lifeline, Message, Note, lifelines_of

MOST_DRAWN = 500
"""Items. Of a longer conversation the last ones are drawn; the text has all."""
MOST_PLUGINS = 20
"""Lifelines of plug-ins."""
_OTHERS = (MANAGER, CALLER, CHECK, API_SERVER)
"""All other lifelines are of plug-ins, also if an event names no resource."""

_LEGEND = ("solid: a call", "dashed: an answer, or an entry of a stream")
"""However it is drawn; it stands below the arrows."""

Arrow: TypeAlias = Message | Note
"""What is drawn: a call is two of them."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """``lifelines`` from left to right: plug-ins, the manager, all others. ``left_out`` says what is not drawn, or is
    empty. Times are shown in seconds ``since`` then, as in the text; None if there are none."""

    lifelines: tuple[Lifeline, ...]
    arrows: tuple[Arrow, ...]
    left_out: str = ""
    since: float | None = None

    def when(self, arrow: Arrow) -> str:
        """``0.004 s``, or empty."""
        if self.since is None or arrow.time is None:
            return ""
        return f"{round(arrow.time - self.since, 3) + 0.0:.3f} s"  # and no -0.000

    @property
    def legend(self) -> tuple[str, ...]:
        """What the arrows mean, and the times."""
        times = () if self.since is None else (f"times: seconds since {timestamp(max(0.0, self.since))}",)
        return (*_LEGEND, *times)


def drawing_of(items: Iterable[Item]) -> Drawing:
    """As a picture shows them: of too many, the last ones."""
    kept: deque[Item] = deque(maxlen=MOST_DRAWN)
    total, since = 0, None
    for item in items:
        kept.append(item)
        total += 1
        since = item.time if since is None else since
    plugins = list(dict.fromkeys(one for item in kept for one in lifelines_of(item) if one not in _OTHERS))
    drawn, undrawn = plugins[:MOST_PLUGINS], set(plugins[MOST_PLUGINS:])
    items = [item for item in kept if undrawn.isdisjoint(lifelines_of(item))]
    others = {one for item in items for one in lifelines_of(item)}
    lifelines = (*drawn, MANAGER, *(one for one in _OTHERS[1:] if one in others))
    missing = []
    if total > len(kept):
        missing.append(f"{total - len(kept):,} earlier steps")
    if undrawn:
        missing.append(f"{len(undrawn):,} more plug-ins")
    left_out = f"not drawn: {' and '.join(missing)}" if missing else ""
    return Drawing(lifelines, tuple(_in_time(items)), left_out, since)


def _arrows_of(item: Item) -> list[tuple[float, Arrow]]:
    """A call as its request, when it was made, and its answer. Each with the seconds by which it was before the end."""
    if not isinstance(item, Call):
        return [(0.0, item)]
    took = item.seconds or 0.0
    request = Message(
        time=None if item.time is None else item.time - took,
        source=item.source,
        target=item.target,
        text=item.text,
        about=item.about,
        rule=item.rule,
    )
    answer = replace(
        request,
        time=item.time,
        source=item.target,
        target=item.source,
        text=with_duration(item.answer, item.seconds),
        is_reply=True,
        failed=item.failed,
    )
    return [(took, request), (0.0, answer)]


def _in_time(items: list[Item]) -> list[Arrow]:
    """Of calls side by side all requests come before the answers. Without times the order is that of the events."""
    elapsed = Elapsed()
    arrows = [(elapsed.until(item.time) - before, arrow) for item in items for before, arrow in _arrows_of(item)]
    if all(item.time is not None for item in items):
        arrows.sort(key=lambda one: one[0])
    return [arrow for _, arrow in arrows]
