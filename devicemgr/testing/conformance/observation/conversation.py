"""The conversation behind a verdict: what was said while a check was run, as lines."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from ....core.conversation.items import Item
from ....core.conversation.stream import Conversation
from ....core.conversation.text import lines_of
from ....events import DeviceListReceived
from .evidence import Seen

MOST_LINES = 100
"""How many lines a result keeps: the last ones, since a check ends when it knows enough."""


def conversation_lines(
    history: Sequence[Seen], *, begin: int, since: float, without_secrets: Callable[[str], str] = str
) -> tuple[str, ...]:
    """What was said from the entry ``begin`` on, with seconds from ``since``. What was said before is looked at, too:
    a plug-in is known by the socket that it has registered."""
    conversation = Conversation()
    kept: deque[Item] = deque(maxlen=MOST_LINES)
    total = 0
    for place, seen in enumerate(history):
        for item in conversation.tell(_as_json(seen)):
            if place >= begin:
                kept.append(item)
                total += 1
    earlier = [f"… {total - len(kept):,} earlier lines"] if total > len(kept) else []
    return (*earlier, *map(without_secrets, lines_of(list(kept), since=since)))


def _as_json(seen: Seen) -> dict[str, Any]:
    """As in a trace, but without a copy of everything that an answer has."""
    event = seen.event
    values = {field.name: getattr(event, field.name) for field in fields(event)}
    if isinstance(event, DeviceListReceived):
        values["devices"] = [{"health": device.health} for device in event.devices]
    return {"event": type(event).__name__, "time": seen.time, **values}
