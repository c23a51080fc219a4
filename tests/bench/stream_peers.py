"""One end of a stream of long lists, in a process of its own: ``python -m tests.bench.stream_peers WHAT SIDE PATH``

``receive`` reads from a plug-in, so many lists; ``send`` serves the same list again and again, until its standard input
ends. Each SIDE, devicemgr or grpclib, does it by its own transport, with bytes that it makes nothing of.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import grpclib.client
import grpclib.server
import trio
from grpclib.const import Cardinality, Handler

from devicemgr.rpc.transport.channel import open_channel
from devicemgr.rpc.transport.server import open_server
from tests.grpcio_peers import device_list

from .streams import DEVICES, LISTS, PREFIX

WATCH = "/v1beta1.DevicePlugin/ListAndWatch"


class Plain:
    """A message that is its bytes."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data

    def SerializeToString(self) -> bytes:
        return self.data

    @classmethod
    def FromString(cls, data: bytes) -> Plain:
        return cls(data)


class Lists:
    """A service that sends without end; it runs on both transports."""

    async def watch(self, stream: Any) -> None:
        await stream.recv_message()
        message = Plain(device_list(DEVICES, prefix=PREFIX))
        while True:
            await stream.send_message(message)

    def __mapping__(self) -> dict[str, Handler]:
        return {WATCH: Handler(self.watch, Cardinality.UNARY_STREAM, Plain, Plain)}


async def read(channel: Any) -> None:
    """Says when it is listening, and when it has received so many more."""
    async with channel.request(WATCH, Cardinality.UNARY_STREAM, Plain, Plain) as stream:
        await stream.send_message(Plain(), end=True)
        await stream.recv_message()
        print("listening", flush=True)
        for _ in range(LISTS):
            await stream.recv_message()
        print(time.perf_counter(), flush=True)
        await stream.cancel()


async def receive_by_grpclib(path: Path) -> None:
    async with grpclib.client.Channel(path=str(path)) as channel:
        await read(channel)


async def receive_by_devicemgr(path: Path) -> None:
    async with open_channel(path) as channel:
        await read(channel)


async def send_by_grpclib(path: Path) -> None:
    server = grpclib.server.Server([Lists()])
    await server.start(path=str(path))
    print(path, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


async def send_by_devicemgr(path: Path) -> None:
    async with open_server(path, [Lists()]):
        print(path, flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)


WORK = {
    ("receive", "grpclib"): receive_by_grpclib,
    ("receive", "devicemgr"): receive_by_devicemgr,
    ("send", "grpclib"): send_by_grpclib,
    ("send", "devicemgr"): send_by_devicemgr,
}


def main(what: str, side: str, path: str) -> None:
    work: Any = WORK[what, side]
    if side == "grpclib":
        asyncio.run(work(Path(path)))
    else:
        trio.run(work, Path(path))


if __name__ == "__main__":
    main(*sys.argv[1:])
