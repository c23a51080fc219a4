"""Hostile device plug-ins, each a coroutine, on grpclib and asyncio: nothing of devicemgr but the message classes.

``python -m tests.hostile.fakes ROOT_DIR [NAME …]`` runs them all, or those named, against a manager until it is
killed. Each begins again a moment after the manager has dealt with it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import socket
import struct
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from grpclib.client import Channel
from grpclib.const import Cardinality, Handler
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.server import Server

from devicemgr.rpc.stubs import v1beta1 as wire

GIB4 = 2**32 - 1
AGAIN = 0.05
"""Seconds until a fake tries again what was refused or ended."""
FAKES = {}


def fake(function):
    FAKES[function.__name__] = function
    return function


class Raw:
    """A message that is whatever bytes it was made of."""

    def __init__(self, data):
        self.data = data

    def SerializeToString(self):
        return self.data

    FromString = staticmethod(bytes)


def entry(id=b"dev-0", health=b"Healthy", rest=b""):
    return _field(1, _field(1, id) + _field(2, health) + rest)


def numa(node):
    return _field(3, _field(1, b"\x08" + _varint(node % 2**64)))


def _field(number, data):
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def _varint(value):
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


LIST = entry()


class Plugin:
    """Honest so far; a fake overrides what it does otherwise. Each method gets a grpclib stream."""

    def __mapping__(self):
        names = {
            "GetDevicePluginOptions": (self.options, Cardinality.UNARY_UNARY),
            "ListAndWatch": (self.lists, Cardinality.UNARY_STREAM),
            "Allocate": (self.allocate, Cardinality.UNARY_UNARY),
        }
        return {
            f"/v1beta1.DevicePlugin/{name}": Handler(method, kind, Raw, Raw) for name, (method, kind) in names.items()
        }

    async def options(self, stream):
        await stream.recv_message()
        await stream.send_message(Raw(b""))

    async def lists(self, stream):
        await stream.recv_message()
        await stream.send_message(Raw(LIST))
        await asyncio.Event().wait()

    async def allocate(self, stream):
        await stream.recv_message()
        await stream.send_message(Raw(bytes(wire.AllocateResponse([wire.ContainerAllocateResponse()]))))


class Lists(Plugin):
    """Sends these lists, one after the other, and waits."""

    def __init__(self, *lists):
        self._lists = lists
        self.begun, self.ended = asyncio.Event(), asyncio.Event()

    async def lists(self, stream):
        self.begun.set()
        try:
            await stream.recv_message()
            for data in self._lists:
                await stream.send_message(Raw(data))
            await asyncio.Event().wait()
        finally:
            self.ended.set()


@asynccontextmanager
async def serving(root, name, plugin):
    """A plug-in's socket, for as long as the block lasts."""
    path = root / "device-plugins" / f"{name}.sock"
    server = Server([plugin])
    path.unlink(missing_ok=True)
    await server.start(path=str(path))
    try:
        yield path
    finally:
        server.close()


async def register(root, endpoint, resource):
    """One call of Register; whatever the manager says to it is fine."""
    channel = Channel(path=str(root / "device-plugins" / "kubelet.sock"))
    request = wire.RegisterRequest(version="v1beta1", endpoint=endpoint, resource_name=resource)
    with suppress(Exception):  # grpclib has more than one way to say that it was hung up on
        await wire.RegistrationStub(channel).register(request, timeout=20)
    channel.close()


async def keep_registering(root, name, plugin):
    """Register, and again and again whatever the manager thinks of it."""
    async with serving(root, name, plugin) as path:
        while True:
            await register(root, path.name, f"hostile.example/{name}")
            await asyncio.sleep(AGAIN)
            if not path.exists():
                return


async def register_after_each_stream(root, name, plugin):
    """The same, but only when the manager has ended the stream, or has begun none within a minute.

    So a list that takes it long, on a busy machine, arrives as a whole.
    """
    async with serving(root, name, plugin) as path:
        while True:
            plugin.begun.clear()
            plugin.ended.clear()
            await register(root, path.name, f"hostile.example/{name}")
            with suppress(TimeoutError):
                await asyncio.wait_for(plugin.begun.wait(), 60)
                await plugin.ended.wait()


# --- calls and streams ---------------------------------------------------------------------------------


@fake
async def never_answers(root):
    class Silent(Plugin):
        async def options(self, stream):
            await asyncio.Event().wait()

    await keep_registering(root, "never-answers", Silent())


