"""Our own sockets are made anew when somebody deletes them (LIM-36). The kubelet's stays deleted.

# Decision: the kernel tells, nobody looks every second: an idle manager shall use no processor time. The *file* is
watched, whose count of links changes when it is deleted or replaced, and the directories above it, be they links, only
for going away as a whole. To watch the names in a directory would wake us at every write of the checkpoint, which
stands beside kubelet.sock. What the kernel does not tell of, such as a file system that is mounted over a directory, is
found within a minute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import trio
from inotify_simple import INotify, flags

from ..rpc.transport.server import Server

RETRY_PERIOD = 1.0
"""Seconds between two looks while a socket cannot be made, or the kernel does not tell."""
SLOW_PERIOD = 60.0
"""Seconds between two looks while all is well."""
_GONE = flags.MOVE_SELF | flags.DELETE_SELF


async def keep_sockets(
    servers: Iterable[Server], on_restored: Callable[[Path], None], on_replaced: Callable[[Path], None]
) -> None:
    """Make each socket anew as soon as nothing is at its path, and tell ``on_restored``; where somebody has put
    something else, tell ``on_replaced``, once, and leave it alone. Until cancelled."""
    servers, replaced = list(servers), set[Path]()
    with _Watch() as watch:
        while True:
            told = [watch.add(server.path) for server in servers]  # first watch, then look
            restored = [server.path for server in servers if _restored(server)]
            for path in restored:
                on_restored(path)
            others = {server.path for server in servers if not server.is_missing() and not server.owns_socket()}
            for path in others - replaced:
                on_replaced(path)
            replaced = others
            if not restored:
                missing = any(server.is_missing() for server in servers)
                with trio.move_on_after(RETRY_PERIOD if missing or not all(told) else SLOW_PERIOD):
                    await watch.changed()
            await trio.lowlevel.checkpoint()  # a manager that ends deletes them itself: nothing is made anew then


def _restored(server: Server) -> bool:
    with suppress(OSError):  # tried again in a moment
        return server.restore()
    return False


class _Watch:
    """Watches files; does without where the kernel has no inotify to spare."""

    def __init__(self) -> None:
        self._inotify: INotify | None = None
        with suppress(OSError):
            self._inotify = INotify(nonblocking=True)

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, *_: object) -> None:
        if self._inotify is not None:
            self._inotify.close()

    def add(self, path: Path) -> bool:
        """Watch the file and the directories above it; will we be told? To watch twice is to watch once."""
        if self._inotify is None:
            return False
        try:
            for directory in path.parents:
                self._inotify.add_watch(directory, _GONE | flags.ONLYDIR)
                if directory.is_symlink():
                    self._inotify.add_watch(directory, _GONE | flags.DONT_FOLLOW)
            self._inotify.add_watch(path, flags.ATTRIB | _GONE | flags.DONT_FOLLOW)
        except OSError:
            return False
        return True

    async def changed(self) -> None:
        """Return when it is worth looking again."""
        if self._inotify is None:
            await trio.sleep_forever()
        else:
            await trio.lowlevel.wait_readable(self._inotify.fileno())
            self._inotify.read(timeout=0)
