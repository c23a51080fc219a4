"""A daemon with an honest plug-in and an honest caller, on grpcio, beside whom others misbehave."""

from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import grpc

from devicemgr.rpc.stubs.devicemgr import v1 as admin
from tests.daemon_process import Daemon
from tests.grpcio_peers import Client, Plugin, admit_request, admitted, device_list

RESOURCE = "honest.example/gpu"
PATIENCE = 30.0
"""Seconds that an honest admission may take beside any attack, on a busy machine."""


class Honest:
    """``daemon``, and what an honest caller asks of it."""

    def __init__(self, daemon: Daemon):
        self.daemon = daemon
        self.is_told_dead = False
        self.client = Client(daemon.root)
        self._names = (f"honest-{number}" for number in itertools.count())
        self._plugin = Plugin(daemon.root / "device-plugins" / "honest.sock")
        self._plugin.say(device_list(4))
        self.client.register(RESOURCE, self._plugin.socket.name)
        self.client.wait_capacity(RESOURCE)

    def admits(self) -> None:
        """An honest pod is admitted, in bounded time."""
        name = next(self._names)
        with self._asking():
            assert admitted(self.client.admit(admit_request(name, {RESOURCE: 1}), timeout=PATIENCE))
            self.client.remove(name)

    def report(self, *, bad: set[int] = frozenset()) -> None:
        """Its list, with some devices broken."""
        self._plugin.say(device_list(4, bad=bad))

    def admit(self, name: str, resource: str, *, start: bool = False) -> admin.AdmitResponse:
        """What becomes of a pod that wants one device."""
        request = admin.AdmitRequest.parse(admit_request(name, {resource: 1}))
        request.start = start
        with self._asking():
            return admin.AdmitResponse.parse(self.client.admit(bytes(request), timeout=2 * PATIENCE))

    def status(self, resource: str) -> admin.ResourceStatus | None:
        with self._asking():
            response = self.client.status(timeout=PATIENCE)
        return next((one for one in response.resources if one.name == resource), None)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Whoever is hung up on by a daemon that ends is told so."""
        try:
            yield
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                with suppress(subprocess.TimeoutExpired):
                    self.daemon.process.wait(2)
            self.lives()
            raise

    def wait_until(self, condition: Callable[[], bool], problem: str, *, seconds: float = PATIENCE) -> None:
        """While the daemon lives; nothing tells us of what other processes do."""
        deadline = time.monotonic() + seconds
        while not condition():
            self.lives()
            assert time.monotonic() < deadline, problem
            time.sleep(0.005)

    def lives(self) -> None:
        status = self.daemon.process.poll()
        self.is_told_dead = status is not None
        assert status is None, f"the daemon has ended with {status}: …{self.daemon.log[-1500:]}"
        assert "Traceback" not in self.daemon.log, self.daemon.log[-1500:]

    def close(self) -> None:
        self.client.close()
        self._plugin.stop()


def descriptors(daemon: Daemon) -> int:
    return len(os.listdir(f"/proc/{daemon.pid}/fd"))


@contextmanager
def open_honest(*options: str) -> Iterator[Honest]:
    """On a directory of its own. The daemon must end as it should, unless a test has failed anyway."""
    with tempfile.TemporaryDirectory(prefix="dm-") as made:
        daemon = Daemon(Path(made) / "node", *options)
        try:
            honest = Honest(daemon)
            try:
                yield honest
            finally:
                honest.close()
            if not honest.is_told_dead:
                daemon.stop()
        finally:
            daemon.kill()
            daemon.close()


class Shared:
    """The daemon that bore everything so far, or a new one."""

    def __init__(self, *options: str):
        self._options = options
        self._stack = ExitStack()
        self._honest: Honest | None = None

    @contextmanager
    def lent(self) -> Iterator[Honest]:
        """Whatever fails inside may have harmed the daemon, which is then not lent again."""
        if self._honest is None:
            self._honest = self._stack.enter_context(open_honest(*self._options))
        try:
            yield self._honest
        except BaseException as failure:
            self._honest = None
            self._stack.__exit__(type(failure), failure, None)
            raise

    def close(self) -> None:
        self._stack.close()
