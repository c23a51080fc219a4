"""The attacks of ``test_http2``, each a function: ``python -m tests.hostile.attacks ROOT_DIR NAME`` makes one.

An attack is a process of its own, because the manager has a quota for each. It prints ``done`` when it has sent all
it wants to, or what it was not given that everybody must be given (an answer, or an end), and then holds on to its
connections until its standard input ends.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from .wire import (
    ACK,
    ALLOCATED,
    CANCEL,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENDING,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    MOST,
    OK,
    PADDED,
    PATIENCE,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Call,
    Client,
    Handler,
    Plugin,
    Wire,
    admit,
    block,
    call,
    frame,
    goaway,
    lists,
    message,
    register,
    request,
    reset,
    settings,
    window_update,
)

GIB4 = 2**32 - 1
STREAMS = range(1, 2**31, 2)
RESOURCE = "hostile.example/{}"
KEPT: list[Plugin] = []
TARGETS: list[Target] = []
"""What lives until the process ends."""


@dataclass
class Target:
    """One of the manager's sockets, and a method it has."""

    path: Path
    method: str
    clients: list[Client] = field(default_factory=list)

    def connect(self, begin: bytes | None = None) -> Client:
        self.clients.append(Client(self.path, begin=begin))
        return self.clients[-1]


def targets(root: Path) -> list[Target]:
    return [
        Target(root / "device-plugins" / "kubelet.sock", "/v1beta1.Registration/Register"),
        Target(root / "pod-resources" / "kubelet.sock", "/v1.PodResourcesLister/List"),
        Target(root / "devicemgr" / "admin.sock", "/devicemgr.v1.Admin/Status"),
    ]


Attack = Callable[[Target], object]
ON_SOCKETS: dict[str, Attack] = {}
FLOODING_PLUGINS: dict[str, Callable[[Path, str], None]] = {}
ODD_PLUGINS: dict[str, Callable[[Path, str], None]] = {}


def on_sockets(function: Attack) -> Attack:
    """An attack on each of the manager's sockets, on all at the same time."""
    ON_SOCKETS[function.__name__] = function
    return function


# --- floods, made by callers and by plug-ins ------------------------------------------------------------------

BATCH = 500
"""Frames that are written at once."""
BOMB = block([("x", "y" * 3000)])
"""Puts a long field into the decoder's table; one byte more says it again."""


def _header_bombs(stream: int) -> bytes:
    return frame(HEADERS, END_HEADERS, stream, BOMB + b"\xbe" * 16_000)


def _long_headers(stream: int) -> bytes:
    """A megabyte of different fields."""
    fields = block((f"x-{n}", "v" * 200) for n in range(5000))
    parts = [fields[at : at + 16_000] for at in range(0, len(fields), 16_000)]
    middle = b"".join(frame(CONTINUATION, 0, stream, part) for part in parts[1:-1])
    return frame(HEADERS, 0, stream, parts[0]) + middle + frame(CONTINUATION, END_HEADERS, stream, parts[-1])


FLOODS: dict[str, Iterable[bytes]] = {
    "pings": itertools.repeat(frame(PING, payload=b"12345678") * BATCH),
    "acknowledged-pings": itertools.repeat(frame(PING, ACK, payload=b"12345678") * BATCH),
    "settings": itertools.repeat(settings(MAX_FRAME=16384) * BATCH),
    "settings-acknowledgements": itertools.repeat(frame(SETTINGS, ACK) * BATCH),
    "window-updates": itertools.repeat(window_update(1) * BATCH),
    "priorities": itertools.repeat(frame(PRIORITY, stream=3, payload=b"\0\0\0\0\x10") * BATCH),
    "unknown-frames": itertools.repeat(frame(0xFA, 0xFF, 1, b"what") * BATCH),
    "resets-of-nothing": itertools.repeat(reset(1) * BATCH),
    "goaways": itertools.repeat(goaway(MOST) * BATCH),
}


def _flood(chunks: Iterable[bytes], *, reading: bool) -> Attack:
    return lambda target: target.connect().flood(iter(chunks), reading=reading)


for _name, _chunks in FLOODS.items():
    ON_SOCKETS[f"{_name}-read"] = _flood(_chunks, reading=True)
for _name in ("pings", "settings"):
    ON_SOCKETS[f"{_name}-unread"] = _flood(FLOODS[_name], reading=False)


def _batches(streams: Iterable[int], make: Callable[[int], bytes]) -> Iterator[bytes]:
    for batch in _batched(streams, 50):
        yield b"".join(map(make, batch))


def _batched(items: Iterable[int], size: int) -> Iterator[tuple[int, ...]]:
    rest = iter(items)
    while taken := tuple(itertools.islice(rest, size)):
        yield taken


@on_sockets
def rapid_reset(target: Target) -> None:
    begun = block(request(target.method))
    target.connect().flood(_batches(STREAMS, lambda stream: frame(HEADERS, END_HEADERS, stream, begun) + reset(stream)))


