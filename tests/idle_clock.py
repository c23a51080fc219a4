"""A clock on which only waiting takes time, however busy the machine is: what is measured is waiting, and no work.

It jumps to the next deadline when no task and no thread has anything to do. :class:`trio.testing.MockClock` would jump
while a thread writes to disk. Everything must happen in this process, for nobody knows whether another one is busy.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio.testing


class IdleClock(trio.abc.Clock):
    """It stands still but in a block of :func:`jumping`. Between two looks at it a little passes, so that before is
    before."""

    LITTLE = 1e-6
    THREADS_WORK = 0.001  # of the real time, between two looks at whether they do

    def __init__(self) -> None:
        self._now = 1000.0

    def start_clock(self) -> None:
        """It needs no start."""

    def current_time(self) -> float:
        self._now += self.LITTLE
        return self._now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        return 0.0 if deadline <= self._now else math.inf

    async def jump_when_idle(self) -> None:
        """What was sent to a socket of this process can be received at once, so nothing is under way then."""
        working = trio.to_thread.current_default_thread_limiter()
        while True:
            await trio.testing.wait_all_tasks_blocked(self.THREADS_WORK if working.borrowed_tokens else 0.0)
            wait = trio.lowlevel.current_statistics().seconds_to_next_deadline
            if not working.borrowed_tokens and wait < math.inf:
                self._now += max(wait, 0.0)


@asynccontextmanager
async def jumping() -> AsyncIterator[trio.Nursery]:
    """A nursery, in which this run's clock jumps if it is an IdleClock. Leaving the block cancels the nursery."""
    clock = trio.lowlevel.current_clock()
    async with trio.open_nursery() as nursery:
        if isinstance(clock, IdleClock):
            nursery.start_soon(clock.jump_when_idle)
        yield nursery
        nursery.cancel_scope.cancel()
