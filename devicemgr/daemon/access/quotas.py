"""What each process has taken of the manager's time, and how often it has registered.

A process is known by its id, which the kernel tells (SO_PEERCRED): a plug-in that registers again, under another name
or with another socket, is still the same one. The manager's own process has no limits: what calls from there embeds it.

It is no defence against somebody who starts a new process for each call: who may call may also fork. And where the
manager has a process namespace of its own, all callers outside are "process 0" to it, and share one quota.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field

import trio

from ...errors import QuotaExceeded
from ...model import Peer
from ...peer_limits import PeerLimits
from .rate_limit import TokenBucket
from .reports import PeerReports

MAX_PAUSE = 1.0
"""Seconds for which nothing is read from a process, at most: so late may the end of a stream be noticed."""
MAX_DEBT = 10.0
"""Seconds for which a process can owe time, at most: by then it may have changed its ways."""
MAX_QUEUE_TIME = 3.0
"""Seconds that registrations of one process wait for each other, at most; a plug-in's patience is often five. A
request does not wait longer for the time that its process owes, either."""
MAX_PROCESSES = 1000
"""Processes whose quotas are kept; one more drops the one that was not used for the longest time."""


@dataclass(slots=True)
class _ProcessQuota:
    seconds: TokenBucket
    registrations: TokenBucket
    lists: trio.Lock = field(default_factory=trio.Lock)


class Quotas:
    """What is charged is CPU time: how long a busy or a throttled machine takes is nobody's fault."""

    def __init__(
        self,
        peer_limits: PeerLimits,
        reports: PeerReports,
        *,
        own_pid: int | None = None,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self.peer_limits = peer_limits
        self._reports = reports
        self._own_pid = os.getpid() if own_pid is None else own_pid
        self._clock = clock
        self._quotas: OrderedDict[int, _ProcessQuota] = OrderedDict()

    def is_own_process(self, peer: Peer) -> bool:
        """Is it the manager's own process, which has no limits?"""
        return peer.pid == self._own_pid

    def charge(self, peer: Peer, seconds: float) -> None:
        """It has taken so much of the manager's CPU time. What it owes for that is capped: see ``MAX_DEBT``."""
        if not self.is_own_process(peer):
            self._quota_of(peer).seconds.spend(seconds, now=self._clock(), max_debt=MAX_DEBT)

    def list_lock(self, peer: Peer) -> AbstractAsyncContextManager[object]:
        """Held by whoever works on a list of this process."""
        return nullcontext() if self.is_own_process(peer) else self._quota_of(peer).lists

    def pause(self, peer: Peer) -> float:
        """Seconds for which it must wait now, over all of its connections: until what it has taken is its share."""
        if self.is_own_process(peer):
            return 0.0
        if pause := min(self._quota_of(peer).seconds.debt(now=self._clock()), MAX_PAUSE):
            self._reports.limit_reached("time_share", peer, f"nothing is read from it for {pause:.2f} s")
        return pause

    def begin_request(self, peer: Peer) -> float:
        """It makes a request. Returns the seconds to wait.

        Raises QuotaExceeded when it owes so much that many requests would wait, and wake each other in vain.
        """
        if (
            not self.is_own_process(peer)
            and (debt := self._quota_of(peer).seconds.debt(now=self._clock())) > MAX_QUEUE_TIME
        ):
            self._reports.limit_reached("time_share", peer, "the request is refused")
            raise QuotaExceeded(f"the requests of this process take too much time: try again in {debt:.0f} s")
        return self.pause(peer)

    def charge_registration(self, peer: Peer) -> float:
        """It registers: in a queue of its own, at a bounded rate. Returns the seconds to wait.

        Raises QuotaExceeded when the queue is full: callers that gave up in it still have their places.
        """
        if self.is_own_process(peer):
            return 0.0
        bucket, now = self._quota_of(peer).registrations, self._clock()
        if (wait := bucket.debt(now=now)) > MAX_QUEUE_TIME:
            self._reports.limit_reached("registration_rate", peer, "the registration is refused")
            raise QuotaExceeded(f"too many registrations of one process: try again in {wait:.0f} s")
        pause = bucket.reserve(now=now)
        if pause:
            self._reports.limit_reached("registration_rate", peer, f"the registration waits {pause:.2f} s")
        return pause

    def _quota_of(self, peer: Peer) -> _ProcessQuota:
        quota = self._quotas.get(peer.pid)
        if quota is None:
            if len(self._quotas) >= MAX_PROCESSES:
                self._quotas.popitem(last=False)
            peer_limits = self.peer_limits
            quota = self._quotas[peer.pid] = _ProcessQuota(
                seconds=TokenBucket(peer_limits.time_share, peer_limits.time_burst),
                registrations=TokenBucket(peer_limits.registration_rate, peer_limits.registration_burst),
            )
        self._quotas.move_to_end(peer.pid)
        return quota
