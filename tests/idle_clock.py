"""A clock that depends on no other program of the machine.

It jumps to the next deadline when no task and no thread has anything to do; otherwise it goes by the processor time of
this process, so that somebody who is never idle does not stop it. :class:`trio.testing.MockClock` would jump while a
thread writes to disk, and stand still otherwise. Everything must happen in this process, for nobody knows whether
another one is busy.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio.testing


class IdleClock(trio.abc.Clock):
    """It jumps in a block of :func:`jumping` only. ``work`` is how long a second of the processor takes; between two
    looks at the clock a little passes in any case, so that before is before."""

    LITTLE = 1e-6
    THREADS_WORK = 0.001  # of the real time, between two looks at whether they do

    def __init__(self, work: float) -> None:
        self._now = 1000.0
        self._work = work
        self._used = time.process_time()

    def start_clock(self) -> None:
        """It needs no start."""

    def current_time(self) -> float:
        used = time.process_time()
        self._now += self.LITTLE + (used - self._used) * self._work
        self._used = used
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
