"""Long lists, one after the other: how long our transport takes to receive and to send each.

The other end is grpcio. Beside each stands the same by grpclib on asyncio, which is pure Python on h2 too.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from tests.grpcio_peers import OPTIONS, Plugin, device_list
from tests.processes import running

from .figures import Compared, medians

OURS, GRPCLIB = "devicemgr", "grpclib"
DEVICES = 40
PREFIX = "x" * 14_500
"""Of each id: 580 kB of a few devices, so the bytes are what costs, and not what is made of them."""
LISTS = 100


def streams(times: int) -> Iterator[Compared]:
    received = _in_turns(times, _received)
    sent = _in_turns(times, _sent)
    for row, found in (("a list received", received), ("a list sent", sent)):
        yield Compared(row, "580 kB", medians(found), GRPCLIB, {OURS: 1})


def _in_turns(times: int, measure: Callable[[str], float]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {OURS: [], GRPCLIB: []}
    for _ in range(times):
        for side, figures in found.items():
            figures.append(measure(side))
    return found


def _received(side: str) -> float:
    """Seconds for each list, until the last one has come."""
    message = device_list(DEVICES, prefix=PREFIX)
    with tempfile.TemporaryDirectory(prefix="dm-") as made:
        plugin = Plugin(Path(made) / "long.sock")
        plugin.say(message)
        with _peer("receive", side, plugin.socket) as peer:
            _line_of(peer)
            started = time.perf_counter()
            for _ in range(LISTS):
                plugin.say(message)
            at = float(_line_of(peer))
        plugin.stop()
        return (at - started) / LISTS


def _sent(side: str) -> float:
    """Seconds for each list, of a server that always has another one."""
    with tempfile.TemporaryDirectory(prefix="dm-") as made:
        with _peer("send", side, Path(made) / "long.sock") as peer:
            socket = _line_of(peer)
            with grpc.insecure_channel(f"unix:{socket}", options=OPTIONS) as channel:
                watch = channel.unary_stream("/v1beta1.DevicePlugin/ListAndWatch", bytes, bytes)
                lists = watch(b"")
                next(lists)
                started = time.perf_counter()
                for _ in range(LISTS):
                    assert len(next(lists)) > DEVICES * len(PREFIX)
                found = (time.perf_counter() - started) / LISTS
                lists.cancel()
        return found


@contextmanager
def _peer(*arguments: Path | str) -> Iterator[subprocess.Popen]:
    """A process of ``stream_peers``."""
    command = [sys.executable, "-m", "tests.bench.stream_peers", *arguments]
    with running(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as peer:
        yield peer


def _line_of(peer: subprocess.Popen) -> str:
    line = peer.stdout.readline().strip()
    assert line, "the peer has ended"
    return line
