"""A clock that is faster than the real one, and waits for a program that gets no processor.

A jumping clock would run away while a worker thread writes to disk, or another process answers. One that is merely fast
runs away when the machine is busy: half a second without a processor would be ten. So between two looks at it there
passes a tick at most, and whoever sleeps looks at it that often.
"""

from __future__ import annotations

import time

import trio


class FastClock(trio.abc.Clock):
    """``rate`` times as fast as the real one; ``tick`` is in its own seconds."""

    def __init__(self, rate: float = 20.0, tick: float = 0.5) -> None:
        self._rate = rate
        self._tick = tick
        self._now = 1000.0
        self._looked = time.monotonic()

    def start_clock(self) -> None:
        self._looked = time.monotonic()

    def current_time(self) -> float:
        looked = time.monotonic()
        self._now += min((looked - self._looked) * self._rate, self._tick)
        self._looked = looked
        return self._now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        return min(max(deadline - self.current_time(), 0.0), self._tick) / self._rate