@on_sockets
def rapid_reset_of_whole_calls(target: Target) -> None:
    target.connect().flood(_batches(STREAMS, lambda stream: call(stream, target.method) + reset(stream)))


@on_sockets
def rapid_reset_made_by_the_manager(target: Target) -> None:
    """Each stream gets a frame for which it must be reset."""
    begun = block(request(target.method))
    wrong = window_update(0)[9:]
    target.connect().flood(
        _batches(
            STREAMS,
            lambda stream: frame(HEADERS, END_HEADERS, stream, begun) + frame(WINDOW_UPDATE, 0, stream, wrong),
        )
    )


@on_sockets
def calls_of_nothing_unread(target: Target) -> None:
    """Their refusals are headers, which no window holds back."""
    target.connect().flood(_batches(STREAMS, lambda stream: call(stream, "/a.B/C")), reading=False)


@on_sockets
def answers_unread(target: Target) -> None:
    """There is room in every window, and nobody reads."""
    client, service = target.connect(), target.method.rpartition("/")[0]
    method = {"/devicemgr.v1.Admin": f"{service}/Events"}.get(service, target.method)
    client.flood(_batches(STREAMS, lambda stream: call(stream, method)), seconds=1.0, reading=False)


@on_sockets
def continuation_without_end(target: Target) -> None:
    client = target.connect()
    client.send(frame(HEADERS, 0, 1, block(request(target.method))))
    if not client.flood(itertools.repeat(frame(CONTINUATION, 0, 1, block([("x", "y" * 15_000)])))):
        client.wait_until_ended()


@on_sockets
def empty_continuation_without_end(target: Target) -> None:
    client = target.connect()
    client.send(frame(HEADERS, 0, 1, block(request(target.method))))
    if not client.flood(itertools.repeat(frame(CONTINUATION, 0, 1) * BATCH)):
        client.wait_until_ended()


@on_sockets
def empty_data_without_end(target: Target) -> None:
    client = target.connect()
    client.send(frame(HEADERS, END_HEADERS, 1, block(request(target.method))))
    client.flood(itertools.repeat(frame(DATA, 0, 1) * BATCH))


# --- each caller gets an answer, or an end ---------------------------------------------------------------------


def _raw_call(method: str, fields: list[tuple[str, str]] | None = None, body: bytes | None = None) -> bytes:
    """A call on stream 1, with these fields and this body instead of the honest ones."""
    begun = block(request(method) if fields is None else fields)
    return frame(HEADERS, END_HEADERS, 1, begun) + frame(DATA, END_STREAM, 1, message(b"") if body is None else body)


