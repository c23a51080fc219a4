"""What each process has taken of the manager's time, and how often it has registered.

A process is known by its id, which the kernel tells (SO_PEERCRED): a plug-in that registers again, under another name
or with another socket, is still the same one. The manager's own process has no limits: what calls from there embeds it.

It is no defence against somebody who starts a new process for each call: who may call may also fork. And where the
manager has a process namespace of its own, all callers outside are "process 0" to it, and share one account.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field

import trio

from ...errors import CallerTooOften
from ...events import ConnectionBroken, PeerLimitReached
from ...model import Peer
from ...peer_limits import PeerLimits
from ..event_log import EventLog
from .rate_limit import Tally, TokenBucket

LONGEST_PAUSE = 1.0
"""Seconds for which nothing is read from a process, at most: so late may the end of a stream be noticed."""
LONGEST_DEBT = 10.0
"""Seconds for which a process can owe time, at most: by then it may have changed its ways."""
LONGEST_QUEUE = 3.0
"""Seconds that registrations of one process wait for each other, at most; a plug-in's patience is often five. A
question does not wait longer for the time that its process owes, either."""
MOST_PROCESSES = 1000
"""Accounts that are kept; one more closes the one that was not used for the longest time."""


@dataclass(slots=True)
class _Account:
    seconds: TokenBucket
    registrations: TokenBucket
    lists: trio.Lock = field(default_factory=trio.Lock)


class Accounts:
    """What is charged is CPU time: how long a busy or a throttled machine takes is nobody's fault."""

    def __init__(
        self,
        peer_limits: PeerLimits,
        log: EventLog,
        *,
        own_pid: int | None = None,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self.peer_limits = peer_limits
        self._log = log
        self._own_pid = os.getpid() if own_pid is None else own_pid
        self._clock = clock
        self._accounts: OrderedDict[int, _Account] = OrderedDict()
        self._tally = Tally()

    def is_own(self, peer: Peer) -> bool:
        """Is it the manager's own process, which has no limits?"""
        return peer.pid == self._own_pid

    def charge(self, peer: Peer, seconds: float) -> None:
        """It has taken so much of the manager's CPU time. What it owes for that is capped: see ``LONGEST_DEBT``."""
        if not self.is_own(peer):
            self._of(peer).seconds.spend(seconds, now=self._clock(), longest_debt=LONGEST_DEBT)

    def one_list_of(self, peer: Peer) -> AbstractAsyncContextManager[object]:
        """Held by whoever works on a list of this process."""
        return nullcontext() if self.is_own(peer) else self._of(peer).lists

    def pause(self, peer: Peer) -> float:
        """Seconds for which it must wait now, over all of its connections: until what it has taken is its share."""
        if self.is_own(peer):
            return 0.0
        if pause := min(self._of(peer).seconds.debt(now=self._clock()), LONGEST_PAUSE):
            self.reached("time_share", peer, f"nothing is read from it for {pause:.2f} s")
        return pause

    def begin_question(self, peer: Peer) -> float:
        """It asks something. Returns the seconds to wait.

        Raises CallerTooOften when it owes so much that many questions would wait, and wake each other in vain.
        """
        if not self.is_own(peer) and (debt := self._of(peer).seconds.debt(now=self._clock())) > LONGEST_QUEUE:
            self.reached("time_share", peer, "the question is refused")
            raise CallerTooOften(f"the questions of this process take too much time: try again in {debt:.0f} s")
        return self.pause(peer)

    def charge_registration(self, peer: Peer) -> float:
        """It registers: in a queue of its own, at a bounded rate. Returns the seconds to wait.

        Raises CallerTooOften when the queue is full: callers that gave up in it still have their places.
        """
        if self.is_own(peer):
            return 0.0
        bucket, now = self._of(peer).registrations, self._clock()
        if (wait := bucket.debt(now=now)) > LONGEST_QUEUE:
            self.reached("registration_rate", peer, "the registration is refused")
            raise CallerTooOften(f"too many registrations of one process: try again in {wait:.0f} s")
        pause = bucket.reserve(now=now)
        if pause:
            self.reached("registration_rate", peer, f"the registration waits {pause:.2f} s")
        return pause

    def reached(self, limit: str, peer: Peer, consequence: str) -> None:
        """Record that a process has reached a peer limit, once a second at most."""
        if times := self._tally.count((limit, peer.pid), now=self._clock()):
            who = f"process {peer.pid} of user {peer.uid}"
            self._log.record([PeerLimitReached(limit=limit, peer=who, times=times, consequence=consequence)])

    def broke(self, peer: Peer, problem: str) -> None:
        """Tell that a process has sent what could not be read, once a second at most."""
        if times := self._tally.count(("broke", peer.pid), now=self._clock()):
            self._log.record([ConnectionBroken(pid=peer.pid, uid=peer.uid, times=times, problem=problem)])

    def _of(self, peer: Peer) -> _Account:
        account = self._accounts.get(peer.pid)
        if account is None:
            if len(self._accounts) >= MOST_PROCESSES:
                self._accounts.popitem(last=False)
            peer_limits = self.peer_limits
            account = self._accounts[peer.pid] = _Account(
                seconds=TokenBucket(peer_limits.time_share, peer_limits.time_burst),
                registrations=TokenBucket(peer_limits.registration_rate, peer_limits.registration_burst),
            )
        self._accounts.move_to_end(peer.pid)
        return account
