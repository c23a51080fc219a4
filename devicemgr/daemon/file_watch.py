"""Notices changes of our files, by inotify instead of polling: an idle manager uses no processor time.

The file itself is watched: its link count changes when it is deleted or replaced, and its content when it is written.
Of the directories above it, only removal and renaming are watched, since watching their entries would wake the manager
for everything that others do there. What inotify does not report, such as a file system that is mounted over a
directory, is noticed within a minute.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import trio
from inotify_simple import INotify, flags

POLL_PERIOD = 1.0
"""Seconds between two checks while a caller polls, or where not everything can be watched."""
SLOW_PERIOD = 60.0
"""Seconds between two checks otherwise."""
_GONE = flags.MOVE_SELF | flags.DELETE_SELF


class FileWatch:
    """Watches files, or polls where the kernel has no inotify instance left. In the order :meth:`arm`, look at the
    files, wait for :meth:`changed`, no change is missed."""

    def __init__(self) -> None:
        self._inotify: INotify | None = None
        self._watched: dict[Path, int] = {}
        self._directories: set[Path] = set()
        """Those that are watched, with all above them."""
        self._of_directories: set[int] = set()
        """The watch descriptors for these. A descriptor of -1 says that notifications were lost."""
        self._is_complete = False
        with suppress(OSError):
            self._inotify = INotify(nonblocking=True)

    def __enter__(self) -> FileWatch:
        return self

    def __exit__(self, *_: object) -> None:
        if self._inotify is not None:
            self._inotify.close()

    def arm(self, paths: Iterable[Path]) -> None:
        """Watch these files as they are now. Earlier notifications are discarded, since the caller looks now."""
        if self._inotify is not None:
            self._discard_notifications(self._inotify)
            added = [self._add(self._inotify, path) for path in paths]
            self._is_complete = self._discard_notifications(self._inotify) and all(added)

    async def changed(self, *, poll: bool = False) -> None:
        """Return when the files may have changed; with ``poll``, after ``POLL_PERIOD`` at the latest."""
        with trio.move_on_after(SLOW_PERIOD if self._is_complete and not poll else POLL_PERIOD) as waiting:
            if self._inotify is None:
                await trio.sleep_forever()
            else:
                await trio.lowlevel.wait_readable(self._inotify.fileno())
        if waiting.cancelled_caught:  # there may be other directories by now, of which inotify does not tell
            self._forget_directories()

    def _discard_notifications(self, inotify: INotify) -> bool:
        """Are all directories still those that are watched?"""
        told = {event.wd for event in inotify.read(timeout=0)}
        if told.isdisjoint(self._of_directories | {-1}):
            return True
        self._forget_directories()
        return False

    def _forget_directories(self) -> None:
        """Watch them again, the next time."""
        self._directories.clear()
        self._of_directories.clear()

    def _add(self, inotify: INotify, path: Path) -> bool:
        """Watch the file and the directories above it, if they are not watched yet; returns whether that succeeded."""
        try:
            self._add_directories(inotify, path)
            new = inotify.add_watch(path, flags.ATTRIB | flags.MODIFY | _GONE | flags.DONT_FOLLOW)
        except OSError:
            return False
        old, self._watched[path] = self._watched.get(path, new), new
        if old not in self._watched.values():  # the file that had this name before may still exist under another
            with suppress(OSError):
                inotify.rm_watch(old)
        return True

    def _add_directories(self, inotify: INotify, path: Path) -> None:
        """A file of ours is written again much more often than a directory is lost."""
        if path.parent in self._directories:
            return
        for directory in path.parents:
            self._of_directories.add(inotify.add_watch(directory, _GONE | flags.ONLYDIR))
            if directory.is_symlink():
                self._of_directories.add(inotify.add_watch(directory, _GONE | flags.DONT_FOLLOW))
        self._directories.add(path.parent)
