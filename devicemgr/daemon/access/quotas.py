"""How much of the manager's time each process has used, and how often it has registered.

A process is identified by its id, which comes from the kernel (SO_PEERCRED): a plug-in that registers again, under
another name or with another socket, has the same quota. The manager's own process is exempt, because a program that
embeds the manager calls from there.

This is no defence against a user who starts a new process for each call. And when the manager runs in a process
namespace of its own, all callers outside of it have process id 0, and share one quota.
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
"""Seconds for which nothing is read from a process, at most. The end of a stream may be noticed so much later."""
MAX_DEBT = 10.0
"""Seconds of waiting that a process can owe at most, however much time it has used."""
MAX_QUEUE_TIME = 3.0
"""Seconds that a registration waits for earlier ones of its process, and another request for the time that its process
owes. A call that would wait longer is refused: plug-ins often give up after five seconds."""
MAX_PROCESSES = 1000
"""Processes whose quotas are kept. When there is one more, the least recently used quota is dropped."""


@dataclass(slots=True)
class _ProcessQuota:
    seconds: TokenBucket
    registrations: TokenBucket
    lists: trio.Lock = field(default_factory=trio.Lock)
    requests: trio.Lock = field(default_factory=trio.Lock)


class Quotas:
    """CPU time is charged, and not elapsed time, which is longer on a busy machine."""

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
        """Whether it is the manager's own process, which is exempt."""
        return peer.pid == self._own_pid

    def charge(self, peer: Peer, seconds: float) -> None:
        """Charge a process for CPU time of the manager. What it owes is capped by ``MAX_DEBT``."""
        if not self.is_own_process(peer):
            self._quota_of(peer).seconds.spend(seconds, now=self._clock(), max_debt=MAX_DEBT)

    def list_lock(self, peer: Peer) -> AbstractAsyncContextManager[object]:
        """Held while a list of this process is decoded and applied."""
        return nullcontext() if self.is_own_process(peer) else self._quota_of(peer).lists

    def request_lock(self, peer: Peer) -> AbstractAsyncContextManager[object]:
        """Held by the one request of this process that waits for the time it owes; others wait for that request."""
        return nullcontext() if self.is_own_process(peer) else self._quota_of(peer).requests

    def pause(self, peer: Peer) -> float:
        """Seconds for which nothing may be read from any connection of the process, because it owes time."""
        if self.is_own_process(peer):
            return 0.0
        if pause := min(self._quota_of(peer).seconds.debt(now=self._clock()), MAX_PAUSE):
            self._reports.limit_reached("time_share", peer, f"nothing is read from it for {pause:.2f} s")
        return pause

    def begin_request(self, peer: Peer) -> float:
        """Seconds for which a request of the process must wait. Ask again after that: what it sends uses time, too.

        Raises QuotaExceeded when the process owes more than ``MAX_QUEUE_TIME``.
        """
        if (
            not self.is_own_process(peer)
            and (debt := self._quota_of(peer).seconds.debt(now=self._clock())) > MAX_QUEUE_TIME
        ):
            self._reports.limit_reached("time_share", peer, "the request is refused")
            raise QuotaExceeded(f"the requests of this process take too much time: try again in {debt:.0f} s")
        return self.pause(peer)

    def charge_registration(self, peer: Peer) -> float:
        """Take a place in the process's queue of registrations. Returns the seconds to wait.

        Raises QuotaExceeded when the queue is full. Callers that gave up still have their places in it.
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
