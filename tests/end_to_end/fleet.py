"""``python -m tests.end_to_end.fleet ROOT_DIR [--plugins 200] [--devices 50] [--seed N]``: they come and they go.

Each device plug-in joins, lets devices change their health, registers again, leaves, and joins again, at random; and
when the manager starts anew, all that are here register again. Prints ``left`` when it was told to leave by a line on
its standard input, and has.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import sys
from contextlib import suppress
from pathlib import Path

from grpclib.server import Server

from tests.grpcio_peers import device_list
from tests.hostile.fakes import Plugin, Raw, register

LOOK = 0.1
"""Seconds between two looks at its own socket, which a manager removes when it starts."""
LONGEST_STAY = 30.0
LONGEST_ABSENCE = 2.0
LONGEST_PAUSE = 1.0
"""Seconds a plug-in is here, is not, and does nothing, at most."""


def resource_of(number):
    return f"soak.example/r{number}"


class Member(Plugin):
    def __init__(self, root, number, devices, dice):
        self._root, self._number, self._count, self._dice = root, number, devices, dice
        self._path = root / "device-plugins" / f"soak-{number}.sock"
        self._list = device_list(devices)
        self._changed = asyncio.Event()

    async def lists(self, stream):
        await stream.recv_message()
        while True:
            await stream.send_message(Raw(self._list))
            await self._changed.wait()

    def flap(self):
        bad = frozenset(self._dice.sample(range(self._count), self._dice.randrange(3)))
        self._list = device_list(self._count, bad=bad)
        self._changed.set()
        self._changed = asyncio.Event()

    async def register(self):
        await register(self._root, self._path.name, resource_of(self._number))

    async def live(self):
        """Come and go until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._dice.uniform(0, LONGEST_STAY)):
                    await self._serve()
            except TimeoutError:  # the manager has not started anew: it leaves of its own will
                await asyncio.sleep(self._dice.uniform(0, LONGEST_ABSENCE))

    async def _serve(self):
        self._path.unlink(missing_ok=True)
        server = Server([self])
        await server.start(path=str(self._path))
        try:
            await self.register()
            while True:
                ends = asyncio.get_running_loop().time() + self._dice.uniform(0, LONGEST_PAUSE)
                while asyncio.get_running_loop().time() < ends:
                    await asyncio.sleep(LOOK)
                    if not self._path.exists():  # the manager has started anew
                        return
                if self._dice.random() < 0.1:
                    await self.register()
                else:
                    self.flap()
        finally:
            server.close()
            for handler in server._handlers:  # grpclib leaves the connections open
                for stream in list(handler._tasks):
                    with suppress(AttributeError):
                        stream._transport.close()
            self._path.unlink(missing_ok=True)


async def main(arguments):
    logging.disable()
    root = arguments.root
    dice = random.Random(arguments.seed)
    members = [Member(root, n, arguments.devices, random.Random(dice.random())) for n in range(arguments.plugins)]
    tasks = [asyncio.create_task(member.live()) for member in members]
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    failed = [task.exception() for task in tasks if not task.cancelled() and task.exception()]
    print("left" if not failed else f"failed: {failed[0]!r}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--plugins", type=int, default=200)
    parser.add_argument("--devices", type=int, default=50)
    parser.add_argument("--seed", type=int, default=os.getpid())
    asyncio.run(main(parser.parse_args()))
