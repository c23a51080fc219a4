"""One connection of our server, fed with bytes: no socket, no daemon."""

from __future__ import annotations

import asyncio
import socket

from hpack import Encoder

from devicemgr.rpc.connections import Terms
from devicemgr.rpc.local import LocalServer
from devicemgr.rpc.peers import OpenDoor

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CALL = Encoder().encode(
    [
        (":method", "POST"), (":scheme", "http"), (":path", "/a.B/C"), (":authority", "localhost"),
        ("te", "trailers"), ("content-type", "application/grpc"),
    ]
)  # fmt: skip


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


class Transport(asyncio.Transport):
    """Forgets what is written; at the other end is this process."""

    max_size = 0

    def __init__(self, end: socket.socket):
        super().__init__({"socket": end})
        self._closing = False

    def write(self, data):
        return None

    def is_closing(self):
        return self._closing

    def close(self):
        self._closing = True

    abort = close

    def pause_reading(self):
        return None

    def resume_reading(self):
        return None


async def _feed(pieces: list[bytes], end: socket.socket) -> None:
    failures = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context))
    server = LocalServer([], Terms(door=OpenDoor()))
    protocol, transport = server._protocol_factory(), Transport(end)
    protocol.connection_made(transport)
    for piece in pieces:
        if not transport.is_closing():
            protocol.data_received(piece)
            await asyncio.sleep(0)
    protocol.connection_lost(None)
    for _ in range(3):
        await asyncio.sleep(0)
    if failures:
        raise AssertionError(failures)


def feed(*pieces: bytes) -> None:
    """Raises whatever would have ended a daemon."""
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        asyncio.run(_feed(list(pieces), ours))
