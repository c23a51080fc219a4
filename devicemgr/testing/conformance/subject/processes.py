"""The processes of a program: its group, their children, and what it has orphaned."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
_PR_SET_CHILD_SUBREAPER = 36
_LISTENING = 0x10000
"""A flag of the kernel (SO_ACCEPTCON) in /proc/net/unix."""


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process by its number and start time, since numbers are used again."""

    pid: int
    started: str

    @property
    def is_alive(self) -> bool:
        fields = _stat(PROC / str(self.pid))
        return fields is not None and fields.started == self.started


def become_subreaper() -> None:
    """From now on an orphaned process below us becomes our child, and not that of process 1."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, *map(ctypes.c_ulong, (1, 0, 0, 0))):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def process_tree(leader: int, *, orphans: bool, others: Collection[int] = ()) -> set[ProcessIdentity]:
    """The running processes of a process group and their descendants, in any group; with ``orphans`` also every other
    child of ours, except in the groups ``others``."""
    found = {int(path.name): fields for path in PROC.iterdir() if path.name.isdecimal() and (fields := _stat(path))}
    us = os.getpid() if orphans else None
    members = {
        pid
        for pid, fields in found.items()
        if leader in (pid, fields.group) or (fields.parent == us and fields.group not in others)
    }
    while more := {pid for pid, fields in found.items() if fields.parent in members} - members:
        members |= more
    return {ProcessIdentity(pid, found[pid].started) for pid in members}


def reap(dead: set[ProcessIdentity]) -> None:
    """Wait for those that are children of ours and have exited."""
    for one in dead:
        with suppress(ChildProcessError):
            os.waitpid(one.pid, os.WNOHANG)


def listening_elsewhere(name: str, directory: Path) -> list[str]:
    """The paths of all listening sockets of this machine with this file name that are not in ``directory``."""
    sockets = (line.split(maxsplit=7) for line in (PROC / "net" / "unix").read_text(errors="replace").splitlines()[1:])
    paths = {Path(fields[7]) for fields in sockets if len(fields) == 8 and int(fields[3], 16) & _LISTENING}
    return sorted(str(path) for path in paths if path.name == name and path.parent != directory)


class _Fields(NamedTuple):
    parent: int
    group: int
    started: str


def _stat(process: Path) -> _Fields | None:
    """None for a process that has exited, even if its parent has not waited for it."""
    try:
        fields = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else _Fields(int(fields[1]), int(fields[2]), fields[19])
