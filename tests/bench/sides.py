"""The device managers that are compared, each in a process of its own, and each asked for the same in the same words.

``Go`` and ``embedded`` are asked by a line on their standard input, ``daemon`` by its sockets, as its users ask. All
are up at once and take turns, so that whatever else the machine has to do hits all of them alike; and the plug-ins of
all are served by one process, this one, on grpcio.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc

from tests.daemon_process import open_daemon
from tests.grpcio_peers import OPTIONS, Client, Plugin, admit_request, admitted, register_request, unary

from .embedded import MESSAGE_SIZE

GO, EMBEDDED, DAEMON = "Go", "embedded", "daemon"
WRITING_TIME = 0.01
"""Seconds in which a daemon, that cannot be asked, has written down a list."""
UNBOUNDED = (
    "registration-burst=1000",
    "time-burst=3600",
    f"listed-size={2**30}",
    "report-rate=1000000",
    "report-burst=1000000",
    f"message-size={MESSAGE_SIZE}",
)


class Side:
    """One manager. What can be waited for is ``applied`` (a list counts), ``written`` (it is on disk) and ``gone``."""

    def __init__(self, name: str, root: Path, pid: int):
        self.name = name
        self.pid = pid
        self._plugins = root / "device-plugins"
        self._opened: list[Plugin] = []

    def open_plugin(self, endpoint: str, message: bytes) -> Plugin:
        plugin = Plugin(self._plugins / endpoint, threads=4)
        plugin.say(message)
        self._opened.append(plugin)
        return plugin

    def serve(self, resource: str, message: bytes) -> Plugin:
        """A plug-in that is registered, and its list known."""
        plugin = self.open_plugin(resource.replace("/", "-"), message)
        self.register(resource, plugin.socket.name)
        self.wait_listed(resource)
        return plugin

    def register(self, resource: str, endpoint: str) -> None:
        raise NotImplementedError

    def wait(self, what: str, resource: str) -> float:
        """When it happened to the resource for the next time, on the clock of perf_counter."""
        raise NotImplementedError

    def wait_listed(self, resource: str) -> None:
        """Until the resource's first list counts, and is on disk."""
        raise NotImplementedError

    def pods(self, names: list[str], limits: dict[str, int]) -> Any:
        """What :meth:`admit` and :meth:`remove` take; made beforehand."""
        raise NotImplementedError

    def admit(self, pods: Any) -> None:
        """All of them at once; returns when all are admitted, and on disk."""
        raise NotImplementedError

    def remove(self, pods: Any) -> None:
        raise NotImplementedError

    def close(self) -> None:
        for plugin in self._opened:
            plugin.stop()


class LoopSide(Side):
    """A manager behind a loop of commands."""

    def __init__(self, name: str, command: list[str | Path], root: Path, *, policy: str, nodes: int):
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        super().__init__(name, root, self._process.pid)
        self._plugins.mkdir(parents=True)
        self._ask(do="start", new=True, directory=str(root), policy=policy, scope="container", nodes=nodes)
        self._channel = grpc.insecure_channel(f"unix:{self._plugins}/kubelet.sock", options=OPTIONS)
        self._register = unary(self._channel, "/v1beta1.Registration/Register")
        self._seen: Counter[tuple[str, str]] = Counter()

    def _ask(self, **command: Any) -> dict[str, Any]:
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or '{"error": "it has ended"}')
        assert "error" not in answer, f"{self.name}: {answer['error']}"
        return answer

    def register(self, resource: str, endpoint: str) -> None:
        self._register(register_request(resource, endpoint), timeout=60)

    def wait(self, what: str, resource: str) -> float:
        self._seen[what, resource] += 1
        return self._ask(do="wait", what=what, resource=resource, count=self._seen[what, resource])["at"]

    def wait_listed(self, resource: str) -> None:
        self.wait("applied", resource)
        self.wait("written", resource)

    def wait_count(self, resource: str, devices: int) -> float:
        """When there were so many; ours only."""
        return self._ask(do="wait", what="listed", resource=resource, count=devices)["at"]

    def pods(self, names: list[str], limits: dict[str, int]) -> Any:
        return [{"name": name, "limits": limits} for name in names]

    def admit(self, pods: Any) -> None:
        self._ask(do="admit", pods=pods)

    def remove(self, pods: Any) -> None:
        self._ask(do="remove", pods=pods)

    def close(self) -> None:
        self._channel.close()
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
        super().close()


