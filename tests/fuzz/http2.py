"""One connection of ours, fed with bytes over a real socket: a server of ours, or a client of ours that calls."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import trio
from grpclib import GRPCError
from grpclib.const import Cardinality
from hpack import Encoder
from trio.testing import wait_all_tasks_blocked

from devicemgr.rpc.stubs import v1beta1 as wire
from devicemgr.rpc.transport.channel import open_channel
from devicemgr.rpc.transport.server import open_server
from devicemgr.rpc.wire_format import RawMessage

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CALL = Encoder().encode(
    [
        (":method", "POST"), (":scheme", "http"), (":path", "/v1beta1.Registration/Register"),
        (":authority", "localhost"), ("te", "trailers"), ("content-type", "application/grpc"),
    ]
)  # fmt: skip
ANSWER = Encoder().encode([(":status", "200"), ("content-type", "application/grpc")])
TRAILERS = Encoder().encode([("grpc-status", "0")])


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


class Answers(wire.RegistrationBase):
    async def register(self, message: wire.RegisterRequest) -> wire.Empty:
        return wire.Empty()


def _connected(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(path))
    return sock


async def _send(sock: socket.socket, pieces: tuple[bytes, ...]) -> None:
    """Piece by piece, each read before the next; the other side may have hung up."""
    for piece in pieces:
        try:
            sock.send(piece, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:
            return
        await wait_all_tasks_blocked()


def feed_server(*pieces: bytes) -> None:
    """Raises whatever would have ended a daemon."""

    async def run() -> None:
        with tempfile.TemporaryDirectory(prefix="dm-") as directory:
            path = Path(directory) / "s.sock"
            async with open_server(path, [Answers()], grace=0):
                with _connected(path) as sock:
                    await _send(sock, pieces)

    trio.run(run)


def feed_client(*pieces: bytes) -> None:
    """The same for who calls: each call has an answer, or fails as a call."""

    async def call(channel, cardinality) -> None:
        try:
            async with channel.request("/a.B/C", cardinality, wire.Empty, RawMessage) as stream:
                await stream.send_message(wire.Empty(), end=True)
                while await stream.recv_message() is not None:
                    pass
        except GRPCError:
            return

    async def run() -> None:
        with tempfile.TemporaryDirectory(prefix="dm-") as directory, socket.socket(socket.AF_UNIX) as listener:
            path = Path(directory) / "s.sock"
            listener.bind(str(path))
            listener.listen()
            async with open_channel(path) as channel, trio.open_nursery() as nursery:
                accepted, _ = listener.accept()
                with accepted:
                    nursery.start_soon(call, channel, Cardinality.UNARY_UNARY)
                    nursery.start_soon(call, channel, Cardinality.UNARY_STREAM)
                    await wait_all_tasks_blocked()
                    await _send(accepted, pieces)

    trio.run(run)
