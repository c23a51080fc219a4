"""What one connection may hold, and the interface to the policy that decides about its peer."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from ...model import Peer

MESSAGE_SIZE = 16 * 2**20


class PeerPolicy:
    """Decides about the peers of one socket. This base class allows everything, and counts nothing.

    A refusal is a DeviceManagerError, which becomes the call's status. Only :meth:`begin_call` waits.
    """

    quota_exempt: bool = True
    """The peers' CPU time is not charged, and not measured either."""

    def admit(self, peer: Peer) -> bool:
        """Whether a process that has connected, or that listens, may stay connected."""
        return True

    def leave(self, peer: Peer) -> None:
        """A connection of a process that was admitted is closed."""

    def charge(self, peer: Peer, seconds: float) -> None:
        """Reading what the process sent took ``seconds`` of CPU time."""

    def pause(self, peer: Peer) -> float:
        """Seconds for which nothing is read from this process. Asked again after each such pause."""
        return 0.0

    async def begin_call(self, peer: Peer, method: str) -> None:
        """Return when the handler of a call may start. Raises what answers the call instead."""

    def charge_call(self, peer: Peer, method: str, seconds: float) -> None:
        """A step of the call's handler took ``seconds`` of CPU time."""

    def hold(self, peer: Peer, size: int) -> None:
        """An answer of ``size`` bytes waits to be sent. Raises when the process leaves too much unread."""

    def release(self, peer: Peer, size: int) -> None:
        """Such an answer was sent, or its call has ended."""

    def message_too_long(self, limit: str, size: int, maximum: int) -> None:
        """A message of ``size`` bytes was longer than ``maximum``, the value of ``limit``, and its call has ended."""

    def too_many_fields(self, maximum: int) -> None:
        """An answer had more than ``maximum`` fields, and its call has ended."""

    def unreadable(self, peer: Peer, problem: str) -> None:
        """The process sent bytes that are not HTTP/2, and its connection has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Sizes in bytes.

    ``message`` limits a request and each message of a stream, ``answer`` the answer to a unary call, and
    ``answer_fields`` the fields of that answer. Received bytes that no task waits for are at most ``stream_window`` for
    one call and ``connection_window`` for all calls; both must be at least 65535, HTTP/2's default. Bytes to be sent
    wait in a buffer of about ``outgoing``. At most ``streams`` calls are open at a time: a server refuses one more, and
    a client waits.
    """

    message: int = MESSAGE_SIZE
    answer: int = MESSAGE_SIZE
    answer_fields: int = sys.maxsize
    stream_window: int = 2**20
    connection_window: int = 2**21
    outgoing: int = 2**18
    streams: int = 100
    policy: PeerPolicy = PeerPolicy()
