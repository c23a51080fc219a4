"""``python -m tests.hostile.crowd SOCKET COUNT WHAT SECONDS``: one process with many connections.

Who has to wait for SECONDS until it is connected gives up. It prints ``connected`` and how many are; then all go on
saying ``pings``, ``garbage`` or ``calls``, or ``nothing``, until the process is killed. ``requests`` are a hundred at
once to the PodResources API, ``unread`` the same with a window of zero. It never waits for one that is not read from.

Where SOCKET is ``HOST:PORT``, they are ``scrapes``, one after the other without waiting for answers, or ``unread``, the
same without reading any, or ``anew``, each with a connection of its own.
"""

from __future__ import annotations

import selectors
import socket
import sys
from contextlib import suppress
from typing import NoReturn

from .wire import MOST, PING, PREFACE, call, connected, frame, reset, settings

SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
SAYS = {
    "nothing": b"",
    "scrapes": SCRAPE * 1000,
    "pings": frame(PING, payload=b"12345678") * 1000,
    "garbage": frame(0xFA, 0xFF, 1, b"what") * 1000,
}
CALLS = 2000
"""On one connection, each with a stream of its own."""
QUESTIONS = b"".join(call(stream, "/v1.PodResourcesLister/GetAllocatableResources") for stream in range(1, 200, 2))


def connect(path: str, count: int, seconds: float) -> list[socket.socket]:
    """As many as there is room for; who has to wait for so long gives up, and so does everybody after it."""
    found: list[socket.socket] = []
    with suppress(OSError):
        while len(found) < count:
            if ":" in path:
                found.append(tcp_connected(path, seconds))
            else:
                found.append(connected(path, seconds))
                found[-1].sendall(PREFACE + settings(INITIAL_WINDOW=MOST))
            found[-1].setblocking(False)
    return found


def tcp_connected(address: str, seconds: float) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), seconds)


def scrape_anew(address: str) -> NoReturn:
    """Connect, ask, do not wait for the answer, and again."""
    while True:
        with suppress(OSError), tcp_connected(address, 1) as one:
            one.send(SCRAPE)


def speak(crowd: list[socket.socket], words: bytes, *, again: bool) -> None:
    """Say the words on each connection, as fast as it takes them, again and again if wanted."""
    selector = selectors.DefaultSelector()
    rest = dict.fromkeys(crowd, words)
    for one in crowd:
        selector.register(one, selectors.EVENT_READ | selectors.EVENT_WRITE)
    while selector.get_map():
        for key, events in selector.select():
            one = key.fileobj
            try:
                if events & selectors.EVENT_READ and not one.recv(2**16):
                    raise ConnectionResetError
                if events & selectors.EVENT_WRITE:
                    rest[one] = rest[one][one.send(rest[one]) :] or (words if again else b"")
                    if not rest[one]:
                        selector.modify(one, selectors.EVENT_READ)
            except BlockingIOError:
                continue
            except OSError:
                selector.unregister(one)
                one.close()


def main(path: str, count: int, what: str, seconds: float) -> None:
    crowd = connect(path, count, seconds)
    print("connected", len(crowd), flush=True)
    if what == "calls":
        calls = b"".join(call(stream, "/a.B/C") + reset(stream) for stream in range(1, 2 * CALLS, 2))
        speak(crowd, calls, again=False)
    elif what == "requests":
        speak(crowd, QUESTIONS, again=False)
    elif what == "unread":
        for one in crowd:
            with suppress(OSError):
                one.send(SAYS["scrapes"] if ":" in path else settings(INITIAL_WINDOW=0) + QUESTIONS)
    elif what == "anew":
        scrape_anew(path)
    elif SAYS[what]:
        speak(crowd, SAYS[what], again=True)
    with suppress(KeyboardInterrupt):
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4]))
