"""What one plug-in may ask of the manager over its connection: how many lists, and how much time.

Two bounds hold for its lists: on their number, and on the time they take, for a few long ones stop everybody else as
well as many short ones. The time for reading its bytes counts too, whatever they are.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from ..bounds import Bounds
from ..core.rate_limit import Tally, TokenBucket
from ..events import BoundReached
from ..model import Peer
from .callers import Callers
from .event_log import EventLog

LONGEST_PAUSE = 1.0
"""Seconds for which nothing is read, at most: so late may the end of the stream be noticed."""


class PluginDoor:
    """The door to the socket of the plug-in of ``resource``: who listens there must be somebody who may call us."""

    def __init__(
        self,
        resource: str,
        callers: Callers,
        bounds: Bounds,
        log: EventLog,
        *,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._resource = resource
        self._callers = callers
        self._log = log
        self._clock = clock
        self._lists = TokenBucket(bounds.report_rate, bounds.report_burst)
        self._seconds = TokenBucket(bounds.time_share, bounds.time_burst)
        self._tally = Tally()
        self._began = 0.0

    def connected(self, peer: Peer) -> bool:
        return self._callers.include(peer)

    def disconnected(self, peer: Peer) -> None:
        return None

    def called(self, peer: Peer, method: str) -> float:
        """It never calls us here."""
        return 0.0

    def spent(self, peer: Peer, seconds: float) -> float:
        self._seconds.spend(seconds, now=self._clock())
        return self._debt()

    def sent_too_much(self, peer: Peer, size: int, limit: int) -> None:
        self.reached("message_size", 1, f"the call with a message of {size} bytes ended; {limit} are the limit")

    def next_list(self) -> float:
        """Seconds for which the next list must wait; 0 when it may be applied, and is counted."""
        self._began = self._clock()
        return self._debt() or min(self._lists.take_or_wait(now=self._began), LONGEST_PAUSE)

    def list_applied(self) -> None:
        now = self._clock()
        self._seconds.spend(now - self._began, now=now)

    def lists_skipped(self, count: int) -> None:
        self.reached("report_rate", count, "lists came too fast: the newest counts, the others do not")

    def reached(self, bound: str, times: int, consequence: str) -> None:
        """The plug-in, or its registration, has reached a bound."""
        self._log.record([BoundReached(bound=bound, peer=self._resource, times=times, consequence=consequence)])

    def _debt(self) -> float:
        now = self._clock()
        pause = min(self._seconds.debt(now=now), LONGEST_PAUSE)
        if pause and (times := self._tally.count("time_share", now=now)):
            self.reached("time_share", times, f"nothing is read from it for {pause:.2f} s")
        return pause
