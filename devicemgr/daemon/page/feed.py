"""What the page shows, kept up to date as long as somebody looks.

One task looks at the manager, at most ten times a second, for all readers together. A reader gets the parts that differ
from those it got before: of what happens while it is slow it gets the latest state only, and no message waits for it.

But the message that it is reading stays, and so do the parts that it was sent, to compare: texts that others may not
need any more. So it is counted how much has been replaced since, and who is too far behind is let go. A browser comes
back by itself, and begins with the latest state.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from time import thread_time, time

import trio

from ...concurrency.condition_variable import ConditionVariable
from ...concurrency.steps import Steps
from ...concurrency.task_descriptions import describes_task
from ...concurrency.turns import run_in_turns
from ...core.views.overview import Overview, PodOverview
from ...core.views.task_tree import TaskTree
from ...model import PodUid
from ..event_log import EventLog
from .event_texts import EventTexts
from .parts import Parts, PartsOf, message, tree_part

PERIOD = 0.1
"""Seconds between two looks, at least."""
TASKS_PERIOD = 1.0
"""Seconds between two looks at the tasks, at least."""
TASKS_SHARE = 0.03
"""The share of the time that these may take. They are of one moment, so they are made in one go."""
MOST_OF_THE_TIME = 0.1
"""The share of the processor's time that looking may take: with very many devices, looks are rarer."""
MOST_REPLACED = 2**26
"""Bytes of what a reader was sent or of what came after it, that others do not need any more. It is the same for all
readers who are behind, so they keep no more than that together, and what one look has replaced."""
PART_SIZE = 100
"""Bytes of a part besides its text: a place among the others."""
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
        self._readers: set[Reader] = set()
        self._updated = ConditionVariable()
        self._parts_of = PartsOf()
        self._event_texts = EventTexts()
        self._named: Set[PodUid] = frozenset()
        """The pods that these know by their names."""
        self.version = 0
        """The number of looks."""
        self.replaced = 0
        """Bytes of all that looks have replaced so far."""
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
    def readers(self) -> int:
        """Their number."""
        return len(self._readers)

    @property
    def log_id(self) -> str:
        """Which log the events are of. A browser that comes back to the same one keeps the events that it has."""
        return self._log.id

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
            await run_in_turns(self._name(overview.pods), spent.append)
        began = thread_time()
        if trio.current_time() >= self._tasks_due:
            tasks = tree_part(self._task_tree())
            self._tasks = self._tasks if self._tasks == tasks else tasks
            self._tasks_due = trio.current_time() + max(TASKS_PERIOD, (thread_time() - began) / TASKS_SHARE)
        new = self._log.after(self.events[-1][0] if self.events else 0)[-MAX_EVENTS:]
        texts = [(one.sequence, self._event_texts.text_of(one.as_json(), one.event.severity)) for one in new]
        self._replace({**self._state, "tasks": self._tasks}, texts)
        spent.append(thread_time() - began)
        self.version += 1
        self._updated.notify()
        return sum(spent)

    def _name(self, pods: Sequence[PodOverview]) -> Steps[None]:
        """Before the events that have only their uids are told."""
        for pod in pods:
            if pod.uid not in self._named:
                self._event_texts.know_pod(namespace=pod.namespace, name=pod.name, uid=pod.uid)
                yield
        self._named = {pod.uid for pod in pods}

    def _replace(self, parts: Parts, events: Sequence[tuple[int, str]]) -> None:
        """Those who have not even got what was there before the last look are let go first."""
        for reader in self._readers:
            if self.replaced - reader.replaced > MOST_REPLACED:
                reader.scope.cancel()
        gone = [text for name, text in self.parts.items() if parts.get(name) is not text]
        self.replaced += sum(map(len, gone)) + PART_SIZE * len(self.parts) + sum(len(text) for _, text in events)
        self.parts = parts
        self.events.extend(events)

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """A reader, for as long as the block lasts. It is left when the reader is too far behind."""
        if not self._readers:  # the tasks have gone on since somebody looked
            self._seen, self._tasks_due = -1, float("-inf")
        with trio.CancelScope() as scope:
            reader = Reader(self, scope)
            self._readers.add(reader)
            self._log.changed.notify()
            try:
                yield reader
            finally:
                self._readers.remove(reader)

    async def wait_after(self, version: int) -> None:
        """Return when there was a later look than this one."""
        await self._updated.wait_until(lambda: self.version > version)


class Reader:
    """What one reader has got. Its ``scope`` is that of the reader."""

    def __init__(self, feed: Feed, scope: trio.CancelScope) -> None:
        self._feed = feed
        self.scope = scope
        self.replaced = feed.replaced
        """As the feed counted when the last message was made."""
        self._version = 0 if feed.is_fresh else feed.version
        self._sequence = 0
        self._sent: Parts | None = None

    @describes_task(waits_for="something new to send")
    async def next(self) -> list[str]:
        """The next message, in pieces: everything at first, then what has changed since the last one."""
        while True:
            await self._feed.wait_after(self._version)
            if (pieces := self._difference()) is not None:
                return pieces

    def _difference(self) -> list[str] | None:
        feed, had = self._feed, self._sent or {}
        new = [text for name, text in feed.parts.items() if had.get(name) is not text]
        gone = [name for name in had if name not in feed.parts]
        events = [text for sequence, text in feed.events if sequence > self._sequence]
        first = self._sent is None
        self._version, self._sent, self.replaced = feed.version, feed.parts, feed.replaced
        if feed.events:
            self._sequence = feed.events[-1][0]
        if new or gone or events or first:
            more = {"log": feed.log_id} if first else {}
            return message(new, gone=gone, events=events, first=first, now=round(time(), 3), **more)
        return None