@fake
async def answers_too_late(root):
    class Late(Plugin):
        async def allocate(self, stream):
            await asyncio.sleep(11)
            await super().allocate(stream)

    async with serving(root, "late", Late()) as path:
        while True:
            await register(root, path.name, "hostile.example/late")
            await asyncio.sleep(5)


@fake
async def floods(root):
    """Ten thousand lists a second and more, as far as flow control lets it."""

    class Flood(Plugin):
        async def lists(self, stream):
            await stream.recv_message()
            for number in itertools.count():
                await stream.send_message(Raw(LIST if number % 2 else LIST + entry(b"dev-1")))

    async with serving(root, "floods", Flood()) as path:
        while True:
            await register(root, path.name, "hostile.example/floods")
            await asyncio.sleep(5)


@fake
async def floods_with_empty_lists(root):
    class Flood(Plugin):
        async def lists(self, stream):
            await stream.recv_message()
            await stream.send_message(Raw(b""))
            while True:  # many messages in one frame
                await stream._stream.send_data(b"\0\0\0\0\0" * 3000)

    async with serving(root, "floods-empty", Flood()) as path:
        while True:
            await register(root, path.name, "hostile.example/floods-empty")
            await asyncio.sleep(5)


@fake
async def announces_four_gigabytes(root):
    class Announces(Plugin):
        async def lists(self, stream):
            await stream.recv_message()
            await stream.send_initial_metadata()
            await stream._stream.send_data(b"\0" + struct.pack(">I", GIB4) + b"x" * 1000)
            await asyncio.Event().wait()

    await keep_registering(root, "announces", Announces())


@fake
async def sends_a_hundred_megabytes(root):
    class Long(Plugin):
        async def lists(self, stream):
            await stream.recv_message()
            await stream.send_initial_metadata()
            part = entry(b"x" * 1000) * 1000
            with suppress(StreamTerminatedError, GRPCError):
                await stream._stream.send_data(b"\0" + struct.pack(">I", 100 * len(part)))
                for _ in range(100):
                    await stream._stream.send_data(part)

    await keep_registering(root, "long", Long())


@fake
async def resets_its_stream(root):
    class Resets(Plugin):
        async def lists(self, stream):
            await stream.recv_message()
            await stream.send_message(Raw(LIST))
            await stream.cancel()

    await keep_registering(root, "resets", Resets())


@fake
async def hangs_up_in_the_middle_of_a_message(root):
    class HangsUp(Plugin):
        async def lists(self, stream):
            await stream.recv_message()
            await stream.send_initial_metadata()
            await stream._stream.send_data(b"\0" + struct.pack(">I", 1000) + b"x" * 10)
            stream._stream._transport.close()

    await keep_registering(root, "hangs-up", HangsUp())


class Headers(Plugin):
    """Answers its options with these headers, or this message, which grpclib would not send by itself."""

    def __init__(self, headers=(), data=None, then=()):
        self._headers, self._data, self._then = headers, data, then

    async def options(self, stream):
        await stream.recv_message()
        await stream._stream.send_headers(list(self._headers), end_stream=self._data is None)
        if self._data is not None:
            await stream._stream.send_data(self._data)
            await stream._stream.send_headers(list(self._then), end_stream=True)
        await asyncio.Event().wait()


OK, GRPC = (":status", "200"), ("content-type", "application/grpc")
ANSWERS = {
    "compressed": Headers([OK, GRPC], b"\1\0\0\0\0", [("grpc-status", "0")]),
    "bad-header": Headers([OK, GRPC, ("x-bin", "abcde")], b"\0\0\0\0\0", [("grpc-status", "0")]),
    "bad-trailer": Headers([OK, GRPC], b"\0\0\0\0\0", [("grpc-status", "0"), ("x-bin", "abcde")]),
    "no-status": Headers([GRPC]),
    "odd-status": Headers([OK, GRPC, ("grpc-status", "9" * 5000)]),
    "odd-details": Headers([OK, GRPC, ("grpc-status", "2"), ("grpc-status-details-bin", "!!")]),
    "long-reason": Headers([OK, GRPC, ("grpc-status", "2"), ("grpc-message", "%0a%1b[2J" + "x" * 30_000)]),
}


@fake
async def answers_with_what_no_library_sends(root):
    async with asyncio.TaskGroup() as group:
        for name, plugin in ANSWERS.items():
            group.create_task(keep_registering(root, name, plugin))


