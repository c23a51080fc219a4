"""Our own sockets are made anew when somebody deletes them (LIM-36). The kubelet's stays deleted.

What is watched, and why: see ``file_watch``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import trio

from ...rpc.transport.server import Server
from ..file_watch import FileWatch
from ..layout import Directories


async def keep_sockets(
    directories: Directories,
    servers: Iterable[Server],
    on_restored: Callable[[Path], None],
    on_replaced: Callable[[Path], None],
) -> None:
    """Make each socket anew as soon as it is lost, and tell ``on_restored``; where somebody has put
    something else, tell ``on_replaced``, once, and leave it alone. Until cancelled."""
    servers, replaced = list(servers), set[Path]()
    with FileWatch() as watch:
        while True:
            watch.arm(server.path for server in servers)
            restored = [server.path for server in servers if _restored(directories, server)]
            for path in restored:
                on_restored(path)
            others = {server.path for server in servers if not server.is_lost() and not server.owns_socket()}
            for path in others - replaced:
                on_replaced(path)
            replaced = others
            if not restored:
                await watch.changed(poll=any(server.is_lost() for server in servers))
            await trio.lowlevel.checkpoint()  # a manager that ends deletes them itself: nothing is made anew then


def _restored(directories: Directories, server: Server) -> bool:
    with suppress(OSError):  # tried again in a moment
        if server.is_lost():
            directories.make(server.path.parent)
        return server.restore()
    return False
