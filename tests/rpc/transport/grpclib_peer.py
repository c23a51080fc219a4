"""grpclib's own server, or client, in a process of its own: asyncio and Trio do not meet.

``serve PATH`` serves until its input ends, and then writes what it saw; ``call PATH`` makes the calls of the table, and
writes what came back; ``alone PATH`` does both.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from contextlib import asynccontextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from grpclib.client import Channel
from grpclib.server import Server

from tests.rpc.transport import cases
from tests.rpc.transport.made_up import GeneratedService, Service


@asynccontextmanager
async def serving(path: str):
    service = Service(asyncio.Event)
    server = Server([service, GeneratedService()])
    await server.start(path=path)
    yield service
    server.close()
    await server.wait_closed()


async def called(path: str):
    async with Channel(path=path) as channel:
        return await cases.all_of_them(channel, asyncio.TimeoutError)


async def main(what: str, path: str) -> None:
    logging.getLogger("grpclib").addHandler(logging.NullHandler())
    logging.getLogger("grpclib").propagate = False
    if what == "call":
        print(json.dumps(await called(path)))
        return
    async with serving(path) as service:
        if what == "alone":
            client = await called(path)
            print(json.dumps([client, cases.noted(service)]))
        else:
            print("ready", flush=True)
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
            print(json.dumps(cases.noted(service)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
