"""Raw HTTP/2 for hostile peers, on blocking sockets: frames go out as they are given, whatever they are.

:class:`Client` is somebody who calls the manager, :class:`Plugin` a device plug-in that the manager calls, honest until
a handler of it is replaced. Nothing here is shared with the manager but the message classes.
"""

from __future__ import annotations

import itertools
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from hpack import Decoder, Encoder

from devicemgr.rpc.stubs import v1beta1 as wire
from devicemgr.rpc.stubs.devicemgr import v1 as admin

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, HAS_PRIORITY = 0x4, 0x8, 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, MAX_HEADER_LIST = range(1, 7)
CANCEL = 8
MOST = 2**31 - 1
PATIENCE = 20.0
"""Seconds within which the manager answers, or ends a call or a connection."""


# --- frames --------------------------------------------------------------------------------------------------


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"", *, length: int | None = None) -> bytes:
    """The bytes of a frame; ``length`` is what it says of itself, if that is not the truth."""
    said = len(payload) if length is None else length
    return said.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def settings(**values: int) -> bytes:
    """``settings(INITIAL_WINDOW=0)``"""
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", globals()[name], v) for name, v in values.items()))


def window_update(increment: int, stream: int = 0) -> bytes:
    return frame(WINDOW_UPDATE, stream=stream, payload=increment.to_bytes(4, "big"))


def reset(stream: int, code: int = CANCEL) -> bytes:
    return frame(RST_STREAM, stream=stream, payload=code.to_bytes(4, "big"))


def goaway(last_stream: int, code: int = 0) -> bytes:
    return frame(GOAWAY, payload=struct.pack(">II", last_stream, code))


def message(data: bytes, *, length: int | None = None, flag: int = 0) -> bytes:
    """A message as gRPC puts it into DATA frames; ``length`` is what it says of itself."""
    return bytes([flag]) + (len(data) if length is None else length).to_bytes(4, "big") + data


def block(fields: Iterable[tuple[str, str]]) -> bytes:
    """A header block of its own, which needs no earlier one."""
    return bytes(Encoder().encode(list(fields)))


