"""Too many connections, for the descriptors there are and for the manager's time; and callers that come very early."""

from __future__ import annotations

import itertools
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.daemon_process import Daemon
from tests.processes import running

from .honest import PATIENCE, Honest, descriptors, open_honest
from .wire import Client

SOCKETS = {
    "device-plugins/kubelet.sock": "/v1beta1.Registration/Register",
    "pod-resources/kubelet.sock": "/v1.PodResourcesLister/List",
    "devicemgr/admin.sock": "/devicemgr.v1.Admin/Status",
}
WATCHED = 2.5
"""Seconds for which processor time is measured."""
SHARE = 0.15
"""Of the processor, for a process whose share is 0.02 and a burst of 0.1 s, which is 0.06 of that time. The rest is
what it takes to find out that there is something to read, and a busy machine."""
STARTS = 10


@pytest.fixture
def honest() -> Iterator[Honest]:
    with open_honest() as one:
        yield one


@contextmanager
def crowd(path: Path, count: int, what: str, *, seconds: float = PATIENCE) -> Iterator[int]:
    """A process with so many connections; how many it has got, if none waits for longer than that."""
    command = [sys.executable, "-m", "tests.hostile.crowd", path, str(count), what, str(seconds)]
    with running(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        word, _, connected = process.stdout.readline().partition(" ")
        assert word == "connected", word
        yield int(connected)


def limit_descriptors(honest: Honest, limit: int) -> None:
    resource.prlimit(honest.daemon.pid, resource.RLIMIT_NOFILE, (limit, limit))


def is_answered(honest: Honest, path: str) -> bool:
    """Does somebody who connects anew get an answer, whatever it is?"""
    client = Client(honest.daemon.root / path)
    try:
        return client.call(SOCKETS[path]).how == "answered"
    finally:
        client.hang_up()


def processor_time(honest: Honest, seconds: float) -> float:
    """What the daemon takes of it in so long; a measurement has no state to wait for."""
    before = honest.daemon.processor_seconds
    time.sleep(seconds)
    return honest.daemon.processor_seconds - before


def wait_until_throttled(honest: Honest, share: float = SHARE) -> None:
    """What was begun before anybody was charged is done first, and takes longer on a busy machine."""
    honest.wait_until(lambda: processor_time(honest, 0.2) <= share * 0.2, "it goes on to take what it likes")


# --- descriptors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SOCKETS)
def test_without_descriptors_it_waits_and_goes_on(honest, path):
    usual = descriptors(honest.daemon)
    limit_descriptors(honest, 64)
    with crowd(honest.daemon.root / path, 100, "nothing", seconds=1):
        honest.wait_until(lambda: descriptors(honest.daemon) >= 60, "it has descriptors left")
        honest.wait_until(lambda: processor_time(honest, 1.0) < 0.3, "it does not wait but tries again and again")
        honest.lives()
        honest.admit("while-there-are-none", "honest.example/gpu")  # is answered, whatever it is
    honest.wait_until(lambda: descriptors(honest.daemon) <= usual, "descriptors were leaked", seconds=2 * PATIENCE)
    assert is_answered(honest, path)
    honest.admits()
    honest.lives()


def test_eight_processes_with_120_connections_each(honest):
    """On two sockets, which is more than a usual limit of 1024 has room for."""
    usual = descriptors(honest.daemon)
    limit_descriptors(honest, 1024)
    with ExitStack() as crowds:
        for path, _ in itertools.product(list(SOCKETS)[:2], range(8)):
            crowds.enter_context(crowd(honest.daemon.root / path, 120, "nothing", seconds=1))
        honest.wait_until(lambda: descriptors(honest.daemon) >= 900, "it does not accept them")
        honest.lives()
        honest.admit("while-there-are-none", "honest.example/gpu")  # is answered, whatever it is
    honest.wait_until(lambda: descriptors(honest.daemon) <= usual, "descriptors were leaked", seconds=2 * PATIENCE)
    for path in SOCKETS:
        assert is_answered(honest, path)
    honest.admits()
    honest.lives()


def test_eight_processes_leave_room_for_others(honest):
    """Within the limit: who is honest is served beside them."""
    limit_descriptors(honest, 1024)
    path = next(iter(SOCKETS))
    with ExitStack() as crowds:
        counts = [crowds.enter_context(crowd(honest.daemon.root / path, 120, "nothing")) for _ in range(8)]
        assert sum(counts) == 960
        assert is_answered(honest, path)
        honest.admits()
        honest.lives()


# --- time: whose it is ---------------------------------------------------------------------------------------------


@contextmanager
def throttled(pid: int) -> Iterator[None]:
    """The process runs for a fifth of the time, as one in a tight cgroup does."""
    over = threading.Event()

    def throttle() -> None:
        while not over.is_set():
            os.kill(pid, signal.SIGSTOP)
            over.wait(0.04)
            os.kill(pid, signal.SIGCONT)
            over.wait(0.01)

    thread = threading.Thread(target=throttle)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_nobody_honest_waits_because_the_manager_is_throttled(honest):
    """Wall time would have made each report as long as ten."""
    with throttled(honest.daemon.pid):
        for number in range(40):
            honest.report(bad={3} if number % 2 else set())  # the last one, which no pod is given
            honest.admits()
    honest.lives()
    assert "time_share" not in honest.daemon.log


# --- time --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("device-plugins/kubelet.sock", "pings"),
        ("device-plugins/kubelet.sock", "calls"),
        ("pod-resources/kubelet.sock", "garbage"),
        ("pod-resources/kubelet.sock", "calls"),
    ],
)
def test_many_connections_of_one_process_have_one_share(honest, path, what):
    """Callers of admin.sock have no limit."""
    with crowd(honest.daemon.root / path, 127, what) as connected:
        assert connected == 127
        wait_until_throttled(honest)
        taken = processor_time(honest, WATCHED)
        honest.admits()
        honest.lives()
    assert taken <= SHARE * WATCHED, f"{taken / WATCHED:.0%} of the processor"


# --- very early --------------------------------------------------------------------------------------------------


class Early:
    """Connects to each socket the moment it is there, in a thread; ``refused`` are those that were not ready."""

    def __init__(self, root: Path):
        self.refused: list[Path] = []
        self.connected: list[socket.socket] = []
        self._missing = [root / path for path in SOCKETS]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._spin)
        self._thread.start()

    def _spin(self) -> None:
        while self._missing and not self._over.is_set():
            for path in list(self._missing):
                self._try(path)

    def _try(self, path: Path) -> None:
        one = socket.socket(socket.AF_UNIX)
        try:
            one.connect(str(path))
        except FileNotFoundError:
            one.close()
            return
        except ConnectionRefusedError:
            one.close()
            self.refused.append(path)
            return
        self._missing.remove(path)
        self.connected.append(one)

    def has_all(self, seconds: float) -> bool:
        self._thread.join(seconds)
        return not self._missing

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        for one in self.connected:
            with suppress(OSError):
                one.close()


def test_nobody_who_comes_early_is_refused():
    for _ in range(STARTS):
        with tempfile.TemporaryDirectory(prefix="dm-") as made:
            root = Path(made) / "node"
            early, daemon = Early(root), None
            try:
                daemon = Daemon(root)
                assert early.has_all(PATIENCE), "not all sockets can be connected to"
                daemon.stop()
            finally:
                early.close()
                if daemon is not None:
                    daemon.kill()
                    daemon.close()
            assert {path.parent.name for path in early.refused} == set()