@fake
async def answers_with_a_million_nothings(root):
    """Options, and answers to Allocate, that take minutes to decode."""

    class Nothings(Plugin):
        async def allocate(self, stream):
            await stream.recv_message()
            body = b"\x12\0" * 1_000_000
            await stream.send_message(Raw(b"\x0a" + _varint(len(body)) + body))

    class Options(Plugin):
        async def options(self, stream):
            await stream.recv_message()
            await stream.send_message(Raw(b"\x08\x01" * 2_000_000))

    async with asyncio.TaskGroup() as group:
        group.create_task(keep_registering(root, "nothings", Options()))
        async with serving(root, "empty-mounts", Nothings()) as path:
            while True:
                await register(root, path.name, "hostile.example/empty-mounts")
                await asyncio.sleep(5)


@fake
async def fills_the_checkpoint(root):
    """Six resources of nine hundred devices with ids of 16,000 bytes each."""
    async with asyncio.TaskGroup() as group:
        for number in range(6):
            data = b"".join(entry(b"%05d" % n + b"x" * 15_990) for n in range(900))
            group.create_task(register_after_each_stream(root, f"fills-{number}", Lists(data)))


@fake
async def fills_the_directory_that_is_watched(root):
    """A thousand sockets at which nobody answers, names that are no text, and directories within each other."""
    directory = root / "plugins_registry"
    listeners = []
    for number in range(900):
        listener = socket.socket(socket.AF_UNIX)
        with suppress(OSError):
            listener.bind(str(directory / f"{number}.sock"))
            listener.listen(1)
        listeners.append(listener)
        await asyncio.sleep(0)
    odd = socket.socket(socket.AF_UNIX)
    with suppress(OSError):
        odd.bind(os.fsencode(directory) + b"/\xff.sock")
        odd.listen(1)
    here = os.open(directory, os.O_RDONLY)
    for _ in range(300):  # by descriptor: the path would be too long
        with suppress(FileExistsError):
            os.mkdir("a", dir_fd=here)
        here, before = os.open("a", os.O_RDONLY, dir_fd=here), here
        os.close(before)
    os.close(here)
    await asyncio.Event().wait()


@fake
async def resets_calls_before_they_begin(root):
    """HTTP/2 rapid reset."""
    import h2.config
    import h2.connection

    call = [(":method", "POST"), (":scheme", "http"), (":path", "/v1beta1.Registration/Register"), (":authority", "x"),
            ("te", "trailers"), ("content-type", "application/grpc")]  # fmt: skip
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_unix_connection(str(root / "device-plugins" / "kubelet.sock"))
            connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
            connection.initiate_connection()
            for number in range(2000):
                connection.send_headers(2 * number + 1, call)
                connection.reset_stream(2 * number + 1)
                writer.write(connection.data_to_send())
                await writer.drain()
            writer.close()
        await asyncio.sleep(AGAIN)


# --- what stands in lists and answers --------------------------------------------------------------------

LISTS = {
    "no-protobuf": b"\xff" * 100,
    "invalid-utf8": entry(b"\xff\xfe"),
    "empty-id": entry(b"") + entry(b"ok"),
    "long-id": entry(b"x" * 10_000),
    "duplicate-ids": entry(b"a") + entry(b"a", b"Unhealthy") + entry(b"b"),
    "numa-below-zero": entry(rest=numa(-5)),
    "numa-too-high": entry(rest=numa(2**40)),
    "trailing-garbage": LIST + b"\x0a\xff\xff",
    "many-empty-entries": b"\x0a\x00" * 1_000_000,
    "many-different-tails": b"".join(entry(b"%d" % n, b"%d" % n * 8) for n in range(20_000)),
    "many-devices": b"".join(entry(b"%d" % n) for n in range(150_000)),
}
ENDED_FOR_SURE = ("many-empty-entries", "many-different-tails")
"""The lists for which the manager ends the stream, once it has read so much of them."""


@fake
async def sends_odd_lists(root):
    async with asyncio.TaskGroup() as group:
        for name, data in LISTS.items():
            keep = register_after_each_stream if name in ENDED_FOR_SURE else keep_registering
            group.create_task(keep(root, name, Lists(data)))


