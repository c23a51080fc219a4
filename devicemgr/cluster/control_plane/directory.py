"""The directory of a cluster: its own, whatever was there before.

Decision: what proves that it is a cluster's is a lock on a file in it, as in a temporary directory, so that what a
killed run has left is told apart from a cluster that runs. The file has another name than there, since a directory that
the user has named is kept.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import DirectoryInUse, DirectoryUnusable
from ...temporary_directory import remove_all_but, temporary_directory

LOCK = "cluster.lock"
PREFIX = "devicemgr-"


@contextmanager
def own_directory(path: Path | None) -> Iterator[Path]:
    """An empty directory that nobody else may read.

    Without ``path`` it is a temporary one, which is removed at the end, or, if this process is killed, by the next one
    that makes such a directory. Otherwise it is created, or has to be empty, or the directory of a cluster that has
    ended, whose files are removed; and it is kept at the end, with the logs.

    Raises DirectoryInUse while another cluster runs there, and DirectoryUnusable.
    """
    if path is None:
        with temporary_directory(PREFIX) as temporary:
            yield temporary
        return
    with writing(path):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = path / LOCK
        if not lock.exists() and any(path.iterdir()):
            raise DirectoryUnusable(
                f"{path} has files that are not of a cluster: name an empty directory, or one that does not exist"
            )
        held = lock.open("a")
    with held:
        with writing(path):
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DirectoryInUse(f"a cluster runs in {path}: end it, or name another directory") from None
            remove_all_but(lock)
        yield path.absolute()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What goes wrong within is about this file or directory, which the error of a full disk does not name. Raises
    DirectoryUnusable."""
    try:
        yield
    except OSError as error:
        raise DirectoryUnusable(f"{error.filename or path}: {error.strerror}") from error
