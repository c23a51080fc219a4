"""The process at the other end of a unix socket, as the kernel recorded it when the connection was made."""

from __future__ import annotations

import errno
import os
import socket
import struct
from pathlib import Path

from ...model import Peer

_UCRED = struct.Struct("iII")
_SO_PEERGROUPS = 59  # Linux 4.13; Python has no name for it
_GROUPS_SIZE = 1024  # bytes, Python's maximum for an option: 256 groups


def peer_of(sock: socket.socket) -> Peer:
    """The process that connected, or that listens, at the other end. Raises OSError."""
    pid, uid, gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return Peer(pid=pid, uid=uid, gids=frozenset((gid, *_groups(sock, pid))))


def has_exited(peer: Peer) -> bool:
    """Whether the process has ended. One of another process namespace, whose id is 0 here, may be running."""
    if peer.pid <= 0:
        return False
    try:
        os.kill(peer.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _groups(sock: socket.socket, pid: int) -> tuple[int, ...]:
    try:
        data = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_SIZE)
    except OSError as error:
        if error.errno == errno.ERANGE:
            return _groups_of_process(pid)
        if error.errno == errno.ENOPROTOOPT:  # an older kernel: only the group of SO_PEERCRED is known
            return ()
        raise
    return struct.unpack(f"{len(data) // 4}I", data)


def _groups_of_process(pid: int) -> tuple[int, ...]:
    """For more than 256 groups: from /proc, as they are now. None for a process that has ended or cannot be read."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(errors="replace")  # its name may be any bytes
    except OSError:
        return ()
    (line,) = [line for line in status.splitlines() if line.startswith("Groups:")]
    return tuple(map(int, line.split()[1:]))