def request(method: str, **changes: str | None) -> list[tuple[str, str]]:
    """The header fields of an honest call; ``changes`` replace some of them by name, or take them away."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": method,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    for name, value in changes.items():
        fields[name.replace("_", "-") if name in ("content_type",) else name] = value
    return [(name, value) for name, value in fields.items() if value is not None]


def call(stream: int, method: str, data: bytes = b"") -> bytes:
    """All frames of an honest call."""
    return frame(HEADERS, END_HEADERS, stream, block(request(method))) + frame(DATA, END_STREAM, stream, message(data))


# --- one end of a connection ---------------------------------------------------------------------------------


class Answer(NamedTuple):
    """How a call ended: ``answered``, ``reset`` by the peer, or ``ended`` together with the connection."""

    how: str
    fields: dict[str, str]
    data: bytes


class Wire:
    def __init__(self, connection: socket.socket):
        self.socket = connection
        self.decoder = Decoder()
        self.last_stream = MOST
        """What a GOAWAY said: later streams are not for us."""
        self._received = bytearray()

    def send(self, *frames: bytes) -> bool:
        """False when the peer has gone."""
        try:
            self.socket.settimeout(PATIENCE)
            self.socket.sendall(b"".join(frames))
        except (ConnectionError, TimeoutError):
            return False
        return True

    def read(self, deadline: float) -> Frame | None:
        """The next frame, or None when the peer has hung up. Raises TimeoutError."""
        head = self._take(9, deadline)
        if head is None:
            return None
        payload = self._take(int.from_bytes(head[:3], "big"), deadline)
        if payload is None:
            return None
        return Frame(head[3], head[4], int.from_bytes(head[5:], "big") & MOST, payload)

    def _take(self, size: int, deadline: float) -> bytes | None:
        while len(self._received) < size:
            self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                data = self.socket.recv(2**16)
            except ConnectionError:
                return None
            if not data:
                return None
            self._received += data
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken

    def go_away(self, last_stream: int) -> None:
        self.last_stream = last_stream
        self.send(goaway(last_stream))

    def acknowledge(self, one: Frame) -> None:
        if one.kind in (SETTINGS, PING) and not one.flags & ACK:
            self.send(frame(one.kind, ACK, payload=b"" if one.kind == SETTINGS else one.payload))

    def fields_of(self, one: Frame) -> dict[str, str]:
        payload = one.payload
        if one.flags & HAS_PRIORITY:
            payload = payload[5:]
        decoded = self.decoder.decode(payload)
        return {_text(name): _text(value) for name, value in decoded}

    def flood(self, chunks: Iterator[bytes], *, seconds: float = 0.5, reading: bool = True) -> bool:
        """Send chunk after chunk for so long, or until there are no more; did the peer end the connection?"""
        self.socket.setblocking(False)
        deadline, rest = time.monotonic() + seconds, b""
        try:
            while time.monotonic() < deadline and (rest or (rest := next(chunks, b""))):
                incoming, _, _ = select.select([self.socket] if reading else [], [self.socket], [], 0.1)
                if incoming and not self.socket.recv(2**18):
                    return True
                with suppress(BlockingIOError):
                    rest = rest[self.socket.send(rest) :]
        except ConnectionError:
            return True
        finally:
            self.socket.settimeout(PATIENCE)
            self._received.clear()  # whoever floods reads no answers afterwards
        return False

    def wait_until_ended(self, seconds: float = PATIENCE) -> None:
        """Raises TimeoutError when the peer neither says GOAWAY nor hangs up."""
        deadline = time.monotonic() + seconds
        while (one := self.read(deadline)) is not None:
            if one.kind == GOAWAY:
                return

    def hang_up(self) -> None:
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def connected(path: Path | str, seconds: float) -> socket.socket:
    """A connection, once there is room for one more; raises OSError when that takes longer.

    A socket with a timeout would not wait but fail at once.
    """
    one = socket.socket(socket.AF_UNIX)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(seconds), 0))
        one.connect(str(path))
    except OSError:
        one.close()
        raise
    return one


class Client(Wire):
    """Somebody who calls. ``begin`` are the first bytes it sends."""

    def __init__(self, path: Path, *, begin: bytes | None = None):
        super().__init__(connected(path, PATIENCE))
        self._streams = itertools.count(1, 2)
        if begin is None:
            begin = PREFACE + settings(INITIAL_WINDOW=MOST) + window_update(MOST - 2**16)
        if begin:
            self.send(begin)

    def next_stream(self) -> int:
        return next(self._streams)

    def initial_window(self) -> int:
        """What the server says in its SETTINGS, which come first."""
        one = self.read(time.monotonic() + PATIENCE)
        assert one is not None, "it has hung up"
        assert one.kind == SETTINGS
        self.acknowledge(one)
        pairs = [one.payload[at : at + 6] for at in range(0, len(one.payload), 6)]
        said = {int.from_bytes(pair[:2], "big"): int.from_bytes(pair[2:], "big") for pair in pairs}
        return said.get(4, 2**16 - 1)

    def begin(self, method: str, data: bytes = b"") -> int:
        """Make a call; returns its stream."""
        stream = self.next_stream()
        self.send(call(stream, method, data))
        return stream

    def call(self, method: str, data: bytes = b"", *, seconds: float = PATIENCE) -> Answer:
        return self.answer(self.begin(method, data), seconds=seconds)

    def answer(
        self, stream: int, *, seconds: float = PATIENCE, on_frame: Callable[[Frame], object] | None = None
    ) -> Answer:
        """How the call ends. Raises TimeoutError when nothing becomes of it."""
        fields: dict[str, str] = {}
        data, deadline = bytearray(), time.monotonic() + seconds
        while (one := self.read(deadline)) is not None and one.kind != GOAWAY:
            self.acknowledge(one)
            if on_frame is not None:
                on_frame(one)
            if one.kind == HEADERS:  # of whatever stream: the decoder must see all
                found = self.fields_of(one)
            if one.stream != stream:
                continue
            if one.kind == HEADERS:
                fields |= found
            if one.kind == DATA:
                data += one.payload
            if one.kind == RST_STREAM:
                return Answer("reset", fields, bytes(data))
            if one.kind in (HEADERS, DATA) and one.flags & END_STREAM:
                return Answer("answered", fields, bytes(data))
        return Answer("ended", fields, bytes(data))


# --- what is asked of the manager ----------------------------------------------------------------------------


def register(root: Path, resource: str, endpoint: str, *, seconds: float = PATIENCE) -> Answer:
    """One call of Register, on a connection of its own."""
    data = bytes(wire.RegisterRequest(version="v1beta1", endpoint=endpoint, resource_name=resource))
    client = Client(root / "device-plugins" / "kubelet.sock")
    try:
        return client.call("/v1beta1.Registration/Register", data, seconds=seconds)
    finally:
        client.hang_up()


def admit(root: Path, name: str, resource: str, *, count: int = 1, seconds: float = PATIENCE) -> admin.AdmitResponse:
    """Admit a pod and start it. Raises TimeoutError when that is not answered."""
    containers = [admin.Container(name="main", kind=admin.ContainerKind.MAIN, limits={resource: count})]
    pod = admin.Pod(name=name, namespace="default", uid=name, containers=containers)
    client = Client(root / "devicemgr" / "admin.sock")
    try:
        answer = client.call("/devicemgr.v1.Admin/Admit", bytes(admin.AdmitRequest(pod=pod, start=True)))
    finally:
        client.hang_up()
    assert answer.how == "answered", answer
    return admin.AdmitResponse.parse(answer.data[5:])


# --- a device plug-in ----------------------------------------------------------------------------------------

OK = [(":status", "200"), ("content-type", "application/grpc")]
ENDING = [("grpc-status", "0"), ("grpc-message", "")]
ALLOCATED = bytes(wire.AllocateResponse(container_responses=[wire.ContainerAllocateResponse(envs={"A": "b"})]))


def device_list(count: int = 2) -> bytes:
    devices = [wire.Device(id=f"dev-{number}", health="Healthy") for number in range(count)]
    return bytes(wire.ListAndWatchResponse(devices=devices))


class Call(NamedTuple):
    """The manager has asked something, on a stream of a connection."""

    wire: Wire
    stream: int
    plugin: Plugin

    def begin(self, fields: Iterable[tuple[str, str]] = OK) -> None:
        self.wire.send(frame(HEADERS, END_HEADERS, self.stream, block(fields)))

    def data(self, payload: bytes, *, flags: int = 0) -> None:
        self.wire.send(frame(DATA, flags, self.stream, payload))

    def end(self, fields: Iterable[tuple[str, str]] = ENDING) -> None:
        self.wire.send(frame(HEADERS, END_HEADERS | END_STREAM, self.stream, block(fields)))

    def answer(self, data: bytes = b"") -> None:
        self.begin()
        self.data(message(data))
        self.end()


def lists(one: Call) -> None:
    """The list, on a stream that stays open."""
    one.begin()
    one.data(message(device_list()))


Handler = Callable[[Call], object]


class Plugin:
    """A plug-in's socket, and what it does with each call; a handler that is replaced misbehaves.

    Each connection has a thread, so a handler that does not return is a plug-in that reads nothing. ``on_connect`` gets
    the connection before anything of it was read; ``asked`` says which calls have come.
    """

    def __init__(self, path: Path, *, wants_start: bool = False, wants_advice: bool = False, **handlers: Handler):
        self.path = path
        options = bytes(
            wire.DevicePluginOptions(pre_start_required=wants_start, get_preferred_allocation_available=wants_advice)
        )
        self.handlers: dict[str, Handler] = {
            "GetDevicePluginOptions": lambda one: one.answer(options),
            "ListAndWatch": lists,
            "GetPreferredAllocation": lambda one: one.answer(),
            "Allocate": lambda one: one.answer(ALLOCATED),
            "PreStartContainer": lambda one: one.answer(),
            **handlers,
        }
        self.asked = {name: threading.Event() for name in self.handlers}
        self.begin = settings()
        self.on_connect: Callable[[Wire], object] = lambda one: None
        self.on_frame: Callable[[Wire, Frame], object] = lambda one, received: None
        self.connections: list[Wire] = []
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(16)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                accepted, _ = self._listener.accept()
                one = Wire(accepted)
                self.connections.append(one)
                self._threads.append(threading.Thread(target=self._serve, args=(one,), daemon=True))
                self._threads[-1].start()

    def _serve(self, one: Wire) -> None:
        with suppress(OSError, ValueError):  # hung up, by either side
            self.on_connect(one)
            one.send(self.begin)
            if one._take(len(PREFACE), time.monotonic() + 3600) is None:
                return
            asked: dict[int, str] = {}
            while (received := one.read(time.monotonic() + 3600)) is not None:
                self.on_frame(one, received)
                one.acknowledge(received)
                if received.kind == HEADERS:
                    asked[received.stream] = one.fields_of(received)[":path"].rpartition("/")[2]
                if (
                    received.kind in (HEADERS, DATA)
                    and received.flags & END_STREAM
                    and received.stream <= one.last_stream
                ):
                    method = asked[received.stream]
                    self.asked[method].set()
                    self.handlers[method](Call(one, received.stream, self))

    def hang_up(self) -> None:
        """Close every connection; the socket still listens."""
        for one in self.connections:
            one.hang_up()
        self.connections.clear()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # close alone would leave accept waiting
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join(PATIENCE)
        self.path.unlink(missing_ok=True)
