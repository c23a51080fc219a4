"""One end of a stream of long lists, in a process of its own: ``python -m tests.bench.stream_peers WHAT PATH [COUNT]``

``receive`` reads by grpclib from a plug-in, so many lists. ``send-devicemgr`` is our simulated plug-in and
``send-grpclib`` a server of grpclib: both send the same list again and again, until their standard input ends.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import grpclib.client
import grpclib.server
import trio
from grpclib.const import Cardinality, Handler
from grpclib.encoding.base import CodecBase

from devicemgr import open_device_manager
from devicemgr.model import Device
from devicemgr.testing import open_simulated_plugin

from .peers import device_list
from .streams import DEVICES, PREFIX, RESOURCE

WATCH = "/v1beta1.DevicePlugin/ListAndWatch"


class Plain(CodecBase):
    """Messages are bytes, and stay bytes."""

    __content_subtype__ = "proto"

    def encode(self, message: bytes, message_type: object) -> bytes:
        return message

    def decode(self, data: bytes, message_type: object) -> bytes:
        return data


async def receive(socket: str, count: int) -> None:
    """Says when it is listening, and when it has received so many more."""
    channel = grpclib.client.Channel(path=socket, codec=Plain())
    method = grpclib.client.UnaryStreamMethod(channel, WATCH, bytes, bytes)
    async with method.open() as stream:
        await stream.send_message(b"", end=True)
        await stream.recv_message()
        print("listening", flush=True)
        for _ in range(count):
            await stream.recv_message()
        print(time.perf_counter(), flush=True)
        await stream.cancel()
    channel.close()


class Lists:
    """A service of grpclib that sends without end."""

    def __init__(self) -> None:
        self._list = device_list(DEVICES, prefix=PREFIX)

    async def watch(self, stream: grpclib.server.Stream) -> None:
        await stream.recv_message()
        while True:
            await stream.send_message(self._list)

    def __mapping__(self) -> dict[str, Handler]:
        return {WATCH: Handler(self.watch, Cardinality.UNARY_STREAM, bytes, bytes)}


async def send_by_grpclib(directory: Path) -> None:
    server = grpclib.server.Server([Lists()], codec=Plain())
    await server.start(path=str(directory / "long.sock"))
    print(directory / "long.sock", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


async def send_by_devicemgr(directory: Path) -> None:
    devices = [Device(id=f"{PREFIX}-{number}", numa_nodes=(0,)) for number in range(DEVICES)]

    async def next_report(seen: int) -> tuple[int, Sequence[Device]]:
        return seen + 1, devices

    async with open_device_manager(directory) as manager:
        async with open_simulated_plugin(manager.layout.plugins, RESOURCE) as plugin:
            plugin.next_report = next_report
            print(plugin.directory / plugin.endpoint, flush=True)
            await trio.to_thread.run_sync(sys.stdin.read)


def main(what: str, path: str, *count: str) -> None:
    if what == "receive":
        asyncio.run(receive(path, int(*count)))
    elif what == "send-grpclib":
        asyncio.run(send_by_grpclib(Path(path)))
    else:
        trio.run(send_by_devicemgr, Path(path))


if __name__ == "__main__":
    main(*sys.argv[1:])
