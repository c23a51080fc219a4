"""The tree again and again, for as long as somebody watches.

Only then is a Trio instrument installed. It notes when tasks make their steps, so that a tree can say since when a task
waits. All watchers are shown the same trees, and looking takes a bounded share of the time: with many tasks it happens
less often. A watcher who is slow misses trees, and none of them wait for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import thread_time

import trio

from ...core.views.task_tree import TaskTree, TreeNode
from ..event_log import EventLog
from .running_tree import RunningTree

LOOK_PERIOD = 0.1
"""Seconds between two looks, at least."""
LOOK_SHARE = 0.05
"""The share of the time that looking may take."""
REFRESH_PERIOD = 1.0
"""Seconds after which a tree is shown even though nothing but the time has changed."""


class _StepTimes(trio.abc.Instrument):
    """When each task made its latest step, of those that made one since this was installed."""

    def __init__(self) -> None:
        self.times: dict[trio.lowlevel.Task, float] = {}

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.times[task] = trio.current_time()

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        self.times.pop(task, None)


@dataclass(frozen=True, slots=True)
class _Look:
    """A tree, as it is compared and as it is sent."""

    tree: TaskTree
    shape: TreeNode
    text: str


class TreeWatch:
    """The looks that all watchers of one manager share."""

    def __init__(self, tree: RunningTree, log: EventLog) -> None:
        self._tree = tree
        self._log = log
        self._watchers = 0
        self._steps = _StepTimes()
        self._latest: _Look | None = None
        self._next_at = 0.0

    @contextmanager
    def open(self) -> Iterator[TreeWatcher]:
        """A watcher, for as long as the block lasts."""
        if not self._watchers:
            self._steps, self._latest = _StepTimes(), None
            trio.lowlevel.add_instrument(self._steps)
        self._watchers += 1
        try:
            yield TreeWatcher(self, self._log)
        finally:
            self._watchers -= 1
            if not self._watchers:
                trio.lowlevel.remove_instrument(self._steps)

    def look(self, *, at_once: bool = False) -> _Look:
        """The latest look, if it is not time yet for another one."""
        if self._latest is None or at_once or trio.current_time() >= self._next_at:
            began = thread_time()
            tree = self._tree.snapshot(self._steps.times)
            self._latest = _Look(tree, tree.shape, json.dumps(tree.as_json()))
            pause = max(LOOK_PERIOD, (thread_time() - began) / LOOK_SHARE)
            self._next_at = trio.current_time() + pause
        return self._latest

    async def wait_for_next(self) -> None:
        """Return when it is time for another look, or the incarnation ends."""
        with trio.move_on_at(self._next_at):
            await self._log.wait_closed()
        # Now all watchers are awake, and none is shown as one whose time is over.
        await trio.lowlevel.checkpoint()


class TreeWatcher:
    """Made by :meth:`TreeWatch.open`."""

    def __init__(self, watch: TreeWatch, log: EventLog) -> None:
        self._watch = watch
        self._log = log
        self._shown: _Look | None = None
        self._ended = False

    async def next(self) -> str | None:
        """The tree as one JSON object, when there is something new to see; None after the last tree of the incarnation,
        whose listeners have ended."""
        while not self._log.is_closed:
            look = self._watch.look()
            if self._is_new(look):
                self._shown = look
                return look.text
            await self._watch.wait_for_next()
        if self._ended:
            return None
        self._ended = True
        return self._watch.look(at_once=True).text

    def _is_new(self, look: _Look) -> bool:
        shown = self._shown
        return shown is None or look.shape != shown.shape or look.tree.at >= shown.tree.at + REFRESH_PERIOD
