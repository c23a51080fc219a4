"""The processes of the plug-in: when each was started, what has disrupted them, and whether one is running."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from ....concurrency.exception_groups import collapse_exception_group
from ..verdicts import Skipped
from .interface import Subject

FIRST_DELAY = 1.0
"""Seconds until a container that has exited for the first time is running again."""
BACK_OFF = 10.0
"""Seconds of the first pause after that; each further one is twice as long."""
LONGEST_BACK_OFF = 300.0
_POLL = 0.05


def back_off(exits: int) -> float:
    """Seconds after which a kubelet starts a container again that has exited so many times in a row."""
    return FIRST_DELAY if exits < 2 else min(BACK_OFF * 2 ** (exits - 2), LONGEST_BACK_OFF)


class Lifecycle:
    """The processes of ``subject``; ``directory`` is the kubelet's directory for them."""

    def __init__(self, subject: Subject, directory: Path) -> None:
        self.subject = subject
        self.start_times: list[float] = []
        self.respawn_causes: list[str] = []
        """How the plug-in exited, for each time that it was started again because of that."""
        self.disruptions: list[float] = []
        """When something was broken that makes the plug-in register again."""
        self.changes: list[float] = []
        """When the command of --change was run."""
        self.overlaps: list[tuple[float, float]] = []
        """Begin and end of each time when two processes ran, and neither is judged by what both did."""
        self.is_respawned = False
        """Is it started again when it exits?"""
        self._directory = directory
        self._written_before = 0  # before the last start
        self._exits_in_a_row = 0

    async def start(self) -> None:
        """Run the plug-in. Raises SubjectUnusable."""
        self.start_times.append(trio.current_time())
        self._written_before = len(self.subject.output)
        await self.subject.start(self._directory)

    async def surge(self, ready: Callable[[], Awaitable[object]], grace: float) -> None:
        """Run a second process in parallel, as a rolling update with ``maxSurge`` does, and end the first when
        ``ready`` returns, within ``grace`` seconds. Raises Skipped, SubjectUnusable."""
        begin = trio.current_time()
        self.start_times.append(begin)
        try:
            await self.subject.surge(self._directory, ready, grace)
        except Skipped:
            self.start_times.pop()
            raise
        self.overlaps.append((begin, trio.current_time()))

    @asynccontextmanager
    async def respawning(self) -> AsyncIterator[None]:
        """Within the block the plug-in is started again when it exits unexpectedly, as a kubelet does."""
        if self.is_respawned:
            yield
            return
        self.is_respawned = True
        try:
            with collapse_exception_group():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._respawn)
                    yield
                    nursery.cancel_scope.cancel()
        finally:
            self.is_respawned = False

    async def _respawn(self) -> None:
        """Run until cancelled. Raises SubjectUnusable."""
        while True:
            while not self.has_exited:  # noqa: ASYNC110 - the end of what a program has started has no event
                await trio.sleep(_POLL)
            self._exits_in_a_row += 1
            await trio.sleep(back_off(self._exits_in_a_row))
            if self.has_exited:  # and no check was faster
                self.respawn_causes.append(self.subject.unexpected_exit or "")
                await self.start()

    def reset_back_off(self) -> None:
        """A kubelet does so after ten minutes: on a real node checks and disruptions would be further apart."""
        self._exits_in_a_row = 0

    def record_disruption(self) -> float:
        """Something is broken now; returns the time."""
        self.reset_back_off()
        self.disruptions.append(trio.current_time())
        return self.disruptions[-1]

    def was_alone(self, time: float) -> bool:
        """Did only one process run at that time?"""
        return not any(begin <= time <= end for begin, end in self.overlaps)

    @property
    def requested_starts(self) -> int:
        """How often it was started on request, by checks and before them."""
        return len(self.start_times) - len(self.respawn_causes)

    @property
    def is_disrupted(self) -> bool:
        """Has anything been broken since it was started?"""
        return bool(self.disruptions) and self.disruptions[-1] >= self.start_times[-1]

    @property
    def has_exited(self) -> bool:
        """Has the plug-in exited unexpectedly, with all processes that it started?"""
        return self.subject.unexpected_exit is not None and not self.subject.is_running

    @property
    def has_exited_for_good(self) -> bool:
        """Has it, and is not started again?"""
        return self.has_exited and not self.is_respawned

    @property
    def is_down(self) -> bool:
        """Is no process running, and will none be started again?"""
        if self.subject.is_running:  # evaluated once, since a respawn changes it at any time
            return False
        return not self.is_respawned or self.subject.unexpected_exit is None

    @property
    def output(self) -> str:
        """The output since the last start: the reason why an earlier process exited does not matter."""
        written = self.subject.output
        is_cut = len(written) < self._written_before  # of a long output only the beginning and the end are kept
        return written if is_cut else written[self._written_before :]
