"""What one plug-in may ask of the manager over its connection: how many lists, and how much time.

A few long lists stop everybody else as well as many short ones, so both their number and the time they take are
limited: the number for each stream, the time, together with that for reading its bytes, for the process behind it.
"""

from __future__ import annotations

from contextlib import nullcontext

import trio

from ...errors import PeerLimitExceeded
from ...model import DeviceList, Peer
from ...rpc.deviceplugin.list_policy import ListPolicy
from ...rpc.transport.limits import ConnectionLimits
from ...steps import Steps
from ...turns import run_in_turns
from .callers import Callers
from .list_sizes import ListSizes
from .quotas import MAX_PAUSE, Quotas
from .rate_limit import TokenBucket
from .reports import PeerReports


class PluginPolicy(ListPolicy):
    """The policy for a plug-in's socket: who listens there must be somebody who may call us.

    ``name`` is what the plug-in is called in events: its resource, or its socket.
    """

    def __init__(
        self, name: str, callers: Callers, quotas: Quotas, list_sizes: ListSizes, reports: PeerReports
    ) -> None:
        self.peer_limits = quotas.peer_limits
        self._name = name
        self._callers = callers
        self._quotas = quotas
        self._list_sizes = list_sizes
        self._reports = reports
        self._lists = TokenBucket(self.peer_limits.report_rate, self.peer_limits.report_burst)
        self._peer: Peer | None = None

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
        """At 0 the list may be applied, and is counted."""
        pause = 0.0 if self._peer is None else self._quotas.pause(self._peer)
        return pause or min(self._lists.take_or_wait(now=trio.current_time()), MAX_PAUSE)

    async def work_on_list(self, steps: Steps[None]) -> None:
        """Charge the plug-in for it. Of one process only one list is worked on at a time: with a turn for each of
        its streams, a hundred of them would leave everybody else one turn in a hundred."""
        async with nullcontext() if self._peer is None else self._quotas.list_lock(self._peer):
            try:
                await run_in_turns(steps, self._charge_list)
            except PeerLimitExceeded as error:
                self._reached(error.limit, f"the stream ended: {error}")
                raise

    def _charge_list(self, seconds: float) -> None:
        """So much CPU time was spent on a list: it is the plug-in's, whatever comes of it."""
        if self._peer is not None:
            self._quotas.charge(self._peer, seconds)

    def hold_list(self, devices: DeviceList) -> None:
        self._list_sizes.hold(self._name, devices.size, len(devices.devices))

    def lists_skipped(self, count: int) -> None:
        self._reached("report_rate", "lists came too fast: the newest counts, the others do not", times=count)

    def _reached(self, limit: str, consequence: str, *, times: int = 1) -> None:
        self._reports.limit_reached(limit, self._name, consequence, times=times)
