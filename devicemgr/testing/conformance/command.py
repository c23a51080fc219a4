"""A plug-in that is a program: any executable, in any language, in a process group of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import trio

from ...errors import DeviceManagerError
from .check import Skipped
from .isolation import isolated
from .subject import run_change

_PROC = Path("/proc")
POLL = 0.02
"""Seconds between two looks at whether processes have ended; the kernel tells of children only."""


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
        self._family: set[_Living] = set()
        self._not_ours: set[_Living] = set()
        # To append only: the program shares our position in the file, and writes where we have just begun to read.
        self._output = tempfile.TemporaryFile(mode="a+b")  # noqa: SIM115 - open as long as we are
        weakref.finalize(self, self._output.close)

    async def start(self, directory: Path) -> None:
        places = {"{dir}": str(directory), "{socket}": str(directory / "kubelet.sock")}
        argv = [_filled(word, places) for word in self._argv]
        self._env |= {"DEVICE_PLUGIN_DIR": places["{dir}"], "KUBELET_SOCKET": places["{socket}"]}
        if self._isolate:
            argv = await isolated(argv, directory)
        try:
            self._family = set()
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
        self._look_around()
        self._signal(signal.SIGTERM)
        status = await process.wait()
        # A shell may be gone while what it started goes on.
        while any(map(_is_alive, self._family)):  # noqa: ASYNC110 - the end of somebody else's child has no event
            await trio.sleep(POLL)
        return status

    async def kill(self) -> None:
        if self._process is None:
            return
        while killable := self._look_around() - self._not_ours:
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

    async def change(self) -> None:
        env = self._env | {"DEVICE_PLUGIN_PID": str(self._running().pid)}
        await run_change(self._change, env)

    @property
    def is_running(self) -> bool:
        """Also when the program has ended, and what it started goes on."""
        if self._process is None:
            return False
        return self._process.poll() is None or bool(self._look_around())

    @property
    def output(self) -> str:
        self._output.seek(0)
        return self._output.read().decode(errors="replace")

    def descriptors(self) -> int:
        self._running()
        try:
            return sum(len(os.listdir(_PROC / str(one.pid) / "fd")) for one in self._look_around() if _is_alive(one))
        except (PermissionError, FileNotFoundError) as error:
            raise Skipped(f"the descriptors of its processes cannot be counted: {error}") from error

    def _running(self) -> trio.Process:
        if self._process is None:
            raise Skipped("the plug-in is not running")
        return self._process

    def _look_around(self) -> set[_Living]:
        """The program's processes that are alive, those included whose parent has ended since we looked last."""
        leader = self._running().pid
        self._family = {one for one in self._family if _is_alive(one)} | _family(leader)
        return self._family

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self._running().pid, number)
        except ProcessLookupError:
            return
        except PermissionError as error:
            raise Skipped("the plug-in runs as another user and is not ours to end") from error


def _filled(word: str, places: Mapping[str, str]) -> str:
    for place, path in places.items():
        word = word.replace(place, path)
    return word


@dataclass(frozen=True, slots=True)
class _Living:
    """A process by its number and the time of its start: numbers are used again."""

    pid: int
    started: str


def _family(leader: int) -> set[_Living]:
    """The living processes of a process group, and whatever they have started, in groups of their own too."""
    found = {int(path.name): fields for path in _PROC.iterdir() if path.name.isdecimal() and (fields := _stat(path))}
    family = {pid for pid, fields in found.items() if leader in (pid, fields.group)}
    while more := {pid for pid, fields in found.items() if fields.parent in family} - family:
        family |= more
    return {_Living(pid, found[pid].started) for pid in family}


def _is_alive(one: _Living) -> bool:
    fields = _stat(_PROC / str(one.pid))
    return fields is not None and fields.started == one.started


class _Fields(NamedTuple):
    parent: int
    group: int
    started: str


def _stat(process: Path) -> _Fields | None:
    """None when it has ended, though nobody may have asked how yet."""
    try:
        fields = (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else _Fields(int(fields[1]), int(fields[2]), fields[19])
