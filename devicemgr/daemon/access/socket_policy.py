"""The policy for one of our own sockets: who may call, how many connections there are, how much waits to be read."""

from __future__ import annotations

from collections import Counter

import trio

from ...errors import PermissionDenied, UnreadLimitExceeded
from ...model import Peer
from ...rpc.transport.limits import PeerPolicy
from .callers import Callers
from .quotas import Quotas
from .reports import PeerReports

_REGISTER = "/v1beta1.Registration/Register"


class SocketPolicy(PeerPolicy):
    """``name`` is the socket's in events. With ``quota_exempt`` the CPU time of its callers is not limited."""

    def __init__(
        self, name: str, callers: Callers, quotas: Quotas, reports: PeerReports, *, quota_exempt: bool
    ) -> None:
        self._name = name
        self.quota_exempt = quota_exempt
        self._callers = callers
        self._quotas = quotas
        self._peer_limits = quotas.peer_limits
        self._reports = reports
        self._connections: Counter[int] = Counter()
        self._unread: Counter[int] = Counter()

    def admit(self, peer: Peer) -> bool:
        """Limits the connections of each process, and of all together."""
        if self._connections[peer.pid] >= self._peer_limits.connections:
            self._reached("connections", peer, "the connection was closed")
        elif self._connections.total() >= self._peer_limits.all_connections:
            self._reached("all_connections", peer, "the connection was closed")
        else:
            self._connections[peer.pid] += 1
            return True
        return False

    def leave(self, peer: Peer) -> None:
        _give_back(self._connections, peer.pid, 1)

    def charge(self, peer: Peer, seconds: float) -> None:
        if not self.quota_exempt:
            self._quotas.charge(peer, seconds)

    def pause(self, peer: Peer) -> float:
        return 0.0 if self.quota_exempt else self._quotas.pause(peer)

    async def begin_call(self, peer: Peer, method: str) -> None:
        """Registrations of one process form a queue; its other requests wait while it owes time for earlier ones.

        Raises PermissionDenied for a user who may not call, and QuotaExceeded when the wait would be too long.
        """
        self._check_caller(peer, method)
        if method == _REGISTER:
            await trio.sleep(self._quotas.charge_registration(peer))
        elif not self.quota_exempt:
            # If a thousand woke up whenever the process owes none, that would take longer than the answers themselves.
            async with self._quotas.request_lock(peer):
                pause = self._quotas.begin_request(peer)
                while pause > 0:
                    await trio.sleep(pause)
                    pause = self._quotas.begin_request(peer)

    def _check_caller(self, peer: Peer, method: str) -> None:
        if not self._callers.include(peer):
            self._reports.call_denied(self._name, method, peer)
            raise PermissionDenied(
                f"user {peer.uid} may not call {method} on {self._name}: only the manager's own user and root may, "
                "and the group of --allow-group"
            )

    def charge_call(self, peer: Peer, method: str, seconds: float) -> None:
        """Registrations are not charged: their rate is limited instead."""
        if method != _REGISTER:
            self.charge(peer, seconds)

    def hold(self, peer: Peer, size: int) -> None:
        """Raises UnreadLimitExceeded when it is too long together with others that wait already."""
        waiting = self._unread[peer.pid]
        if waiting and waiting + size > self._peer_limits.unread_size and not self.quota_exempt:
            self._reached("unread_size", peer, f"an answer of {size} bytes was not sent")
            raise UnreadLimitExceeded(f"{waiting} bytes of answers to this process wait to be read")
        self._unread[peer.pid] += size

    def release(self, peer: Peer, size: int) -> None:
        _give_back(self._unread, peer.pid, size)

    def message_too_long(self, limit: str, size: int, maximum: int) -> None:
        consequence = f"a call with a message of {size} bytes ended; {maximum} are the limit"
        self._reports.limit_reached(limit, self._name, consequence)

    def unreadable(self, peer: Peer, problem: str) -> None:
        self._reports.connection_broken(peer, f"on {self._name}, {problem}")

    def _reached(self, limit: str, peer: Peer, consequence: str) -> None:
        self._reports.limit_reached(limit, peer, f"on {self._name}, {consequence}")


def _give_back(counter: Counter[int], pid: int, count: int) -> None:
    counter[pid] -= count
    if counter[pid] <= 0:
        del counter[pid]
