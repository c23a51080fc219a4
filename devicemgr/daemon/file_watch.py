"""When is it worth looking at a file of ours again?

# Decision: the kernel tells, nobody looks every second: an idle manager shall use no processor time. The *file* is
watched, whose count of links changes when it is deleted or replaced, and whose content when somebody writes into it;
of the directories above it, be they links, only that they go away as a whole. To watch the names in a directory would
wake us at everything that others do there. What the kernel does not tell of, such as a file system that is mounted over
a directory, is found within a minute.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import trio
from inotify_simple import INotify, flags

POLL_PERIOD = 1.0
"""Seconds between two looks while a caller polls, or where the kernel does not notify us of everything."""
SLOW_PERIOD = 60.0
"""Seconds between two looks while all is well."""
_GONE = flags.MOVE_SELF | flags.DELETE_SELF


class FileWatch:
    """Watches files; does without where the kernel has no inotify to spare. First :meth:`arm`, then look, then wait for
    :meth:`changed`: so nothing falls between."""

    def __init__(self) -> None:
        self._inotify: INotify | None = None
        self._watched: dict[Path, int] = {}
        self._is_complete = False
        with suppress(OSError):
            self._inotify = INotify(nonblocking=True)

    def __enter__(self) -> FileWatch:
        return self

    def __exit__(self, *_: object) -> None:
        if self._inotify is not None:
            self._inotify.close()

    def arm(self, paths: Iterable[Path]) -> None:
        """Watch these files as they are now. What was told before is forgotten: whoever looks now sees it."""
        if self._inotify is not None:
            told = [self._add(self._inotify, path) for path in paths]
            self._is_complete = all(told)
            self._inotify.read(timeout=0)

    async def changed(self, *, poll: bool = False) -> None:
        """Return when it is worth looking again: after ``POLL_PERIOD`` at the latest with ``poll``."""
        with trio.move_on_after(SLOW_PERIOD if self._is_complete and not poll else POLL_PERIOD):
            if self._inotify is None:
                await trio.sleep_forever()
            else:
                await trio.lowlevel.wait_readable(self._inotify.fileno())

    def _add(self, inotify: INotify, path: Path) -> bool:
        """Watch the file and the directories above it; will we be told? To watch twice is to watch once."""
        try:
            for directory in path.parents:
                inotify.add_watch(directory, _GONE | flags.ONLYDIR)
                if directory.is_symlink():
                    inotify.add_watch(directory, _GONE | flags.DONT_FOLLOW)
            new = inotify.add_watch(path, flags.ATTRIB | flags.MODIFY | _GONE | flags.DONT_FOLLOW)
        except OSError:
            return False
        old, self._watched[path] = self._watched.get(path, new), new
        if old not in self._watched.values():  # another file had this name, and may live on under some other
            with suppress(OSError):
                inotify.rm_watch(old)
        return True
