"""A peer that is driven frame by frame: what our transport never sends, and when it sends what."""

from __future__ import annotations

import struct
from contextlib import asynccontextmanager

import trio
from hpack import Decoder, Encoder
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ANSWER = [(":status", "200"), ("content-type", "application/grpc")]


def request(path, *more):
    return [
        (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost"),
        ("te", "trailers"), ("content-type", "application/grpc"), *more,
    ]  # fmt: skip


def message(data):
    return struct.pack(">BI", 0, len(data)) + data


class RawPeer:
    """Writes bytes, and reads frame by frame. It acknowledges no settings and opens no windows."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._received = b""
        self._encoder, self._decoder = Encoder(), Decoder()

    async def send(self, *frames: Frame) -> None:
        await self.stream.send_all(b"".join(frame.serialize() for frame in frames))

    def headers(self, number: int, headers, *, end: bool = False) -> HeadersFrame:
        frame = HeadersFrame(number, data=self._encoder.encode(headers), flags=["END_HEADERS"])
        if end:
            frame.flags.add("END_STREAM")
        return frame

    def data(self, number: int, data: bytes, *, end: bool = False) -> DataFrame:
        return DataFrame(number, data=data, flags=["END_STREAM"] if end else [])

    def reset(self, number: int, code: int = 8) -> RstStreamFrame:
        return RstStreamFrame(number, error_code=code)

    def goaway(self, last: int, code: int = 0) -> GoAwayFrame:
        return GoAwayFrame(0, last_stream_id=last, error_code=code)

    def settings(self, **values: int) -> SettingsFrame:
        return SettingsFrame(0, settings={getattr(SettingsFrame, name): value for name, value in values.items()})

    def window(self, number: int, size: int) -> WindowUpdateFrame:
        return WindowUpdateFrame(number, window_increment=size)

    async def skip_preface(self) -> None:
        await self._fill(len(PREFACE))
        self._received = self._received[len(PREFACE) :]

    async def frame(self) -> Frame:
        """The next frame. Raises EOFError at the end."""
        await self._fill(9)
        frame, length = Frame.parse_frame_header(memoryview(self._received[:9]))
        await self._fill(9 + length)
        body, self._received = self._received[9 : 9 + length], self._received[9 + length :]
        frame.parse_body(memoryview(body))
        return frame

    async def frame_of(self, kind, number: int | None = None) -> Frame:
        """The next frame of that type, and stream; others are skipped."""
        while True:
            frame = await self.frame()
            if isinstance(frame, HeadersFrame):
                frame.decoded = self._decoder.decode(frame.data)
            if isinstance(frame, kind) and number in (None, frame.stream_id):
                return frame

    async def frames_until_end(self) -> list[Frame]:
        found = []
        try:
            while True:
                found.append(await self.frame())
        except EOFError:
            return found

    async def _fill(self, size: int) -> None:
        while len(self._received) < size:
            data = await self.stream.receive_some()
            if not data:
                raise EOFError
            self._received += data


@asynccontextmanager
async def raw_client(path):
    """A client of a server of ours, which has sent its settings."""
    async with await trio.open_unix_socket(str(path)) as stream:
        peer = RawPeer(stream)
        await stream.send_all(PREFACE)
        await peer.send(peer.settings())
        yield peer


@asynccontextmanager
async def raw_server(path):
    """A listener for clients of ours; ``greeted(listener)`` is the next of them."""
    with trio.socket.socket(trio.socket.AF_UNIX) as listener:
        await listener.bind(str(path))
        listener.listen()
        yield listener


@asynccontextmanager
async def greeted(listener, **settings: int):
    """The next client, which has begun to call; it gets our settings."""
    sock, _ = await listener.accept()
    async with trio.SocketStream(sock) as stream:
        peer = RawPeer(stream)
        await peer.send(peer.settings(**settings))
        await peer.skip_preface()
        yield peer
