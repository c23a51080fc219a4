"""A plug-in that is a program: any executable, in any language, in a process group of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import trio

from ...errors import DeviceManagerError
from .check import Skipped
from .isolation import isolated

_PROC = Path("/proc")
POLL = 0.02
"""Seconds between two looks at whether a process group has ended; the kernel tells of children only."""


class SubjectUnusable(DeviceManagerError):
    """The plug-in's program cannot be started. Look at the command, and at what the system allows."""


class Command:
    """Starts ``argv`` with the directory told in every usual way: ``{dir}`` and ``{socket}`` in its arguments, and
    ``DEVICE_PLUGIN_DIR`` and ``KUBELET_SOCKET`` in its environment. With ``isolate`` it sees the directory as
    ``/var/lib/kubelet/device-plugins``. ``change`` is a shell command that makes it report a change; it has the same
    environment, and ``DEVICE_PLUGIN_PID``."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        change: str | None = None,
        isolate: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._argv = tuple(argv)
        self._change = change
        self._isolate = isolate
        self._env = dict(os.environ if env is None else env)
        self._process: trio.Process | None = None
        # To append only: the program shares our position in the file, and writes where we have just begun to read.
        self._output = tempfile.TemporaryFile(mode="a+b")  # noqa: SIM115 - open as long as we are

    async def start(self, directory: Path) -> None:
        places = {"{dir}": str(directory), "{socket}": str(directory / "kubelet.sock")}
        argv = [_filled(word, places) for word in self._argv]
        self._env |= {"DEVICE_PLUGIN_DIR": places["{dir}"], "KUBELET_SOCKET": places["{socket}"]}
        if self._isolate:
            argv = await isolated(argv, directory)
        try:
            self._process = await trio.lowlevel.open_process(
                argv,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                start_new_session=True,
            )
        except OSError as error:
            raise SubjectUnusable(f"cannot start {argv[0]}: {error.strerror}") from error

    async def terminate(self) -> int:
        process = self._running()
        self._signal(signal.SIGTERM)
        return await process.wait()

    async def kill(self) -> None:
        if self._process is None:
            return
        self._signal(signal.SIGKILL)
        await self._process.wait()
        while _group(self._process.pid):  # what it started may have outlived it
            self._signal(signal.SIGKILL)
            await trio.sleep(POLL)

    async def change(self) -> None:
        if self._change is None:
            raise Skipped("nobody said how to make the plug-in report a change (--change)")
        env = self._env | {"DEVICE_PLUGIN_PID": str(self._running().pid)}
        done = await trio.run_process(
            self._change, shell=True, env=env, check=False, capture_stdout=True, stderr=subprocess.STDOUT
        )
        if done.returncode:
            wrote = done.stdout.decode(errors="replace").strip()
            raise Skipped(f"the command of --change ended with {done.returncode}: {wrote}")

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def output(self) -> str:
        self._output.seek(0)
        return self._output.read().decode(errors="replace")

    def descriptors(self) -> int:
        return sum(len(os.listdir(_PROC / str(pid) / "fd")) for pid in _group(self._running().pid))

    def _running(self) -> trio.Process:
        if self._process is None:
            raise Skipped("the plug-in is not running")
        return self._process

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self._running().pid, number)
        except ProcessLookupError:
            return


def _filled(word: str, places: Mapping[str, str]) -> str:
    for place, path in places.items():
        word = word.replace(place, path)
    return word


def _group(leader: int) -> list[int]:
    """The living processes of a process group."""
    found = []
    for path in _PROC.iterdir():
        if path.name.isdecimal():
            try:
                fields = (path / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended meanwhile
            if int(fields[2]) == leader and fields[0] != "Z":
                found.append(int(path.name))
    return found
