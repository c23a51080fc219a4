"""The directory of a cluster: its own, whatever was there before.

Decision: what proves that it is ours is a lock on a file in it. The kernel releases it when the process ends, for
whatever reason, so what a killed run has left is told apart from a cluster that runs.
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import DirectoryInUse, DirectoryUnusable

LOCK = "cluster.lock"


@contextmanager
def own_directory(path: Path | None) -> Iterator[Path]:
    """An empty directory that nobody else may read.

    Without ``path`` it is a temporary one, and is removed at the end. Otherwise it is created, or has to be empty, or
    the directory of a cluster that has ended, whose files are removed; and it is kept at the end, with the logs.

    Raises DirectoryInUse while another cluster runs there, and DirectoryUnusable.
    """
    if path is None:
        with tempfile.TemporaryDirectory(prefix="devicemgr-") as temporary:
            yield Path(temporary)
        return
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = path / LOCK
        if not lock.exists() and any(path.iterdir()):
            raise DirectoryUnusable(
                f"{path} has files that are not of a cluster: name an empty directory, or one that does not exist"
            )
        held = lock.open("a")
    except OSError as error:
        raise _unusable(error, path) from error
    with held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove_all_but(lock)
        except BlockingIOError:
            raise DirectoryInUse(f"a cluster runs in {path}: end it, or name another directory") from None
        except OSError as error:
            raise _unusable(error, path) from error
        yield path.absolute()


def _unusable(error: OSError, path: Path) -> DirectoryUnusable:
    return DirectoryUnusable(f"{error.filename or path}: {error.strerror}")


def _remove_all_but(lock: Path) -> None:
    for one in lock.parent.iterdir():
        if one.is_dir() and not one.is_symlink():
            shutil.rmtree(one)
        elif one != lock:
            one.unlink()
