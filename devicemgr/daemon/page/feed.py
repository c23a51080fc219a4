"""What the page shows, kept up to date as long as somebody looks.

One task looks at the manager, at most ten times a second, for all readers together. A reader gets the parts that differ
from those it got before: of what happens while it is slow it gets the latest state only, and nothing is kept for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import thread_time, time

import trio

from ...condition_variable import ConditionVariable
from ...core.views.overview import Overview
from ...core.views.task_tree import TaskTree
from ...steps import Steps
from ...task_descriptions import describes_task
from ...turns import run_in_turns
from ..event_log import EventLog
from .parts import Parts, PartsOf, message, tree_part
from .told import Told

PERIOD = 0.1
"""Seconds between two looks, at least."""
TASKS_PERIOD = 1.0
"""Seconds between two looks at the tasks."""
MOST_OF_THE_TIME = 0.1
"""The share of the processor's time that looking may take: with very many devices, looks are rarer."""
MAX_EVENTS = 300
"""The newest events, which a reader gets at first, and the most that it is sent at once."""


class Feed:
    """``look`` gives the present state, ``look_at_tasks`` the running tasks, and ``count`` a number that grows with
    each event, remembered or not."""

    def __init__(
        self,
        look: Callable[[], Steps[Overview]],
        look_at_tasks: Callable[[], TaskTree],
        log: EventLog,
        count: Callable[[], int],
    ) -> None:
        self._overview = look
        self._task_tree = look_at_tasks
        self._log = log
        self._count = count
        self._seen = -1
        """The count at the last look."""
        self.readers = 0
        self._updated = ConditionVariable()
        self._parts_of = PartsOf()
        self._told = Told()
        self.version = 0
        """The number of looks."""
        self.parts: Parts = {}
        self._state: Parts = {}
        self._tasks = ""
        self._tasks_due = float("-inf")
        self.events: deque[tuple[int, str]] = deque(maxlen=MAX_EVENTS)
        """The newest ones, by their number."""

    @describes_task(name="feed of the page", waits_for="a change and somebody who reads")
    async def keep(self) -> None:
        """As long as somebody reads, look whenever something has happened, and at the tasks once a second: they go on
        without events. Until cancelled."""
        while True:
            await self._log.changed.wait_until(lambda: self.readers > 0)
            with trio.move_on_after(TASKS_PERIOD):
                await self._log.changed.wait_until(lambda: not self.is_fresh)
            spent = await self._look()
            await trio.sleep(max(PERIOD, spent / MOST_OF_THE_TIME))

    @property
    def is_fresh(self) -> bool:
        """Has nothing happened since the last look?"""
        return self._count() == self._seen

    async def _look(self) -> float:
        """Returns the seconds of CPU time that it took."""
        spent: list[float] = []
        if not self.is_fresh:
            self._seen = self._count()
            overview = await run_in_turns(self._overview(), spent.append)
            self._state = await run_in_turns(self._parts_of(overview), spent.append)
        began = thread_time()
        if trio.current_time() >= self._tasks_due:
            self._tasks_due = trio.current_time() + TASKS_PERIOD
            tasks = tree_part(self._task_tree())
            self._tasks = self._tasks if self._tasks == tasks else tasks
        self.parts = {**self._state, "tasks": self._tasks}
        new = self._log.after(self.events[-1][0] if self.events else 0)[-MAX_EVENTS:]
        self.events.extend((one.sequence, self._told(one.as_json(), one.event.severity)) for one in new)
        spent.append(thread_time() - began)
        self.version += 1
        self._updated.notify()
        return sum(spent)

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """A reader, for as long as the block lasts."""
        if not self.readers:  # the tasks have gone on since somebody looked
            self._seen, self._tasks_due = -1, float("-inf")
        self.readers += 1
        self._log.changed.notify()
        try:
            yield Reader(self)
        finally:
            self.readers -= 1

    async def wait_after(self, version: int) -> None:
        """Return when there was a later look than this one."""
        await self._updated.wait_until(lambda: self.version > version)


class Reader:
    """What one reader has got."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._version = 0 if feed.is_fresh else feed.version
        self._sequence = 0
        self._sent: Parts | None = None

    @describes_task(waits_for="something new to send")
    async def next(self) -> str:
        """The next message: everything at first, then what has changed since the last one."""
        while True:
            await self._feed.wait_after(self._version)
            if (text := self._difference()) is not None:
                return text

    def _difference(self) -> str | None:
        feed, had = self._feed, self._sent or {}
        new = {name: text for name, text in feed.parts.items() if had.get(name) is not text}
        gone = [name for name in had if name not in feed.parts]
        events = [text for sequence, text in feed.events if sequence > self._sequence]
        first = self._sent is None
        self._version, self._sent = feed.version, feed.parts
        if feed.events:
            self._sequence = feed.events[-1][0]
        if new or gone or events or first:
            return message(new, gone=gone, events=events, first=first, now=round(time(), 3))
        return None