FIELDS: dict[str, Callable[[str], list[tuple[str, str]]]] = {
    "no-method": lambda method: request(method, **{":method": None}),
    "no-path": lambda method: request(method, **{":path": None}),
    "no-scheme": lambda method: request(method, **{":scheme": None}),
    "no-authority": lambda method: request(method, **{":authority": None}),
    "no-content-type": lambda method: request(method, content_type=None),
    "no-te": lambda method: request(method, te=None),
    "none": lambda method: [],
    "path-twice": lambda method: [(":path", "/a.B/C"), *request(method)],
    "pseudo-at-the-end": lambda method: [*request(method, **{":scheme": None}), (":scheme", "http")],
    "unknown-pseudo": lambda method: [(":what", "x"), *request(method)],
    "status-in-a-request": lambda method: [(":status", "200"), *request(method)],
    "capital-letters": lambda method: [*request(method), ("X-Y", "z")],
    "connection-field": lambda method: [*request(method), ("connection", "close"), ("transfer-encoding", "chunked")],
    "line-break-in-value": lambda method: [*request(method), ("x", "a\r\nb: c")],
    "nul-in-value": lambda method: [*request(method), ("x", "a\0b")],
    "empty-name": lambda method: [*request(method), ("", "x")],
    "get": lambda method: request(method, **{":method": "GET"}),
    "connect": lambda method: [(":method", "CONNECT"), (":authority", "localhost")],
    "path-is-empty": lambda method: request(""),
    "path-without-slash": lambda method: request("x"),
    "path-is-long": lambda method: request("/" + "x" * 30_000),
    "path-is-no-text": lambda method: request("/\udcff\udcfe".encode(errors="surrogateescape").decode("latin-1")),
    "content-type-is-html": lambda method: request(method, content_type="text/html"),
    "content-length-lies": lambda method: [*request(method), ("content-length", "1000")],
    "content-length-is-no-number": lambda method: [*request(method), ("content-length", "x")],
    "bad-bin": lambda method: [*request(method), ("x-bin", "abcde")],
    "very-bad-bin": lambda method: [*request(method), ("x-bin", "!\x7f, ,,")],
    "timeout-without-unit": lambda method: [*request(method), ("grpc-timeout", "1")],
    "timeout-of-no-unit": lambda method: [*request(method), ("grpc-timeout", "1x")],
    "timeout-is-empty": lambda method: [*request(method), ("grpc-timeout", "")],
    "timeout-below-zero": lambda method: [*request(method), ("grpc-timeout", "-1S")],
    "timeout-is-zero": lambda method: [*request(method), ("grpc-timeout", "0n")],
    "timeout-of-ages": lambda method: [*request(method), ("grpc-timeout", "99999999H")],
    "timeout-of-a-thousand-digits": lambda method: [*request(method), ("grpc-timeout", "9" * 1000 + "S")],
    "timeout-twice": lambda method: [*request(method), ("grpc-timeout", "1S"), ("grpc-timeout", "2S")],
    "encoding-unknown": lambda method: [*request(method), ("grpc-encoding", "brotli")],
}
BODIES: dict[str, bytes] = {
    "four-gigabytes": message(b"x" * 100, length=GIB4),
    "compressed": message(b"", flag=1),
    "flag-unknown": message(b"", flag=255),
    "nothing": b"",
    "half-a-prefix": b"\0\0",
    "half-a-message": message(b"abc", length=1000),
    "two-messages": message(b"") * 2,
    "many-messages": message(b"") * 3000,
    "garbage-behind": message(b"") + b"\xff\xff",
    "no-protobuf": message(b"\xff" * 100),
    "as-long-as-may-be": message(b"x" * 16_000),
}
EXCHANGES: dict[str, Callable[[str], bytes]] = {
    "http-1": lambda method: b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "no-preface": lambda method: settings() + call(1, method),
    "wrong-preface": lambda method: PREFACE.replace(b"SM", b"XX") + settings(),
    "tls": lambda method: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "frame-too-long": lambda method: PREFACE + settings() + frame(DATA, 0, 1, b"x" * 20_000),
    "data-on-stream-0": lambda method: PREFACE + settings() + frame(DATA, 0, 0, b"x"),
    "data-on-a-stream-never-opened": lambda method: PREFACE + settings() + frame(DATA, 0, 7, b"x"),
    "headers-on-stream-0": lambda method: PREFACE + settings() + frame(HEADERS, 5, 0, block(request(method))),
    "headers-on-an-even-stream": lambda method: PREFACE + settings() + frame(HEADERS, 5, 2, block(request(method))),
    "streams-backwards": lambda method: PREFACE + settings() + call(5, method) + call(3, method),
    "continuation-of-nothing": lambda method: PREFACE + settings() + frame(CONTINUATION, 4, 1, b""),
    "interrupted-headers": lambda method: PREFACE + settings() + frame(HEADERS, 0, 1, b"") + frame(PING),
    "push-promise": lambda method: PREFACE + settings() + frame(PUSH_PROMISE, 4, 1, b"\0\0\0\x02"),
    "ping-too-short": lambda method: PREFACE + settings() + frame(PING, payload=b"123"),
    "ping-on-a-stream": lambda method: PREFACE + settings() + frame(PING, 0, 1, b"12345678"),
    "settings-of-five-bytes": lambda method: PREFACE + frame(SETTINGS, payload=b"12345"),
    "settings-acknowledged-with-a-payload": lambda method: PREFACE + settings() + frame(SETTINGS, ACK, 0, b"123456"),
    "settings-max-frame-1": lambda method: PREFACE + settings(MAX_FRAME=1),
    "settings-enable-push-5": lambda method: PREFACE + settings(ENABLE_PUSH=5),
    "settings-window-too-large": lambda method: PREFACE + settings(INITIAL_WINDOW=MOST + 1),
    "window-overflows": lambda method: PREFACE + settings() + window_update(MOST) * 2,
    "window-of-0": lambda method: PREFACE + settings() + window_update(0),
    "reset-of-a-stream-never-opened": lambda method: PREFACE + settings() + reset(9),
    "padding-longer-than-the-frame": lambda method: (
        PREFACE + settings() + frame(HEADERS, 4, 1, block(request(method))) + frame(DATA, PADDED, 1, b"\xff")
    ),
    "header-padding-longer-than-the-frame": lambda method: PREFACE + settings() + frame(HEADERS, 0xC, 1, b"\xff"),
    "headers-that-are-no-hpack": lambda method: PREFACE + settings() + frame(HEADERS, 5, 1, b"\xff" * 200),
    "hpack-table-too-large": lambda method: PREFACE + settings() + frame(HEADERS, 5, 1, b"\x3f\xff\xff\xff\xff\x07"),
    "hpack-number-without-end": lambda method: PREFACE + settings() + frame(HEADERS, 5, 1, b"\x7f" + b"\xff" * 9000),
    "hpack-index-of-nothing": lambda method: PREFACE + settings() + frame(HEADERS, 5, 1, b"\xfe"),
    "hpack-bomb": lambda method: PREFACE + settings() + _header_bombs(1),
    "a-megabyte-of-headers": lambda method: PREFACE + settings() + _long_headers(1),
}  # fmt: skip
"""Each is followed by the end of the connection, or by an answer on stream 1; most by the former."""


def _each_answered(exchanges: Callable[[str], dict[str, bytes]]) -> Attack:
    """All at the same time, each on a connection of its own."""

    def attack(target: Target) -> None:
        clients = {name: target.connect(begin=sent) for name, sent in exchanges(target.method).items()}
        deadline = time.monotonic() + PATIENCE
        silent = [name for name, client in clients.items() if not _is_answered(client, deadline)]
        assert not silent, f"neither answered nor ended: {' '.join(silent)}"

    return attack


