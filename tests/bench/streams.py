"""Long lists, one after the other: how many a second our client receives and our simulated plug-in sends.

The other end is grpcio. Beside each stands the same by grpclib on asyncio, which is pure Python too; it makes
nothing of the bytes that it receives, and sends bytes made beforehand.
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

from .figures import Compared, medians
from .peers import OPTIONS, Plugin, device_list
from .sides import open_embedded

OURS, GRPCLIB = "devicemgr", "grpclib"
RESOURCE = "bench.example/long"
DEVICES = 40
PREFIX = "x" * 14_500
"""Of each id: 580 kB of a few devices, so the bytes are what costs, and not what is made of them."""
LISTS = 100


def streams(times: int) -> Iterator[Compared]:
    lists = [*[device_list(DEVICES, prefix=PREFIX)] * (LISTS - 1), device_list(DEVICES + 1, prefix=PREFIX)]
    received = _in_turns(times, {OURS: lambda: _received(lists), GRPCLIB: lambda: _read(lists)})
    sent = _in_turns(times, {side: lambda side=side: _sent(side) for side in (OURS, GRPCLIB)})
    yield Compared("lists received a second", "580 kB each", medians(received), GRPCLIB, unit="lists")
    yield Compared("lists sent a second", "580 kB each", medians(sent), GRPCLIB, unit="lists")


def _in_turns(times: int, work: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {side: [] for side in work}
    for _ in range(times):
        for side, measure in work.items():
            found[side].append(measure())
    return found


def _received(lists: list[bytes]) -> float:
    """Lists a second, until our manager knows the last one, which is longer by a device."""
    with open_embedded() as side:
        plugin = side.serve(RESOURCE, lists[0])
        started = _say_all(plugin, lists)
        return len(lists) / (side.wait_count(RESOURCE, DEVICES + 1) - started)


def _read(lists: list[bytes]) -> float:
    """The same until grpclib has the last one."""
    with tempfile.TemporaryDirectory(prefix="dm-") as made:
        plugin = Plugin(Path(made) / "long.sock")
        plugin.say(lists[0])
        with _peer("receive", plugin.socket, str(len(lists))) as peer:
            _line_of(peer)
            started = _say_all(plugin, lists)
            at = float(_line_of(peer))
        plugin.stop()
        return len(lists) / (at - started)


def _say_all(plugin: Plugin, lists: list[bytes]) -> float:
    started = time.perf_counter()
    for message in lists:
        plugin.say(message)
    return started


def _sent(side: str) -> float:
    """Lists a second, of a server that always has another one."""
    with tempfile.TemporaryDirectory(prefix="dm-") as made:
        with _peer(f"send-{side}", Path(made)) as peer:
            socket = _line_of(peer)
            with grpc.insecure_channel(f"unix:{socket}", options=OPTIONS) as channel:
                watch = channel.unary_stream("/v1beta1.DevicePlugin/ListAndWatch", bytes, bytes)
                lists = watch(b"")
                next(lists)
                started = time.perf_counter()
                for _ in range(LISTS):
                    assert len(next(lists)) > DEVICES * len(PREFIX)
                found = LISTS / (time.perf_counter() - started)
                lists.cancel()
        return found


@contextmanager
def _peer(do: str, *arguments: Path | str) -> Iterator[subprocess.Popen]:
    """A process of ``stream_peers``; it ends with its standard input."""
    command = [sys.executable, "-m", "tests.bench.stream_peers", do, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as peer:
        yield peer


def _line_of(peer: subprocess.Popen) -> str:
    line = peer.stdout.readline().strip()
    assert line, "the peer has ended"
    return line
