"""Events about peers that ask for too much. This is the only place that records them, and it limits their rate.

What a peer does once, it may do a thousand times a second. So the first event of a kind about a peer is recorded at
once, and then at most one a second; its ``times`` includes those that were left out.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace

import trio

from ...events import CallsDenied, ConnectionBroken, PeerLimitReached
from ...model import Peer
from ..event_log import EventLog

PERIOD = 1.0
"""Seconds between two events of the same kind about the same peer."""
MAX_KEYS = 1000
"""Kinds and peers that are remembered. When there is one more, all counts start over."""

_Counted = PeerLimitReached | CallsDenied | ConnectionBroken


class PeerReports:
    """Shared by all policies of one manager."""

    def __init__(self, log: EventLog, *, clock: Callable[[], float] = trio.current_time) -> None:
        self._log = log
        self._clock = clock
        self._recorded_at: dict[Hashable, float] = {}
        self._pending: dict[Hashable, _Counted] = {}

    def limit_reached(self, limit: str, peer: Peer | str, consequence: str, *, times: int = 1) -> None:
        """``limit`` is a field of PeerLimits; ``peer`` is a process, or the name of a resource, socket or address."""
        name = peer if isinstance(peer, str) else f"process {peer.pid} of user {peer.uid}"
        event = PeerLimitReached(limit=limit, peer=name, times=times, consequence=consequence)
        self._report((limit, name), event)

    def call_denied(self, socket: str, method: str, peer: Peer) -> None:
        event = CallsDenied(socket=socket, method=method, pid=peer.pid, uid=peer.uid, times=1)
        self._report((socket, peer.pid), event)

    def connection_broken(self, peer: Peer, problem: str) -> None:
        self._report(peer.pid, ConnectionBroken(pid=peer.pid, uid=peer.uid, times=1, problem=problem))

    def flush(self, peer: str) -> None:
        """Record what was left out about a peer that has gone, so that its counts add up."""
        for key, event in list(self._pending.items()):
            if isinstance(event, PeerLimitReached) and event.peer == peer:
                del self._pending[key]
                self._log.record([event])

    def _report(self, key: Hashable, event: _Counted) -> None:
        now = self._clock()
        if len(self._recorded_at) >= MAX_KEYS and key not in self._recorded_at:
            self._recorded_at.clear()
            self._pending.clear()
        if (pending := self._pending.pop(key, None)) is not None:
            event = replace(event, times=event.times + pending.times)
        if now - self._recorded_at.get(key, float("-inf")) < PERIOD:
            self._pending[key] = event
        else:
            self._recorded_at[key] = now
            self._log.record([event])
