"""Which sockets are below a directory, and when does that change?

A socket's *identity* is more than its path: one that was removed and recreated under the same name is another socket.
"""

# Decision: level-triggered. The kernel's events only say that it is time to scan again; what is there is found by the
# scan. The kubelet processes events instead, so a lost one (the queue was full, or the directory was filled before it
# was watched) leaves a plug-in undiscovered (LIM-35). Here a lost event does no harm if another one follows, and a full
# queue is itself reported as an event.

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import trio
from inotify_simple import INotify, flags

MAX_DEPTH = 20
"""How deeply nested directories are scanned."""
RESCAN_PERIOD = 1.0
"""Seconds between two scans if the kernel does not report changes. The kubelet reconciles as often (API-9)."""
_CHANGES = flags.CREATE | flags.DELETE | flags.MOVED_FROM | flags.MOVED_TO | flags.MOVE_SELF | flags.ONLYDIR
_INOTIFY_LIMITS = {errno.EMFILE: "instances", errno.ENOSPC: "watches"}
"""The limits that inotify has for each user, by the error when one is reached."""
Identity = tuple[int, int, int]
"""Device, inode and modification time, which for a socket is when it was created."""


class DirectoryWatch:
    """The sockets below ``root``, to a depth of ``MAX_DEPTH`` and at most ``max_sockets``. Names that begin with a dot
    or are not UTF-8, and links to directories, are ignored."""

    def __init__(self, root: Path, on_problem: Callable[[str, str], None], *, max_sockets: int = 1000) -> None:
        self._root = root
        self._max_sockets = max_sockets
        self._on_problem = on_problem
        self._inotify: INotify | None = None
        self._problems: set[str] = set()
        self._reported: set[str] = set()

    def __enter__(self) -> DirectoryWatch:
        try:
            self._inotify = INotify(nonblocking=True)
        except OSError as error:
            self._report(str(self._root), _explain_limit(error))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._inotify is not None:
            self._inotify.close()

    def scan(self) -> dict[Path, Identity]:
        """The sockets that are there now. All directories that are there are watched from now on."""
        self._reported, self._problems = self._problems, set()
        found: dict[Path, Identity] = {}
        self._scan_directory(str(self._root), found)
        return found

    async def wait_changed(self) -> None:
        """Return when it is worth scanning again."""
        with trio.move_on_after(RESCAN_PERIOD if self._problems or self._inotify is None else float("inf")):
            if self._inotify is None:
                await trio.sleep_forever()
            else:
                await trio.lowlevel.wait_readable(self._inotify.fileno())
                self._inotify.read(timeout=0)

    def _scan_directory(self, directory: str, found: dict[Path, Identity], depth: int = 0) -> None:
        """Watch first, then read: what is created after reading causes an event, so nothing is missed."""
        try:
            if depth > MAX_DEPTH:
                raise OSError(f"more than {MAX_DEPTH} directories deep: not looked at")
            self._watch(directory)
            entries = [e for e in os.scandir(directory) if not e.name.startswith(".") and _is_text(e.name)]
        except OSError as error:
            if not isinstance(error, FileNotFoundError) or directory == str(self._root):
                self._report(directory, error)
            return
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    self._scan_directory(entry.path, found, depth + 1)
                elif len(found) >= self._max_sockets:
                    self._report(
                        str(self._root), OSError(f"more than {self._max_sockets} sockets: others are not seen")
                    )
                elif stat.S_ISSOCK((status := entry.stat()).st_mode):
                    found[Path(entry.path)] = status.st_dev, status.st_ino, status.st_mtime_ns
            except OSError:
                continue  # it was removed during the scan

    def _watch(self, directory: str) -> None:
        """Idempotent. Raises FileNotFoundError."""
        try:
            if self._inotify is not None:
                self._inotify.add_watch(directory, _CHANGES)
        except FileNotFoundError:
            raise
        except OSError as error:
            self._report(directory, _explain_limit(error))

    def _report(self, path: str, error: OSError) -> None:
        """Report each problem once, not at every scan."""
        if path not in self._reported | self._problems:
            self._on_problem(path, error.strerror or str(error))
        self._problems.add(path)


def _explain_limit(error: OSError) -> OSError:
    """For inotify limits the kernel reuses errors whose texts are about open files and disk space."""
    if what := _INOTIFY_LIMITS.get(error.errno or 0):
        return OSError(f"no {what} left (the kernel says {error.strerror!r}): raise sysctl fs.inotify.max_user_{what}")
    return error


def _is_text(name: str) -> bool:
    """A file name may be any bytes, but one that is not UTF-8 cannot be reported."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
