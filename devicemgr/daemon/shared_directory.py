"""Our files in a directory in which other users may create theirs (with ``--allow-group``, or because of its mode).

A name proves nothing there: another user may have put a file, a directory, a pipe or a link at one of our paths. So a
file is trusted only if nobody but the manager's own user, or root, can have written it, and anything else is set aside.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from ..errors import CorruptCheckpoint

MAX_FILE_SIZE = 2**28
"""Bytes of a file that is read or written: the longest lists and 10,000 pods take a tenth of it."""
MAX_NUMBERED = 99
"""Files of one name that are set aside under successive numbers."""
_KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a directory",
}


def kind_of(status: os.stat_result) -> str:
    return _KINDS.get(stat.S_IFMT(status.st_mode), "a device")


def is_own(status: os.stat_result) -> bool:
    """Does it belong to the manager's own user, or to root?"""
    return status.st_uid in (0, os.geteuid())


def why_untrusted(status: os.stat_result) -> str:
    """Why others may have written this; empty for a file that only this user or root can have written."""
    if not stat.S_ISREG(status.st_mode):
        return f"it is not a file, but {kind_of(status)}"
    if not is_own(status):
        return f"it belongs to user {status.st_uid}, who is neither root nor the manager's user"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others may write it: its mode is {stat.S_IMODE(status.st_mode):04o}"
    return ""


def read_trusted(path: Path) -> bytes:
    """The bytes of a trusted file. Raises CorruptCheckpoint for anything else; OSError.

    The file is checked before it is opened, because opening a file of another user may block (a pipe, a lease), and
    again afterwards, because it may have been replaced in between.
    """
    _check(path.lstat())
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        _check(os.fstat(descriptor))
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_FILE_SIZE)
    finally:
        os.close(descriptor)


def _check(status: os.stat_result) -> None:
    if problem := why_untrusted(status):
        raise CorruptCheckpoint(problem)
    if status.st_size > MAX_FILE_SIZE:
        raise CorruptCheckpoint(f"it has {status.st_size} bytes, and {MAX_FILE_SIZE} are the limit")


def set_aside(path: Path) -> Path:
    """Rename what is at the path; returns its new path. Raises OSError."""
    target = unused_name(path)
    path.rename(target)
    return target


def unused_name(path: Path) -> Path:
    """``NAME.corrupt``, ``NAME.corrupt-2`` … in the same directory. Where others can create files there, a random name:
    at one that can be guessed they could put a file first, which would be overwritten, or a directory."""
    if not _is_open_to_others(path.parent):
        numbers = ("", *(f"-{number}" for number in range(2, MAX_NUMBERED + 1)))
        names = (path.with_name(f"{path.name}.corrupt{number}") for number in numbers)
        if (free := next((one for one in names if not os.path.lexists(one)), None)) is not None:
            return free
    return path.with_name(f"{path.name}.corrupt-{secrets.token_hex(8)}")


def _is_open_to_others(directory: Path) -> bool:
    status = directory.stat()
    return not is_own(status) or bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