@fake
async def answers_oddly(root):
    class Odd(Plugin):
        async def allocate(self, stream):
            await stream.recv_message()
            answer = wire.ContainerAllocateResponse(
                envs={"A\nB": "1\n2", "PATH": "../.."},
                mounts=[wire.Mount(container_path="/../../etc\n", host_path="/../etc/shadow")],
                devices=[wire.DeviceSpec(container_path="../dev", host_path="/dev/../dev/null", permissions="\n")],
            )
            await stream.send_message(Raw(bytes(wire.AllocateResponse([answer]))))

    many = b"".join(entry(b"odd-%d" % n) for n in range(1000))
    odd = Odd()
    odd.lists = Lists(many).lists
    async with serving(root, "odd", odd) as path:
        while True:
            await register(root, path.name, "hostile.example/odd")
            await asyncio.sleep(5)


# --- connections and registrations -----------------------------------------------------------------------


@fake
async def opens_a_thousand_connections(root):
    """And keeps them until one is closed: a busy manager accepts them one after the other."""
    while True:
        connections = [socket.socket(socket.AF_UNIX) for _ in range(1000)]
        for connection in connections:
            connection.setblocking(False)
        while not any(map(is_closed, connections)):
            for number, connection in enumerate(connections):
                with suppress(OSError):  # it is connected already, or so many wait that it cannot be
                    connection.connect(str(root / "device-plugins" / "kubelet.sock"))
                if number % 20 == 0:
                    await asyncio.sleep(0)
            await asyncio.sleep(1)
        for connection in connections:
            connection.close()


def is_closed(connection):
    """By the other end, after it was connected."""
    try:
        return not connection.recv(1000)
    except OSError:
        return False


@fake
async def registers_ten_thousand_names(root):
    """Each name with a socket of its own: a link to the one there is."""
    async with serving(root, "names", Plugin()) as path:
        for number in range(10_000):
            link = path.with_name(f"name-{number}.sock")
            with suppress(OSError):
                link.symlink_to(path.name)
            await register(root, link.name, f"hostile.example/name-{number}")


@fake
async def takes_over_the_name_of_another(root):
    """Newest wins, as in the kubelet: who may call may do that. But the others must not suffer."""
    async with serving(root, "victim", Plugin()) as victim, serving(root, "thief", Plugin()) as thief:
        while True:
            await register(root, victim.name, "hostile.example/victim")
            await register(root, thief.name, "hostile.example/victim")


ENDPOINTS = [
    "../x.sock", "/etc/passwd", "..", ".", "", "a/b.sock", "a\0b.sock", "x" * 5000, "kubelet_internal_checkpoint",
    "out.sock", "loop.sock", "kubelet.sock",
]  # fmt: skip


@fake
async def names_odd_endpoints(root):
    directory = root / "device-plugins"
    outside = root / "outside.sock"
    listener = await asyncio.start_unix_server(lambda reader, writer: writer.close(), str(outside))
    for link, target in ("out.sock", outside), ("loop.sock", "loop.sock"):
        with suppress(FileExistsError):
            (directory / link).symlink_to(target)
    async with listener:
        for number in itertools.count():
            await register(root, ENDPOINTS[number % len(ENDPOINTS)], "hostile.example/endpoint")


NAMES = ["", "gpu", "kubernetes.io/gpu", "requests.x.com/gpu", "a b/c", "x/y/z", "é.com/x", "x.com/" + "y" * 10_000]


@fake
async def names_odd_resources(root):
    async with serving(root, "odd-names", Plugin()) as path:
        for number in itertools.count():
            await register(root, path.name, NAMES[number % len(NAMES)])


@fake
async def talks_no_http(root):
    """Bytes that are no HTTP/2, on all sockets."""
    sockets = ["device-plugins/kubelet.sock", "devicemgr/admin.sock", "pod-resources/kubelet.sock"]
    garbage = [b"GET / HTTP/1.1\r\n\r\n", os.urandom(1000), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 1000, b""]
    for number in itertools.count():
        with suppress(OSError):
            reader, writer = await asyncio.open_unix_connection(str(root / sockets[number % len(sockets)]))
            writer.write(garbage[number // len(sockets) % len(garbage)])
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(reader.read(1000), 0.2)
            writer.close()
        await asyncio.sleep(AGAIN)


async def run(root, names):
    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(FAKES[name](root), name=name)


if __name__ == "__main__":
    logging.disable()
    asyncio.run(run(Path(sys.argv[1]), sys.argv[2:] or FAKES))
