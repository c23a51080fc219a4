"""Files of ours in a directory where others may make theirs (``--allow-group``; or somebody has opened it).

A name proves nothing there: anybody may have put a file, a directory, a pipe or a link at ours. So a file is believed
only if nobody but the manager's own user, or root, can have written it, and what stands in our way is set aside.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from ..errors import CorruptCheckpoint

MAX_FILE_SIZE = 2**28
"""Bytes of a file that is read, and so of one that is written: the longest lists and 10,000 pods make a tenth."""
MAX_NUMBERED = 99
"""Things set aside under one name that are told apart by their number."""
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
    """Why this is no file that only we can have written; empty when it is."""
    if not stat.S_ISREG(status.st_mode):
        return f"it is no file, but {kind_of(status)}"
    if not is_own(status):
        return f"it belongs to user {status.st_uid}, who is neither root nor the manager's own"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others may write it: its mode is {stat.S_IMODE(status.st_mode):04o}"
    return ""


def read_trusted(path: Path) -> bytes:
    """The bytes of a file that only we can have written. Raises CorruptCheckpoint for anything else; OSError.

    It is looked at before it is opened: to open what is somebody else's may mean to wait for him (a pipe, a lease). And
    again when it is open, for it may be another one by then.
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
    """Give what stands at the path another name, which is returned. Raises OSError."""
    target = unused_name(path)
    path.rename(target)
    return target


def unused_name(path: Path) -> Path:
    """``NAME.corrupt``, ``NAME.corrupt-2`` … in the same directory. Where others can make files there too, a name that
    nobody can guess: at one that is known somebody would put a file first, to be overwritten, or a directory."""
    if not _is_open_to_others(path.parent):
        numbers = ("", *(f"-{number}" for number in range(2, MAX_NUMBERED + 1)))
        names = (path.with_name(f"{path.name}.corrupt{number}") for number in numbers)
        if (free := next((one for one in names if not os.path.lexists(one)), None)) is not None:
            return free
    return path.with_name(f"{path.name}.corrupt-{secrets.token_hex(8)}")


def _is_open_to_others(directory: Path) -> bool:
    status = directory.stat()
    return not is_own(status) or bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
