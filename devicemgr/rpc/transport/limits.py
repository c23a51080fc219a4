"""What one connection may hold, and who decides about the process at its other end."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from ...model import Peer

MESSAGE_SIZE = 16 * 2**20


class PeerPolicy:
    """Decides about the peers of one socket. As it stands here it lets everybody do everything, and counts nothing.

    A refusal is a DeviceManagerError, which becomes the call's status. Only :meth:`begin_call` waits.
    """

    quota_exempt: bool = True
    """The peers' CPU time is not charged, and then it is not measured either."""

    def admit(self, peer: Peer) -> bool:
        """Somebody has connected; may they stay?"""
        return True

    def leave(self, peer: Peer) -> None:
        """The connection of somebody who was admitted is closed."""

    def charge(self, peer: Peer, seconds: float) -> None:
        """Reading what the process sent took so much CPU time."""

    def pause(self, peer: Peer) -> float:
        """Seconds for which nothing is read from this process now; asked again after each such wait."""
        return 0.0

    async def begin_call(self, peer: Peer, method: str) -> None:
        """A call begins: return when its handler may start. Raises what answers the call instead."""

    def charge_call(self, peer: Peer, method: str, seconds: float) -> None:
        """A step of answering the call took so much CPU time."""

    def hold(self, peer: Peer, size: int) -> None:
        """An answer of so many bytes waits to be sent. Raises when the process leaves too much unread."""

    def release(self, peer: Peer, size: int) -> None:
        """It no longer does."""

    def message_too_long(self, limit: str, size: int, maximum: int) -> None:
        """A message was longer than the limit of that name, and its call has ended."""

    def too_many_fields(self, maximum: int) -> None:
        """An answer had more fields than that, and its call has ended."""

    def unreadable(self, peer: Peer, problem: str) -> None:
        """Bytes came that are no HTTP/2, and the connection has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Sizes in bytes.

    ``message`` limits a request and each message of a stream, ``answer`` the answer to a unary call, and
    ``answer_fields`` how many fields it has. Received bytes
    that nobody has asked for are at most ``stream_window`` of one call and ``connection_window`` of all together, both
    at least the 65535 that a peer takes for granted; bytes to be sent wait in a buffer of about ``outgoing``. So many
    ``streams`` may be open at a time: a server refuses one more, and a client waits.
    """

    message: int = MESSAGE_SIZE
    answer: int = MESSAGE_SIZE
    answer_fields: int = sys.maxsize
    stream_window: int = 2**20
    connection_window: int = 2**21
    outgoing: int = 2**18
    streams: int = 100
    policy: PeerPolicy = PeerPolicy()