def _is_answered(client: Client, deadline: float) -> bool:
    try:
        client.answer(1, seconds=max(deadline - time.monotonic(), 0.05))
    except TimeoutError:
        return False
    return True


def _begun(sent: bytes) -> bytes:
    return PREFACE + settings(INITIAL_WINDOW=MOST) + sent


ON_SOCKETS["odd_fields"] = _each_answered(
    lambda method: {name: _begun(_raw_call(method, fields(method))) for name, fields in FIELDS.items()}
)
ON_SOCKETS["odd_bodies"] = _each_answered(
    lambda method: {name: _begun(_raw_call(method, body=body)) for name, body in BODIES.items()}
)
ON_SOCKETS["odd_frames"] = _each_answered(
    lambda method: {name: exchange(method) for name, exchange in EXCHANGES.items()}
)


@on_sockets
def frames_that_mean_nothing(target: Target) -> None:
    """Unknown types, flags and settings, priorities, pings: the call among them is an honest one, and answered."""
    client = target.connect()
    stream = client.next_stream()
    client.send(
        frame(0xFA, 0xFF, 0, b"x" * 1000),
        frame(0xFB, 0, stream, b""),
        frame(SETTINGS, payload=b"\xff\xff\0\0\0\x01"),
        frame(PRIORITY, stream=5, payload=b"\0\0\0\x07\x10"),
        frame(HEADERS, END_HEADERS | 0xC2, stream, block(request(target.method))),
        frame(DATA, END_STREAM | 0xF0, stream, message(b"")),
    )
    assert client.answer(stream).how == "answered", "frames of unknown types are to be ignored"


@on_sockets
def depends_on_itself(target: Target) -> None:
    """A stream that depends on itself."""
    client = target.connect()
    itself = (1).to_bytes(4, "big") + b"\x10"
    client.send(
        frame(HEADERS, END_HEADERS | HAS_PRIORITY, 1, itself + block(request(target.method))),
        frame(DATA, END_STREAM, 1, message(b"")),
        *(frame(PRIORITY, stream=n, payload=n.to_bytes(4, "big") + b"\x10") for n in range(3, 1000, 2)),
    )
    client.answer(1)


@on_sockets
def padding(target: Target) -> None:
    """More padding than any window holds: who counts what it takes gives the window back, and the call is answered."""
    client = target.connect()
    client.send(frame(HEADERS, END_HEADERS, 1, block(request(target.method))))
    padded = frame(DATA, PADDED, 1, b"\xff" + bytes(255))
    whole = window = client.initial_window()
    sent = 0
    while sent < 3 * whole:
        while window >= 256:
            client.send(padded)
            window, sent = window - 256, sent + 256
        try:
            one = client.read(time.monotonic() + PATIENCE)
        except TimeoutError:
            raise AssertionError(f"the window of {sent} bytes of padding is not given back") from None
        if one is None or one.kind in (GOAWAY, RST_STREAM):
            return
        client.acknowledge(one)
        if one.kind == WINDOW_UPDATE and one.stream == 1:
            window += int.from_bytes(one.payload, "big")
    client.send(frame(DATA, END_STREAM, 1, message(b"")))
    client.answer(1)


@on_sockets
def trailers_without_end(target: Target) -> None:
    client = target.connect()
    begun = frame(HEADERS, END_HEADERS, 1, block(request(target.method)))
    client.send(begun, frame(DATA, 0, 1, message(b"")), begun, begun, frame(DATA, END_STREAM, 1))
    client.answer(1)


@on_sockets
def data_on_closed_streams(target: Target) -> None:
    """A thousand frames on a stream that was answered, and on one that was reset."""
    client = target.connect()
    client.call(target.method)
    client.send(*[frame(DATA, 0, 1, b"x" * 50)] * 1000)
    other = target.connect()
    other.send(call(1, target.method), reset(1), *[frame(DATA, 0, 1, b"x" * 50)] * 1000, call(3, target.method))
    other.answer(3)


@on_sockets
def hangs_up_half(target: Target) -> None:
    """A caller that sends no more still gets its answer, or an end."""
    client = target.connect(begin=_begun(call(1, target.method)))
    client.socket.shutdown(1)
    client.answer(1)


@on_sockets
def goaway_and_another_call(target: Target) -> None:
    client = target.connect()
    client.send(goaway(0), call(1, target.method))
    client.answer(1)


# --- connections and streams that are held ---------------------------------------------------------------------


@on_sockets
def silence(target: Target) -> None:
    """Nothing; half a preface; a preface; half a frame head; half a frame; half a call; half a header block."""
    hello = PREFACE + settings()
    for begin in (b"", PREFACE[:9], PREFACE, hello, hello + frame(DATA, 0, 1)[:5], hello + frame(PING)[:12]):
        target.connect(begin=begin)
    begun = frame(HEADERS, END_HEADERS, 1, block(request(target.method)))
    target.connect(begin=hello + begun)
    target.connect(begin=hello + begun + frame(DATA, 0, 1, b"\0\0"))
    target.connect(begin=hello + frame(HEADERS, 0, 1, b"\x82"))


