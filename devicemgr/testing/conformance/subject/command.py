"""A plug-in that is a program: any executable, in any language, in a process group of its own."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import trio

from ....arguments import checked
from ....errors import DeviceManagerError
from ..verdicts import Skipped
from .given_api_server import GivenApiServer
from .interface import run_change
from .isolation import Bind, isolated, kubelet_at_its_path, missing, require_allowed
from .output import Output
from .processes import PROC, ProcessIdentity, become_subreaper, process_tree, reap

POLL = 0.02
"""Seconds between two looks at whether processes have exited; the kernel reports the exit of children only."""


class SubjectUnusable(DeviceManagerError):
    """The plug-in's program cannot be started. Look at the command, and at what the system allows."""


class Command:
    """Starts ``argv``. The plug-in finds its directory in every usual way: ``{dir}`` and ``{socket}`` in its arguments,
    and ``DEVICE_PLUGIN_DIR`` and ``KUBELET_SOCKET`` in its environment.

    With ``isolate`` it sees the root directory as ``/var/lib/kubelet``, and with ``bind``, texts ``HOST:PATH``, it sees
    what is at HOST at PATH; no other process does. ``kubeconfig`` is a file that names an API server: the plug-in has
    its path as ``KUBECONFIG`` and, with ``isolate``, the API server as a pod has it. ``change`` is a shell command that
    makes the plug-in report a change; it has the same environment, and ``DEVICE_PLUGIN_PID``. With ``alone`` no second
    instance runs in parallel.

    The processes that it starts are killed with it. Those that it detaches (a daemon, forked twice) are found with
    ``adopt`` only: then every child of this process that has no other parent counts as the plug-in's.

    Raises BadInput for a malformed ``bind``, and for a ``kubeconfig`` that cannot be used.
    """

    @checked
    def __init__(
        self,
        argv: Sequence[str],
        *,
        change: str | None = None,
        isolate: bool = False,
        bind: Sequence[str] = (),
        kubeconfig: str | None = None,
        alone: bool = False,
        env: Mapping[str, str] | None = None,
        adopt: bool = False,
    ) -> None:
        self._argv = tuple(argv)
        self._change = change
        self._isolate = isolate
        self._binds = [Bind.parse(text) for text in bind]
        self._view: list[Bind] = []
        self._env = dict(os.environ if env is None else env)
        self._kubeconfig = kubeconfig
        self._api_server: GivenApiServer | None = None
        if kubeconfig is not None:
            self._api_server = GivenApiServer(kubeconfig, isolate=isolate, binds=self._binds)
        self._is_alone = alone
        self._process: trio.Process | None = None
        self._is_asked_to_end = False
        self._adopt = adopt
        self._processes: set[ProcessIdentity] = set()
        self._not_ours: set[ProcessIdentity] = set()
        self._instance_groups: set[int] = set()
        """The process groups of all instances that run in parallel, this one among them."""
        self._output = Output()

    async def start(self, directory: Path) -> None:
        places = {"{dir}": str(directory), "{socket}": str(directory / "kubelet.sock")}
        argv = [_filled(word, places) for word in self._argv]
        self._env |= {"DEVICE_PLUGIN_DIR": places["{dir}"], "KUBELET_SOCKET": places["{socket}"]}
        if self._adopt:
            become_subreaper()
        self._view = [kubelet_at_its_path(directory.parent)] * self._isolate
        if self._api_server is not None:
            self._env |= self._api_server.environment
            self._view += self._api_server.binds()
        self._view += self._binds  # last, since nothing is needed any more of what they hide
        if self._view:
            await require_allowed(self._view)
            argv = isolated(argv, self._view)
        try:
            process = await trio.lowlevel.open_process(
                argv,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=self._output.descriptor,
                stderr=self._output.descriptor,
                start_new_session=True,
            )
        except OSError as error:
            raise SubjectUnusable(f"cannot start {shlex.quote(argv[0])}: {error.strerror}") from error
        if self._process is not None:
            self._instance_groups.discard(self._process.pid)
        # Together, because the previous process was asked to end, and nobody may see a mixture.
        self._process, self._processes, self._is_asked_to_end = process, set(), False
        self._instance_groups.add(process.pid)

    def new_instance(self) -> Command | None:
        """None if the program has exited, or has detached others which go on: they could not be told apart."""
        if self._is_alone:
            return None
        leader = self._require_started()
        others = self._refresh_processes() - process_tree(leader.pid, orphans=False)
        if leader.poll() is not None or any(one.is_alive for one in others):
            return None
        binds = [f"{bind.host}:{bind.path}" for bind in self._binds]
        one = Command(
            self._argv,
            change=self._change,
            isolate=self._isolate,
            bind=binds,
            kubeconfig=self._kubeconfig,
            env=self._env,
        )
        one._instance_groups = self._instance_groups
        return one

    @property
    def can_change(self) -> bool:
        return self._change is not None

    async def run_in_background(self) -> None:
        try:
            await self._output.collect()
        finally:
            if self._api_server is not None:
                self._api_server.remove()

    async def terminate(self) -> int:
        process = self._require_started()
        self._refresh_processes()
        self._is_asked_to_end = True
        _signal(process, signal.SIGTERM)
        status = await process.wait()
        # A shell may have exited while its children go on.
        while any(one.is_alive for one in self._processes):  # noqa: ASYNC110 - the end of somebody else's child has no event
            await trio.sleep(POLL)
        return status

    async def surge(self, directory: Path, ready: Callable[[], Awaitable[object]], grace: float) -> None:
        if self._is_alone:
            raise Skipped("no second instance may run beside the first (--alone)")
        first, its_processes = self._require_started(), self._refresh_processes()
        await self.start(directory)
        try:
            await ready()
            _signal(first, signal.SIGTERM)
            with trio.move_on_after(grace):
                while alive := {one for one in its_processes if one.is_alive}:
                    its_processes = alive | process_tree(first.pid, orphans=False)
                    await trio.sleep(POLL)
        finally:
            with trio.CancelScope(shield=True):
                for one in its_processes | process_tree(first.pid, orphans=False):
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(one.pid, signal.SIGKILL)
                await first.wait()

    async def kill(self) -> None:
        if self._process is None:
            return
        self._is_asked_to_end = True
        killed: set[ProcessIdentity] = set()
        while killable := self._refresh_processes() - self._not_ours:
            killed |= killable
            for one in killable:
                try:
                    os.kill(one.pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                except PermissionError:  # of another user, as with sudo
                    self._not_ours.add(one)
            await trio.sleep(POLL)
        if not self._not_ours:
            await self._process.wait()
        reap({one for one in killed if one.pid != self._process.pid})

    async def change(self) -> None:
        env = self._env | {"DEVICE_PLUGIN_PID": str(self._require_started().pid)}
        await run_change(self._change, env)

    async def missing(self, paths: Sequence[str]) -> list[str]:
        return await missing(paths, self._view)

    @property
    def is_running(self) -> bool:
        """True also if the program has exited and its children go on."""
        if self._process is None:
            return False
        return self._process.poll() is None or bool(self._refresh_processes())

    @property
    def unexpected_exit(self) -> str | None:
        if self._process is None or self._is_asked_to_end or (status := self._process.poll()) is None:
            return None
        return describe_exit(status)

    @property
    def output(self) -> str:
        """The beginning and the end if it is long; without the secrets of the kubeconfig."""
        return self.without_secrets(self._output.text)

    @property
    def has_api_server(self) -> bool:
        return self._api_server is not None

    def without_secrets(self, text: str) -> str:
        return text if self._api_server is None else self._api_server.without_secrets(text)

    def descriptors(self) -> int:
        self._require_started()
        try:
            return sum(len(os.listdir(PROC / str(one.pid) / "fd")) for one in self._refresh_processes() if one.is_alive)
        except (PermissionError, FileNotFoundError) as error:
            raise Skipped(f"the descriptors of its processes cannot be counted: {error}") from error

    def _require_started(self) -> trio.Process:
        if self._process is None:
            raise Skipped("the plug-in is not running")
        return self._process

    def _refresh_processes(self) -> set[ProcessIdentity]:
        """The processes of the program that are alive, including those whose parent has exited since the last call."""
        leader = self._require_started().pid
        self._processes = {one for one in self._processes if one.is_alive} | process_tree(
            leader, orphans=self._adopt, others=self._instance_groups
        )
        return self._processes


def _signal(process: trio.Process, number: int) -> None:
    """Send a signal to the process group. Raises Skipped."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise Skipped("the plug-in runs as another user and is not ours to end") from error


def describe_exit(status: int) -> str:
    """A negative status is a signal; a shell adds the signal's number to 128. 255 is none: klog exits so."""
    if status >= 0:
        by_shell = status - 128 in signal.valid_signals()
        return f"with exit status {status}" + (f", which is how a shell says {_named(status - 128)}" * by_shell)
    return f"killed by {_named(-status)}"


def _named(number: int) -> str:
    known = number in {one.value for one in signal.Signals}
    return f"signal {number} ({signal.Signals(number).name})" if known else f"signal {number}"


def _filled(word: str, places: Mapping[str, str]) -> str:
    for place, path in places.items():
        word = word.replace(place, path)
    return word
