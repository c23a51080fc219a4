"""Temporary directories, of which nothing stays for long, not even when their program is killed.

Decision: what proves that a directory is in use is a lock on a file in it. The kernel releases it when the process
ends, for whatever reason, so whoever makes the next directory can remove those that were left: of the same user, with a
lock that nobody holds. A directory without that file is somebody else's, whatever its name.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from .errors import DirectoryUnusable

LOCK = "in-use.lock"


@contextmanager
def temporary_directory(prefix: str) -> Iterator[Path]:
    """One that nobody else may read, and that is removed at the end. Raises DirectoryUnusable.

    Those that programs with this ``prefix`` have left, because they were killed, are removed at the beginning.
    """
    with ExitStack() as stack:
        try:
            parent = Path(tempfile.gettempdir())
            _remove_those_left(parent, prefix)
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix)))
            stack.enter_context(_locked(directory / LOCK))
        except OSError as error:
            place = f" {error.filename}:" if error.filename else ""
            raise DirectoryUnusable(f"no temporary directory can be made:{place} {error.strerror}") from error
        yield directory


@contextmanager
def _locked(lock: Path) -> Iterator[None]:
    """It gets its name only when it is held: otherwise it would be free for a moment, and the directory removed."""
    unnamed = lock.with_name(f".{lock.name}")
    with unnamed.open("x") as held:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unnamed.rename(lock)
        yield


def _remove_those_left(parent: Path, prefix: str) -> None:
    for one in parent.glob(f"{prefix}*"):
        with suppress(OSError):  # it is in use, or no directory of ours, or another program removes it now
            status = one.lstat()
            if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
                _remove_if_left(one)


def _remove_if_left(directory: Path) -> None:
    """Raises OSError."""
    lock = directory / LOCK
    with lock.open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove_all_but(lock)  # which goes last: if something cannot be removed now, the next program tries again
        lock.unlink()
        directory.rmdir()


def remove_all_but(lock: Path) -> None:
    """Everything beside it in its directory. Raises OSError."""
    for one in lock.parent.iterdir():
        if one.is_dir() and not one.is_symlink():
            shutil.rmtree(one)
        elif one != lock:
            one.unlink()
