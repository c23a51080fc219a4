"""The page of a trace: the same views of any moment, by replaying the events up to it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import trio

from ... import events as kinds
from ...core.conversation.fields import number
from ...core.views.overview import overview
from ...core.views.recorded_tree import RecordedTree
from ...core.views.replay import Recorded, Replay
from ...core.views.task_tree import TaskTree
from ...steps import SMALL_CHUNK, Steps, in_chunks
from ...turns import run_in_turns
from .feed import MAX_EVENTS
from .parts import PartsOf, message, tree_part
from .told import Told


class Recording:
    """The events of a trace, and what they show of a moment. The moment of an event is in seconds after the first one;
    of events without times, each is a second after the one before."""

    def __init__(self, file: str, events: Sequence[Recorded]) -> None:
        self._file = file
        self._events = events
        self._seconds = _moments(events)
        self._began = next((time for one in events if (time := number(one, "time")) is not None), 0.0)
        told = Told()
        self._told = [told({**one, "sequence": n}, _severity(one)) for n, one in enumerate(events, 1)]
        """Their numbers are their places: events that no log keeps have none of their own."""
        self._lock = trio.Lock()
        self._replay = Replay()
        self._replayed = 0
        """How many events were applied."""
        self._parts_of = PartsOf()

    def about(self) -> dict[str, Any]:
        return {"mode": "trace", "file": self._file, "duration": self._seconds[-1] if self._seconds else 0.0}

    def count_until(self, seconds: float) -> int:
        """How many events there were by then."""
        return bisect_right(self._seconds, seconds)

    async def at(self, count: int) -> str:
        """What is shown after the first ``count`` events: a complete message, with its ``moment``."""
        async with self._lock:
            count = min(max(count, 0), len(self._events))
            parts = dict(await run_in_turns(self._seeking(count)))
            parts["tasks"] = tree_part(await run_in_turns(self._tree(count)))
        first = max(count - MAX_EVENTS, 0)
        moment = self._moment(count)
        now = self._began + moment["seconds"]
        return message(parts, events=self._told[first:count], first=True, moment=moment, now=now)

    def _seeking(self, count: int) -> Steps[Mapping[str, str]]:
        if count < self._replayed:
            self._replay, self._replayed = Replay(), 0
        while self._replayed < count:
            yield from self._replay.applying(self._events[self._replayed])
            self._replayed += 1
        seen = yield from overview(self._replay.store)
        return (yield from self._parts_of(seen))

    def _tree(self, count: int) -> Steps[TaskTree]:
        """What the events tell of the tasks: coarser than the tree of a running manager."""
        recorded = RecordedTree(None, events=count)
        for some in in_chunks(range(len(self._events)), SMALL_CHUNK):
            for place in some:
                recorded.add({**self._events[place], "time": self._began + self._seconds[place]})
            yield
        return recorded.tree()

    def _moment(self, count: int) -> dict[str, Any]:
        seconds = self._seconds[count - 1] if count else 0.0
        following = self._seconds[count] if count < len(self._seconds) else seconds
        return {
            "event": count,
            "of": len(self._events),
            "seconds": seconds,
            "next": following - seconds,
            "what": self._events[count - 1]["event"] if count else "",
        }


def _moments(events: Sequence[Recorded]) -> list[float]:
    """Never less than the one before: the clock of a trace may have been set."""
    moments: list[float] = []
    first: float | None = None
    for place, event in enumerate(events):
        time = number(event, "time")
        if time is not None and first is None:
            first = time - place
        moment = float(place) if time is None or first is None else time - first
        moments.append(max(moment, moments[-1]) if moments else moment)
    return moments


def _severity(event: Recorded) -> str:
    fields = {name: value for name, value in event.items() if name not in ("event", "sequence", "time")}
    try:
        return str(getattr(kinds, event["event"])(**fields).severity)
    except (AttributeError, TypeError, ValueError):  # of another version, or not an event
        return str(kinds.Severity.INFO)
