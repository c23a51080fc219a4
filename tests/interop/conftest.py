"""Processes for the tests with foreign plug-ins: the real daemon, the plug-ins, and the verbs that look at them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.processes import HANGS

from .building import HERE, NotToBeHad, go_program, tonic_program
from .clients import Client, GoClient, GrpcioClient, describe_services

POLL_PERIOD = 0.02


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The time of a test does not include that of its fixtures here: a program may have to be built for it."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.timeout(func_only=True))


def wait_until(condition: Callable[[], bool], describe: Callable[[], str]) -> None:
    """Return when ``condition`` holds; fail the test with ``describe()`` when it does not in time."""
    deadline = time.monotonic() + HANGS
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {HANGS:g} s: {describe()}")
        time.sleep(POLL_PERIOD)


class Process:
    """A running program; what it prints goes to the files ``NAME.out`` and ``NAME.err``."""

    def __init__(self, command: Sequence[str | Path], name: Path) -> None:
        self._out, self._err = name.with_suffix(".out"), name.with_suffix(".err")
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)

    @property
    def output(self) -> str:
        return self._out.read_text()

    @property
    def errors(self) -> str:
        return self._err.read_text()

    @property
    def is_running(self) -> bool:
        return self._popen.poll() is None

    def descriptors(self) -> int:
        """How many it has open."""
        return len(os.listdir(f"/proc/{self._popen.pid}/fd"))

    def wait_for_text(self, text: str) -> None:
        """Wait until it has printed ``text`` on either stream; fails at once when it ends before."""

        def printed() -> str:
            return f"{self.output}{self.errors}"

        wait_until(lambda: not self.is_running or text in printed(), lambda: f"{text!r} in\n{printed()}")
        assert text in printed(), f"ended with {self._popen.returncode} before it printed {text!r}:\n{printed()}"

    def terminate(self) -> int:
        """SIGTERM; returns the exit status."""
        self._popen.send_signal(signal.SIGTERM)
        return self._popen.wait(HANGS)

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self._popen.kill()
        self._popen.wait(HANGS)


class Node:
    """A daemon on a directory of its own, and everything that runs against it."""

    def __init__(self, root: Path) -> None:
        self.root = root / "kubelet"
        self._logs = root
        self._processes: list[Process] = []

    @property
    def plugins(self) -> Path:
        return self.root / "device-plugins"

    @property
    def sockets(self) -> tuple[Path, Path]:
        """The daemon's own two."""
        return self.plugins / "kubelet.sock", self.root / "devicemgr" / "admin.sock"

    def run(self, name: str, command: Sequence[str | Path]) -> Process:
        process = Process(command, self._logs / f"{len(self._processes)}-{name}")
        self._processes.append(process)
        return process

    def start_daemon(self, *options: str) -> Process:
        daemon = self.run("daemon", [sys.executable, "-m", "devicemgr", "--root-dir", self.root, *options])
        daemon.wait_for_text("ManagerReady")
        return daemon

    def ask(self, verb: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "devicemgr", verb, "--root-dir", self.root, *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=HANGS)

    def status(self) -> dict[str, Any]:
        answer = self.ask("status", "-o", "json")
        assert answer.returncode == 0, answer.stderr
        return json.loads(answer.stdout)

    def events(self, kind: str) -> list[dict[str, Any]]:
        answer = self.ask("events", "-o", "json")
        assert answer.returncode == 0, answer.stderr
        return [event for line in answer.stdout.splitlines() if (event := json.loads(line))["event"] == kind]

    def wait_for_events(self, kind: str, count: int) -> None:
        wait_until(lambda: len(self.events(kind)) >= count, lambda: f"{count} events {kind}")

    def wait_for_resource(self, resource: str, **wanted: object) -> None:
        """Wait until the resource is published with these values, for example ``allocatable=0``."""

        def found() -> dict[str, Any]:
            return self.status()["resources"].get(resource, {})

        wait_until(lambda: wanted.items() <= found().items(), lambda: f"{resource} with {wanted}; it is {found()}")

    def admit(self, name: str, limits: dict[str, int]) -> tuple[int, dict[str, Any]]:
        """Admit a pod with one container; returns the exit status and the answer."""
        container = {"name": "main", "resources": {"limits": limits}}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container]}}
        answer = self.ask("admit", "-f", "-", "-o", "json", stdin=json.dumps(pod))
        assert answer.stdout, answer.stderr
        return answer.returncode, json.loads(answer.stdout)

    def end(self) -> None:
        """Kill everything; pytest shows what was printed only when the test failed."""
        for process in self._processes:
            process.kill()
        for printed in sorted([*self._logs.glob("*.out"), *self._logs.glob("*.err")]):
            print(f"--- {printed.name}\n{printed.read_text()}")


@dataclass(frozen=True, kw_only=True)
class ForeignPlugin:
    """``command`` starts one; ``env`` is the variable that its containers get."""

    command: tuple[str | Path, ...]
    env: str

    def start(self, node: Node, *flags: str, resource: str, count: int, endpoint: str = "") -> Process:
        """Start one and wait until it has registered."""
        named = ("--endpoint", endpoint) if endpoint else ()
        place = ("--directory", node.plugins, "--resource", resource, *named, "--count", str(count))
        process = node.run(Path(endpoint).stem or "plugin", [*self.command, *place, *flags])
        process.wait_for_text("registered\n")
        return process


@contextmanager
def skipped_where_it_cannot_be_had() -> Iterator[None]:
    try:
        yield
    except NotToBeHad as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def go_plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Go plug-in, built once per session."""
    with skipped_where_it_cannot_be_had():
        return go_program("go_plugin", tmp_path_factory.mktemp("go"))


@pytest.fixture(scope="session")
def tonic_plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Rust plug-in, built once per session."""
    with skipped_where_it_cannot_be_had():
        return tonic_program(tmp_path_factory.mktemp("tonic"))


@pytest.fixture(params=["grpcio", "go", "tonic"])
def plugin(request: pytest.FixtureRequest) -> ForeignPlugin:
    """Each plug-in that was not written with devicemgr's code."""
    if request.param == "grpcio":
        return ForeignPlugin(command=(sys.executable, HERE / "grpcio_plugin.py"), env="GRPCIO_DEVICES")
    program = request.getfixturevalue(f"{request.param}_plugin")
    return ForeignPlugin(command=(program,), env=f"{request.param.upper()}_DEVICES")


@pytest.fixture(scope="session")
def go_client(tmp_path_factory: pytest.TempPathFactory) -> Client:
    with skipped_where_it_cannot_be_had():
        return GoClient(go_program("go_client", tmp_path_factory.mktemp("go")))


@pytest.fixture(scope="session")
def grpcio_client(tmp_path_factory: pytest.TempPathFactory) -> Client:
    return GrpcioClient(describe_services(tmp_path_factory.mktemp("services") / "descriptors"))


@pytest.fixture(params=["grpcio", "go"])
def client(request: pytest.FixtureRequest) -> Client:
    """Each client that was not written with devicemgr's code."""
    return request.getfixturevalue(f"{request.param}_client")


@contextmanager
def new_node() -> Iterator[Node]:
    """An empty node. Its directory has a short name: the path of a socket may have about 100 bytes."""
    with tempfile.TemporaryDirectory(prefix="dm-") as root:
        node = Node(Path(root))
        try:
            yield node
        finally:
            node.end()


@pytest.fixture
def node() -> Iterator[Node]:
    with new_node() as node:
        yield node
