"""Which sockets are there under a directory, and when does that change?

# Decision: level, not edge. The kernel's events only say *look again*; what is there is found by looking. The kubelet
# replays events instead, so one that was lost (a full queue, a directory that filled before it was watched) leaves
# a plug-in unseen for good (LIM-35). Here a lost event costs nothing as long as any other follows, and a full queue
# is such an event itself.

A socket's *identity* is more than its path: one that was made anew under the same name is another one.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import trio
from inotify_simple import INotify, flags

DEEPEST = 20
"""Directories within each other that are looked at."""
RESCAN_PERIOD = 1.0
"""Seconds between two looks where the kernel does not tell (the kubelet reconciles as often, API-9)."""
_CHANGES = flags.CREATE | flags.DELETE | flags.MOVED_FROM | flags.MOVED_TO | flags.MOVE_SELF | flags.ONLYDIR
_LIMITS = {errno.EMFILE: "instances", errno.ENOSPC: "watches"}
"""What of inotify each user has only so many of, by the error of who asks for more."""
Identity = tuple[int, int, int]
"""Device, inode and modification time: a socket's is the time of its making."""


class DirectoryWatch:
    """The sockets under ``root``, at any depth that anybody needs, and ``most`` of them. Names that begin with a dot or
    are no text, and links to directories, are ignored."""

    def __init__(self, root: Path, on_trouble: Callable[[str, str], None], *, most: int = 1000) -> None:
        self._root = root
        self._most = most
        self._on_trouble = on_trouble
        self._inotify: INotify | None = None
        self._troubled: set[str] = set()
        self._told: set[str] = set()

    def __enter__(self) -> DirectoryWatch:
        try:
            self._inotify = INotify(nonblocking=True)
        except OSError as error:
            self._trouble(str(self._root), _used_up(error))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._inotify is not None:
            self._inotify.close()

    def look(self) -> dict[Path, Identity]:
        """The sockets that are there now; whatever directory is there is watched from now on."""
        self._told, self._troubled = self._troubled, set()
        found: dict[Path, Identity] = {}
        self._scan(str(self._root), found)
        return found

    async def changed(self) -> None:
        """Return when it is worth looking again."""
        with trio.move_on_after(RESCAN_PERIOD if self._troubled or self._inotify is None else float("inf")):
            if self._inotify is None:
                await trio.sleep_forever()
            else:
                await trio.lowlevel.wait_readable(self._inotify.fileno())
                self._inotify.read(timeout=0)

    def _scan(self, directory: str, found: dict[Path, Identity], depth: int = 0) -> None:
        """First watch, then read: what comes after the reading is told of, so nothing falls between."""
        try:
            if depth > DEEPEST:
                raise OSError(f"more than {DEEPEST} directories deep: not looked at")
            self._watch(directory)
            entries = [e for e in os.scandir(directory) if not e.name.startswith(".") and _is_text(e.name)]
        except OSError as error:
            if not isinstance(error, FileNotFoundError) or directory == str(self._root):
                self._trouble(directory, error)
            return
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    self._scan(entry.path, found, depth + 1)
                elif len(found) >= self._most:
                    self._trouble(str(self._root), OSError(f"more than {self._most} sockets: others are not seen"))
                elif stat.S_ISSOCK((status := entry.stat()).st_mode):
                    found[Path(entry.path)] = status.st_dev, status.st_ino, status.st_mtime_ns
            except OSError:
                continue  # it went while we looked

    def _watch(self, directory: str) -> None:
        """To watch twice is to watch once. Raises FileNotFoundError."""
        try:
            if self._inotify is not None:
                self._inotify.add_watch(directory, _CHANGES)
        except FileNotFoundError:
            raise
        except OSError as error:
            self._trouble(directory, _used_up(error))

    def _trouble(self, path: str, error: OSError) -> None:
        """Told once, not at every look."""
        if path not in self._told | self._troubled:
            self._on_trouble(path, error.strerror or str(error))
        self._troubled.add(path)


def _used_up(error: OSError) -> OSError:
    """The kernel's words for an inotify limit speak of files and of the disk, and mean neither."""
    if what := _LIMITS.get(error.errno or 0):
        return OSError(f"no {what} left (the kernel says {error.strerror!r}): raise sysctl fs.inotify.max_user_{what}")
    return error


def _is_text(name: str) -> bool:
    """A file's name may be any bytes; but nobody could be told of one that is not UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
