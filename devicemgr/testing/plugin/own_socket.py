"""A socket name that no other process uses: since v1.37 a kubelet refuses one that an older process still serves
(LIM-42). The sockets that killed processes left under such names must then be removed, too."""

from __future__ import annotations

import errno
import os
import re
import secrets
import socket
import string
from pathlib import Path

_LETTERS = string.ascii_lowercase + string.digits
_RANDOM = 4
"""How many of them are in a name: few, since the path of a socket has at most 107 bytes."""


def own_endpoint(resource: str) -> str:
    """A new name each time, always of the same length, for a socket that serves ``resource``."""
    own = "".join(secrets.choice(_LETTERS) for _ in range(_RANDOM))
    return f"{_stem(resource)}-{own}.sock"


def remove_leftovers(directory: Path, resource: str) -> None:
    """Remove the sockets with such a name that no process serves any more."""
    ours = re.compile(rf"{re.escape(_stem(resource))}-[{_LETTERS}]{{{_RANDOM}}}\.sock")
    for path in directory.iterdir():
        if ours.fullmatch(path.name) and _is_left(path):
            path.unlink(missing_ok=True)


def _stem(resource: str) -> str:
    return resource.replace("/", "-")


def _is_left(path: Path) -> bool:
    """A socket with a full queue is not left behind: its process is busy."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        return path.is_socket() and probe.connect_ex(os.fspath(path)) == errno.ECONNREFUSED
