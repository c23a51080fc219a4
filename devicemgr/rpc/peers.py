"""Who is at the other end of a unix socket, and whether it may come in.

The kernel notes the credentials of a peer when it connects (``SO_PEERCRED``); nothing the peer sends can change them.
The decision is made elsewhere, by a :class:`Door`; here is only how grpclib is made to ask.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from typing import Any, Protocol

from ..model import Peer

_SO_PEERGROUPS = 59  # Linux 4.13; Python has no name for it
_MOST_GROUPS = 4096


class Door(Protocol):
    """Decides about one socket's callers. Every method is called once for what it names, and returns at once.

    Where ``is_hurried``, nobody wants to know how long answers take.
    """

    @property
    def is_hurried(self) -> bool: ...

    def connected(self, peer: Peer) -> bool:
        """Somebody connected; may they stay?"""

    def disconnected(self, peer: Peer) -> None:
        """Somebody who was let in has gone."""

    def called(self, peer: Peer, method: str) -> float:
        """A call begins. Seconds for which it must wait; raises DeviceManagerError, which answers it."""

    def answered(self, peer: Peer, method: str, seconds: float) -> None:
        """A call has ended, so long after it was let through."""

    def spent(self, peer: Peer, seconds: float) -> float:
        """Reading what somebody sent took so long. Seconds for which nothing more of theirs is read."""

    def sent_too_much(self, bound: str, size: int, limit: int) -> None:
        """A message was longer than the limit, and its call has ended."""

    def sent_nonsense(self, peer: Peer, problem: str) -> None:
        """Bytes came that could not be read, and the connection has ended."""


class OpenDoor:
    """Lets everybody in."""

    is_hurried = True

    def connected(self, peer: Peer) -> bool:
        return True

    def disconnected(self, peer: Peer) -> None:
        return None

    def called(self, peer: Peer, method: str) -> float:
        return 0.0

    def answered(self, peer: Peer, method: str, seconds: float) -> None:
        return None

    def spent(self, peer: Peer, seconds: float) -> float:
        return 0.0

    def sent_too_much(self, bound: str, size: int, limit: int) -> None:
        return None

    def sent_nonsense(self, peer: Peer, problem: str) -> None:
        return None


def peer_of(transport: asyncio.BaseTransport) -> Peer:
    """The process that connected, or that listens, at the other end."""
    connection: socket.socket = transport.get_extra_info("socket")
    pid, uid, gid = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return Peer(pid=pid, uid=uid, gids=frozenset((gid, *_groups(connection))))


def is_gone(peer: Peer) -> bool:
    """Has the process ended? One of another process namespace, which is 0 to us, may live."""
    if peer.pid <= 0:
        return False
    try:
        os.kill(peer.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _groups(connection: Any) -> tuple[int, ...]:
    try:
        data = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 4 * _MOST_GROUPS)
    except OSError:  # an older kernel: the one group that SO_PEERCRED has must do
        return ()
    return struct.unpack(f"{len(data) // 4}I", data)