@on_sockets
def frames_of_16_megabytes(target: Target) -> None:
    """Eight connections, on each a frame of the greatest length there is, but for its last byte."""
    clients = [target.connect() for _ in range(8)]
    for client in clients:
        parts = [b"x" * 2**17] * 128
        client.flood(iter([frame(DATA, 0, 1, parts[0], length=2**24 - 1), *parts[2:]]), seconds=0.5)


@on_sockets
def too_many_streams(target: Target) -> None:
    """Calls that are begun and never finished; whoever is refused one may be told, or hung up on."""
    begun = block(request(target.method))
    target.connect().flood(_batches(range(1, 10_000, 2), lambda n: frame(HEADERS, END_HEADERS, n, begun)))


@on_sockets
def unfinished_messages(target: Target) -> None:
    """A hundred calls with the most of a message that the window allows, or the limit."""
    client, part = target.connect(), message(b"x" * 600, length=15_000)
    for stream in range(1, 200, 2):
        client.send(frame(HEADERS, END_HEADERS, stream, block(request(target.method))), frame(DATA, 0, stream, part))


@on_sockets
def connects_and_hangs_up(target: Target) -> None:
    """Four hundred callers that are gone before their answer."""
    for _ in range(400):
        with suppress(OSError):
            target.connect(begin=_begun(call(1, target.method))).hang_up()


@on_sockets
def resets_while_it_waits_for_a_window(target: Target) -> None:
    client = target.connect(begin=PREFACE + settings(INITIAL_WINDOW=0))
    client.flood(_batches(range(1, 400, 2), lambda n: call(n, target.method)))
    client.flood(_batches(range(1, 400, 2), reset))


def _calls_without_window(target: Target, *methods: str, count: int = 1000) -> None:
    client = target.connect(begin=PREFACE + settings(INITIAL_WINDOW=0))
    of = itertools.cycle(methods)
    client.flood(_batches(range(1, 2 * count, 2), lambda n: call(n, next(of))), seconds=2)


@on_sockets
def zero_window_for_ever(target: Target) -> None:
    """A thousand answers that nobody takes: lists of pods, events that are followed, and what there is."""
    service = target.method.rpartition("/")[0]
    more = {"/devicemgr.v1.Admin": ("Status", "Events", "NodeStatus", "Explain")}.get(service)
    _calls_without_window(target, *(f"{service}/{name}" for name in more or [target.method.rpartition("/")[2]]))


@on_sockets
def connection_window_of_zero(target: Target) -> None:
    """The streams have windows, the connection has none left."""
    client = target.connect(begin=PREFACE + settings(INITIAL_WINDOW=MOST))
    client.flood(_batches(range(1, 2000, 2), lambda n: call(n, target.method)), seconds=2)


@on_sockets
def window_of_one_byte(target: Target) -> None:
    """An answer in pieces of one byte is whole in the end."""
    client = target.connect(begin=PREFACE + settings(INITIAL_WINDOW=1))
    stream = client.begin(target.method)

    def one_more(received) -> None:
        if received.kind == DATA and not received.flags & END_STREAM:
            client.send(window_update(1, stream), window_update(1))

    assert client.answer(stream, on_frame=one_more).how == "answered"


@on_sockets
def window_up_and_down(target: Target) -> None:
    """The initial window changes while answers wait for it, below zero too; then there is room, and all come."""
    client = target.connect(begin=PREFACE + settings(INITIAL_WINDOW=3))
    first, second = client.begin(target.method), client.begin(target.method)
    for size in [0, 1, 0, 2, 0, 5, 1, 0] * 20:
        client.send(settings(INITIAL_WINDOW=size))
    client.send(settings(INITIAL_WINDOW=100_000))
    try:
        client.answer(second)
    except TimeoutError:
        raise AssertionError(f"call {second} of {first, second} was not answered when there was room") from None


@on_sockets
def stream_window_overflows(target: Target) -> None:
    client = target.connect(begin=PREFACE + settings(INITIAL_WINDOW=0))
    stream = client.begin(target.method)
    client.send(window_update(MOST, stream) * 2)
    client.answer(stream)


# --- what a plug-in does ----------------------------------------------------------------------------------------


NUMBERS = itertools.count()


def _serve(root: Path, **options) -> Plugin:
    KEPT.append(Plugin(root / "device-plugins" / f"hostile-{os.getpid()}-{next(NUMBERS)}.sock", **options))
    return KEPT[-1]


def _register(root: Path, name: str, plugin: Plugin) -> str:
    """Its resource; the registration is answered, whatever the answer is."""
    resource = RESOURCE.format(name.lower())[:79]
    try:
        answer = register(root, resource, plugin.path.name)
    except TimeoutError:
        raise AssertionError(f"the registration of {name} was not answered") from None
    assert answer.how == "answered", f"the registration of {name} was not answered but {answer.how}"
    return resource