class DaemonSide(Side):
    def __init__(self, root: Path, pid: int, *, news: bool):
        super().__init__(DAEMON, root, pid)
        self._client = Client(root)
        self.register = self._client.register
        self._hears = news
        if news:
            self._client.follow()

    def wait(self, what: str, resource: str) -> float:
        if what == "written":
            time.sleep(WRITING_TIME)
            return time.perf_counter()
        return self._client.wait_for({"applied": "DeviceListApplied", "gone": "EndpointStopped"}[what], resource)

    def wait_listed(self, resource: str) -> None:
        if self._hears:  # or its news comes later, and is taken for that of the next list
            self._client.wait_for("DeviceListApplied", resource)
        self._client.wait_capacity(resource)
        self._client.hush()
        time.sleep(WRITING_TIME)

    def pods(self, names: list[str], limits: dict[str, int]) -> Any:
        return [(name, admit_request(name, limits)) for name in names]

    def admit(self, pods: Any) -> None:
        answers = [self._client.admit.future(request, timeout=60) for _, request in pods]
        assert all(admitted(answer.result()) for answer in answers)

    def remove(self, pods: Any) -> None:
        self._client.remove(*(name for name, _ in pods))

    def close(self) -> None:
        self._client.close()
        super().close()


@contextmanager
def open_sides(go: Path | None, *, policy: str = "none", nodes: int = 1, news: bool = False) -> Iterator[list[Side]]:
    """Go first, where there is one. With ``news`` the daemon can be waited for, which costs it something."""
    with ExitStack() as stack:
        loops: list[Side] = []
        if go is not None:
            loops.append(stack.enter_context(open_loop(GO, [go], policy=policy, nodes=nodes)))
        loops.append(stack.enter_context(open_embedded(policy=policy, nodes=nodes)))
        yield [*loops, stack.enter_context(_open_daemon_side(policy, nodes, news=news))]


@contextmanager
def open_loop(name: str, command: list[str | Path], *, policy: str = "none", nodes: int = 1) -> Iterator[LoopSide]:
    with tempfile.TemporaryDirectory(prefix="dm-") as made:
        side = LoopSide(name, command, Path(made) / "node", policy=policy, nodes=nodes)
        try:
            yield side
        finally:
            side.close()


def open_embedded(*, policy: str = "none", nodes: int = 1):
    return open_loop(EMBEDDED, [sys.executable, "-m", "tests.bench.embedded"], policy=policy, nodes=nodes)


@contextmanager
def _open_daemon_side(policy: str, nodes: int, *, news: bool) -> Iterator[DaemonSide]:
    config = f"kind: KubeletConfiguration\ntopologyManagerPolicy: {policy}\n"
    limits = [part for limit in UNBOUNDED for part in ("--peer-limit", limit)]
    with open_daemon("--numa", ",".join(map(str, range(nodes))), *limits, config=config) as daemon:
        side = DaemonSide(daemon.root, daemon.pid, news=news)
        try:
            yield side
        finally:
            side.close()


def in_turns(
    sides: list[Side], times: int, measure: Callable[[Side, int], float], *, warm: int = 1
) -> dict[str, list[float]]:
    """What ``measure`` says of each side in each round; ``warm`` rounds before them do not count.

    Who is the first changes from round to round.
    """
    found: dict[str, list[float]] = {side.name: [] for side in sides}
    for number in range(warm + times):
        first = number % len(sides)
        for side in sides[first:] + sides[:first]:
            value = measure(side, number)
            if number >= warm:
                found[side.name].append(value)
    return found
