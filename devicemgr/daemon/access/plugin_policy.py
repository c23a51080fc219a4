"""The policy for one plug-in: which process may listen on its socket, and how many lists it may send.

A few long lists delay everything else as much as many short ones do. So the rate of lists is limited for each stream,
and the CPU time that lists take, together with the time for reading their bytes, for each process.
"""

from __future__ import annotations

from functools import partial

import trio

from ...concurrency.steps import Steps
from ...concurrency.turns import run_in_turns
from ...errors import PeerLimitExceeded
from ...model import Peer
from ...rpc.deviceplugin.list_policy import ListPolicy
from ...rpc.transport.limits import ConnectionLimits
from .callers import Callers
from .quotas import MAX_PAUSE, Quotas
from .rate_limit import TokenBucket
from .reports import PeerReports


class PluginPolicy(ListPolicy):
    """Admits a process that might also call us. ``name`` is the plug-in's in events: its resource, or its socket."""

    _peer: Peer
    """The process that listens, once it was admitted."""

    def __init__(self, name: str, callers: Callers, quotas: Quotas, reports: PeerReports) -> None:
        self.peer_limits = quotas.peer_limits
        self._name = name
        self._callers = callers
        self._quotas = quotas
        self._reports = reports
        self._lists = TokenBucket(self.peer_limits.report_rate, self.peer_limits.report_burst)

    @property
    def connection_limits(self) -> ConnectionLimits:
        limits = self.peer_limits
        return ConnectionLimits(
            message=limits.message_size, answer=limits.answer_size, answer_fields=limits.answer_fields, policy=self
        )

    def admit(self, peer: Peer) -> bool:
        self._peer = peer
        self.quota_exempt = self._quotas.is_own_process(peer)
        return self._callers.include(peer)

    def leave(self, peer: Peer) -> None:
        self._reports.flush(self._name)

    def charge(self, peer: Peer, seconds: float) -> None:
        self._quotas.charge(peer, seconds)

    def pause(self, peer: Peer) -> float:
        return self._quotas.pause(peer)

    def message_too_long(self, limit: str, size: int, maximum: int) -> None:
        self._reached(limit, f"the call with a message of {size} bytes ended; {maximum} are the limit")

    def too_many_fields(self, maximum: int) -> None:
        self._reached("answer_fields", f"the call with an answer of more than {maximum} fields ended")

    def unreadable(self, peer: Peer, problem: str) -> None:
        self._reports.connection_broken(peer, f"serving {self._name}, {problem}")

    def next_list(self) -> float:
        """A list for which this returns 0 is counted."""
        return self._quotas.pause(self._peer) or min(self._lists.take_or_wait(now=trio.current_time()), MAX_PAUSE)

    async def work_on_list(self, steps: Steps[None]) -> None:
        """Charge the plug-in for it. A process has one list worked on at a time: if each of its streams had turns, a
        process with a hundred streams would have a hundred times as many turns as others."""
        async with self._quotas.list_lock(self._peer):
            try:
                await run_in_turns(steps, partial(self._quotas.charge, self._peer))
            except PeerLimitExceeded as error:
                self._reached(error.limit, f"the stream ended: {error}")
                raise

    def lists_skipped(self, count: int) -> None:
        self._reached("report_rate", "lists came too fast: only the latest was applied", times=count)

    def _reached(self, limit: str, consequence: str, *, times: int = 1) -> None:
        self._reports.limit_reached(limit, self._name, consequence, times=times)