def _admit(root: Path, name: str, resource: str) -> bool:
    try:
        return admit(root, name, resource).admitted
    except TimeoutError:
        raise AssertionError(f"a pod that wants {name} was neither admitted nor refused") from None


def _until_asked(root: Path, name: str, resource: str, asked: threading.Event) -> bool:
    """Want its devices, once and until it has been asked; was the last pod admitted?"""
    deadline, numbers = time.monotonic() + 2 * PATIENCE, itertools.count()
    while True:
        admitted = _admit(root, f"{name}-{next(numbers)}", resource)
        if asked.is_set():
            return admitted
        assert time.monotonic() < deadline, f"{name}: the plug-in was never asked"


def _together(*functions: Callable[[], None]) -> None:
    """All at the same time; raises what each raised."""
    failures: list[Exception] = []

    def run(function: Callable[[], None]) -> None:
        try:
            function()
        except (AssertionError, OSError) as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(function,), daemon=True) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise AssertionError("; ".join(map(str, failures)))


def _flooding(chunks: Callable[[Call], Iterable[bytes]], *, reading: bool = True) -> Callable[[Path, str], None]:
    """A plug-in that floods as soon as it has sent its list."""

    def attack(root: Path, name: str) -> None:
        over = threading.Event()

        def flood(one: Call) -> None:
            try:
                lists(one)
                one.wire.flood(iter(chunks(one)), reading=reading)
            finally:
                over.set()

        _register(root, name, _serve(root, ListAndWatch=flood))
        assert over.wait(2 * PATIENCE), "its list was never asked for"

    return attack


def _flood_on_stream(make: Callable[[int], bytes]) -> Callable[[Call], Iterable[bytes]]:
    return lambda one: itertools.repeat(make(one.stream) * BATCH)


for _name in ("pings", "settings", "window-updates", "unknown-frames", "resets-of-nothing", "goaways"):
    FLOODING_PLUGINS[f"{_name}-read"] = _flooding(lambda one, chunks=FLOODS[_name]: chunks)
for _name in ("pings", "settings"):
    FLOODING_PLUGINS[f"{_name}-unread"] = _flooding(lambda one, chunks=FLOODS[_name]: chunks, reading=False)
FLOODING_PLUGINS["empty-data"] = _flooding(_flood_on_stream(lambda stream: frame(DATA, 0, stream)))
FLOODING_PLUGINS["padding"] = _flooding(
    _flood_on_stream(lambda stream: frame(DATA, PADDED, stream, b"\xff" + bytes(255)))
)
FLOODING_PLUGINS["interim-headers"] = _flooding(
    _flood_on_stream(lambda stream: frame(HEADERS, END_HEADERS, stream, block([(":status", "100")])))
)
FLOODING_PLUGINS["trailers-without-end"] = _flooding(
    _flood_on_stream(lambda stream: frame(HEADERS, END_HEADERS, stream, block(ENDING)))
)
FLOODING_PLUGINS["continuation-without-end"] = _flooding(
    lambda one: itertools.chain(
        [frame(HEADERS, 0, one.stream, block(ENDING))],
        itertools.repeat(frame(CONTINUATION, 0, one.stream, block([("x", "y" * 15_000)]))),
    )
)
FLOODING_PLUGINS["pushes"] = _flooding(
    lambda one: (
        b"".join(frame(PUSH_PROMISE, 4, one.stream, n.to_bytes(4, "big") + block(request("/a"))) for n in many)
        for many in _batched(range(2, 2**31, 2), 50)
    )
)


def _sends(*frames: Callable[[int], bytes]) -> Handler:
    def handler(one: Call) -> None:
        one.wire.send(*(make(one.stream) for make in frames))

    return handler


def _answers(fields=OK, body: bytes | None = None, ending: list[tuple[str, str]] | None = ENDING) -> Handler:
    """Answers with these headers, this body and these trailers, each of which may be missing."""

    def handler(one: Call) -> None:
        if fields is not None:
            one.begin(fields)
        if body is not None:
            one.data(body)
        if ending is not None:
            one.end(ending)

    return handler


def _only_trailers(*fields: tuple[str, str]) -> Handler:
    return lambda one: one.end(fields)


def _late(one: Call) -> None:
    """Answers when the manager has cancelled, twice, and on streams it never opened."""
    late = block(OK), message(ALLOCATED), block(ENDING)
    deadline = time.monotonic() + PATIENCE
    with suppress(TimeoutError):
        while (received := one.wire.read(deadline)) is not None and received.kind != RST_STREAM:
            one.wire.acknowledge(received)
    for stream in (one.stream, one.stream, one.stream + 100):
        one.wire.send(frame(HEADERS, END_HEADERS, stream, late[0]), frame(DATA, 0, stream, late[1]))
        one.wire.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, late[2]))


