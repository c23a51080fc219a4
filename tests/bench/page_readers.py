"""Readers of the page, in a process of their own: ``python -m tests.bench.page_readers PORT READING STOPPED``.

Prints a line when each has got its first bytes. Those that have stopped read nothing after them.
"""

from __future__ import annotations

import sys

import trio

ASK = b"GET /stream HTTP/1.0\r\nHost: localhost\r\n\r\n"


async def main(port: int, reading: int, stopped: int) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(reading + stopped):
            await nursery.start(read, port, number < reading)
        print("all read", flush=True)


async def read(port: int, goes_on: bool, *, task_status: trio.TaskStatus[None]) -> None:
    sock = trio.socket.socket()
    if not goes_on:
        sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4096)
    await sock.connect(("127.0.0.1", port))
    await sock.send(ASK)
    await sock.recv(100)
    task_status.started()
    if not goes_on:
        await trio.sleep_forever()
    while await sock.recv(2**16):
        pass


if __name__ == "__main__":
    trio.run(main, *map(int, sys.argv[1:]))
