"""The log of events, and how tasks wait for them."""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..concurrency.condition_variable import ConditionVariable
from ..concurrency.task_descriptions import describes_task
from ..events import Event, as_json

MAX_EVENTS = 1000
"""How many events the log keeps; older ones are in the trace file only."""


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event with its number (from 1) and the time it was recorded, in seconds since the epoch.

    An event that the log does not keep has the number of the one before it.
    """

    sequence: int
    time: float
    event: Event

    def as_json(self) -> dict[str, Any]:
        return {"sequence": self.sequence, "time": round(self.time, 6), **as_json(self.event)}


Sink = Callable[[RecordedEvent], None]
"""Gets every event when it is recorded, for example to write it to a file. Must not block for long."""


class EventLog:
    """Records events, and wakes the tasks that wait for a change of the manager's state."""

    def __init__(self, sinks: Iterable[Sink] = (), *, clock: Callable[[], float] = time.time) -> None:
        self._sinks = tuple(sinks)
        self._clock = clock
        self._events: deque[RecordedEvent] = deque(maxlen=MAX_EVENTS)
        self._count = 0
        self._closed = False
        self.id = secrets.token_hex(8)
        """Another log counts from one again: a number says which event it is only together with this."""
        self.changed = ConditionVariable()
        """Notified after every event, and so after every change of the manager's state."""

    def record(self, events: Iterable[Event]) -> None:
        """Keep the events, hand them to the sinks, and wake the tasks that wait for them."""
        for event in events:
            self._count += event.is_remembered
            recorded = RecordedEvent(self._count, self._clock(), event)
            if event.is_remembered:
                self._events.append(recorded)
            for sink in self._sinks:
                sink(recorded)
        self.changed.notify()

    def age(self, recorded: RecordedEvent) -> float:
        """Seconds since the event was recorded."""
        return self._clock() - recorded.time

    def after(self, sequence: int) -> list[RecordedEvent]:
        """The events in the log with a higher number."""
        return [recorded for recorded in self._events if recorded.sequence > sequence]

    def has_after(self, sequence: int) -> bool:
        return bool(self._events) and self._events[-1].sequence > sequence

    @describes_task(waits_for="the next event")
    async def wait_after(self, sequence: int) -> list[RecordedEvent]:
        """The same, but waits for the next event when there is none; empty only after :meth:`close`."""
        await self.wait_until(lambda: self._closed or self.has_after(sequence))
        return self.after(sequence)

    async def wait_closed(self) -> None:
        """Return after :meth:`close`."""
        await self.wait_until(lambda: self._closed)

    @property
    def is_closed(self) -> bool:
        """Whether :meth:`close` was called, and not :meth:`open` since."""
        return self._closed

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return when ``condition`` holds; it is evaluated after every event."""
        await self.changed.wait_until(condition)

    def close(self) -> None:
        """Let all calls of :meth:`wait_after` return, now and until :meth:`open`."""
        self._closed = True
        self.changed.notify()

    def open(self) -> None:
        self._closed = False