FINE = message(ALLOCATED)
GRPC = ("content-type", "application/grpc")
ODD_ANSWERS: dict[str, dict[str, Handler]] = {
    "odd-headers": {
        "status-is-missing": _answers([GRPC], FINE),
        "status-is-404": _answers([(":status", "404"), GRPC], FINE),
        "status-is-503-and-html": _only_trailers((":status", "503"), ("content-type", "text/html")),
        "status-is-no-number": _answers([(":status", "abc"), GRPC], FINE),
        "status-is-99999": _answers([(":status", "99999"), GRPC], FINE),
        "status-twice": _answers([(":status", "200"), *OK], FINE),
        "request-fields-in-an-answer": _answers([(":path", "/"), *OK], FINE),
        "content-type-is-missing": _answers([(":status", "200")], FINE),
    },
    "odd-statuses": {
        "grpc-status-is-missing": _answers(OK, FINE, [("x", "y")]),
        "grpc-status-is-no-number": _answers(OK, FINE, [("grpc-status", "fine")]),
        "grpc-status-is-99": _answers(OK, FINE, [("grpc-status", "99")]),
        "grpc-status-has-5000-digits": _answers(OK, FINE, [("grpc-status", "9" * 5000)]),
        "grpc-status-twice": _answers(OK, FINE, [("grpc-status", "0"), ("grpc-status", "5")]),
        "grpc-message-is-odd": _answers(OK, None, [("grpc-status", "2"), ("grpc-message", "%%%zz%ff%0a\x7f")]),
        "details-are-no-base64": _answers(OK, None, [("grpc-status", "2"), ("grpc-status-details-bin", "!!")]),
        "only-trailers-ok": _only_trailers(*OK, ("grpc-status", "0")),
        "only-trailers-failed": _only_trailers(*OK, ("grpc-status", "13"), ("grpc-message", "no")),
        "pseudo-in-trailers": _answers(OK, FINE, [(":status", "200"), ("grpc-status", "0")]),
    },
    "odd-messages": {
        "bad-bin": _answers([*OK, ("x-bin", "abcde")], FINE, [*ENDING, ("y-bin", "!")]),
        "compressed": _answers(OK, message(ALLOCATED, flag=1)),
        "compressed-by-what": _answers([*OK, ("grpc-encoding", "x")], message(ALLOCATED, flag=1)),
        "flag-unknown": _answers(OK, message(ALLOCATED, flag=255)),
        "no-message": _answers(OK, None),
        "two-messages": _answers(OK, FINE * 2),
        "half-a-message": _answers(OK, message(b"abc", length=100)),
        "four-gigabytes": _answers(OK, message(b"abc", length=GIB4)),
        "no-protobuf": _answers(OK, message(b"\xff" * 100)),
    },
    "odd-ends": {
        "no-trailers": _answers(OK, FINE, None),
        "end-without-trailers": lambda one: (one.begin(), one.data(FINE, flags=END_STREAM)),
        "no-headers": _answers(None, FINE),
        "headers-again-and-again": _sends(*[lambda stream: frame(HEADERS, END_HEADERS, stream, block(OK))] * 50),
        "trailers-without-end": _sends(
            lambda stream: frame(HEADERS, END_HEADERS, stream, block(OK)),
            lambda stream: frame(DATA, 0, stream, FINE),
            lambda stream: frame(HEADERS, END_HEADERS, stream, block(ENDING)),
        ),
    },
    "odd-resets": {
        "reset": _sends(reset),
        "reset-without-an-error": _sends(lambda stream: reset(stream, 0)),
        "reset-refused": _sends(lambda stream: reset(stream, 7)),
        "reset-with-an-unknown-code": _sends(lambda stream: reset(stream, MOST)),
        "reset-after-the-answer": lambda one: (one.answer(ALLOCATED), one.wire.send(reset(one.stream, CANCEL))),
        "reset-three-times": _sends(reset, reset, reset),
    },
    "odd-frames": {
        "answer-on-another-stream": _sends(lambda stream: frame(HEADERS, 5, stream + 2, block([*OK, *ENDING]))),
        "data-on-another-stream": _sends(lambda stream: frame(DATA, 0, stream + 2, FINE)),
        "data-on-stream-0": _sends(lambda stream: frame(DATA, 0, 0, FINE)),
        "padding-longer-than-the-frame": _sends(lambda stream: frame(DATA, PADDED, stream, b"\xff")),
        "window-overflows": _sends(lambda stream: window_update(MOST) * 2),
        "stream-window-overflows": _sends(lambda stream: window_update(MOST, stream) * 2),
        "window-of-0": _sends(lambda stream: window_update(0, stream)),
        "depends-on-itself": _sends(lambda stream: frame(PRIORITY, 0, stream, stream.to_bytes(4, "big") + b"\x10")),
        "push-promise": _sends(lambda stream: frame(PUSH_PROMISE, 4, stream, b"\0\0\0\x02" + block(request("/a")))),
    },
    "odd-goaways": {
        "goaway": _sends(goaway),
        "goaway-for-nobody": _sends(lambda stream: goaway(0)),
        "goaway-with-an-unknown-code": _sends(lambda stream: goaway(stream, MOST)),
    },
    "odd-floods-of-headers": {
        "headers-that-are-no-hpack": _sends(lambda stream: frame(HEADERS, END_HEADERS, stream, b"\xff" * 100)),
        "hpack-bomb": _sends(_header_bombs),
        "a-megabyte-of-headers": _sends(_long_headers),
    },
    "odd-silence": {
        "http-1": _sends(lambda stream: b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        "half-a-frame": _sends(lambda stream: frame(DATA, 0, stream, FINE)[:11]),
        "frame-of-16-megabytes": _sends(lambda stream: frame(DATA, 0, stream, b"x", length=2**24 - 1)),
        "silence": lambda one: None,
        "after-it-was-cancelled": _late,
        "hangs-up": lambda one: one.wire.hang_up(),
    },
}
MAY_BE_TAKEN = {
    "status-twice",
    "request-fields-in-an-answer",
    "content-type-is-missing",
    "grpc-status-twice",
    "pseudo-in-trailers",
    "bad-bin",
    "two-messages",
    "reset-after-the-answer",
}
"""What somebody lenient may understand; a pod is not admitted with any other of these answers to Allocate."""
CALLS = ("GetDevicePluginOptions", "ListAndWatch", "GetPreferredAllocation", "Allocate", "PreStartContainer")


def _odd(answers: dict[str, Handler]) -> Callable[[Path, str], None]:
    """For each of them five plug-ins, which answer one of the manager's calls like that, and the others well."""

    def attack(root: Path, name: str) -> None:
        def one(what: str, method: str) -> None:
            plugin = _serve(root, wants_start=True, wants_advice=True, **{method: answers[what]})
            resource = _register(root, f"{what}-{method}", plugin)
            admitted = _until_asked(root, f"{what}-{method}", resource, plugin.asked[method])
            assert not admitted or method != "Allocate" or what in MAY_BE_TAKEN, f"a pod was admitted with {what}"

        _together(*(partial(one, what, method) for what in answers for method in CALLS))

    return attack


for _name, _answers_oddly in ODD_ANSWERS.items():
    ODD_PLUGINS[_name] = _odd(_answers_oddly)

GREETINGS: dict[str, bytes] = {
    "no-streams-allowed": settings(MAX_STREAMS=0),
    "one-stream-allowed": settings(MAX_STREAMS=1),
    "window-of-zero": settings(INITIAL_WINDOW=0),
    "window-of-one": settings(INITIAL_WINDOW=1),
    "window-too-large": settings(INITIAL_WINDOW=MOST + 1),
    "frames-of-one-byte": settings(MAX_FRAME=1),
    "headers-of-zero-bytes": settings(MAX_HEADER_LIST=0),
    "header-table-of-4-gigabytes": settings(HEADER_TABLE_SIZE=GIB4),
    "nothing": b"",
    "half-a-frame": settings()[:5],
    "http-1": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "goaway": settings() + goaway(0),
    "goaway-covering-all": settings() + goaway(MOST),
    "window-up-and-down": b"".join(settings(INITIAL_WINDOW=n) for n in (0, MOST, 0, 1, MOST, 0, 65_535) * 50),
    "garbage": b"\xff" * 10_000,
}


def _greets(root: Path, what: str) -> None:
    plugin = _serve(root)
    plugin.begin = GREETINGS[what]
    if what == "nothing":
        plugin.on_connect = lambda one: threading.Event().wait()  # reads nothing either
    _admit(root, what, _register(root, what, plugin))


ODD_PLUGINS["odd-greetings"] = lambda root, name: _together(*(partial(_greets, root, what) for what in GREETINGS))


def _gives_windows(root: Path, name: str, how: Callable[[Wire, int], None]) -> None:
    plugin = _serve(root)
    plugin.begin = settings(INITIAL_WINDOW=0)
    plugin.on_frame = lambda one, received: how(one, received.stream) if received.kind == HEADERS else None
    _admit(root, name, _register(root, name, plugin))


ODD_PLUGINS["gives-windows-of-one-byte"] = lambda root, name: _gives_windows(
    root, name, lambda one, stream: one.send(*[window_update(1, stream)] * 200)
)
ODD_PLUGINS["gives-windows-of-zero"] = lambda root, name: _gives_windows(
    root, name, lambda one, stream: one.send(window_update(0, stream))
)


def _on_socket(target: Target, name: str) -> None:
    TARGETS.append(target)
    try:
        ON_SOCKETS[name](target)
    except (AssertionError, OSError) as error:
        raise AssertionError(f"on {target.path.parent.name}, {type(error).__name__}: {error}") from error


def main(root: Path, direction: str, name: str) -> None:
    try:
        if direction == "plugin":
            (FLOODING_PLUGINS | ODD_PLUGINS)[name](root, name)
        else:
            _together(*(partial(_on_socket, target, name) for target in targets(root)))
        print("done", flush=True)
    except (AssertionError, OSError) as error:
        print(f"{type(error).__name__}: {error}".replace("\n", " "), flush=True)
    sys.stdin.read()  # the connections live until then


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
