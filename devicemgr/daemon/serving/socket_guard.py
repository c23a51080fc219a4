"""Creates our sockets again when they are deleted (LIM-36). A kubelet's stays deleted.

For what is watched, and why, see ``file_watch``.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import trio

from ...concurrency.task_descriptions import describes_task
from ...events import SocketReplaced, SocketRestored
from ...rpc.transport.server import Server
from ..event_log import EventLog
from ..file_watch import FileWatch
from ..layout import Directories


@describes_task(name="socket guard", waits_for="a socket that is lost")
async def keep_sockets(directories: Directories, servers: Iterable[Server], log: EventLog) -> None:
    """Until cancelled, create each socket again as soon as it is lost. A socket that was replaced by something else is
    recorded, once, and left alone."""
    servers, replaced = list(servers), set[Path]()
    with FileWatch() as watch:
        while True:
            watch.arm(server.path for server in servers)
            restored = [server.path for server in servers if _restored(directories, server)]
            log.record(SocketRestored(path=str(path)) for path in restored)
            others = {server.path for server in servers if not server.is_lost() and not server.owns_socket()}
            log.record(SocketReplaced(path=str(path)) for path in others - replaced)
            replaced = others
            if not restored:
                await watch.changed(poll=any(server.is_lost() for server in servers))
            await trio.lowlevel.checkpoint()  # or sockets that a manager removes when it ends are created again


def _restored(directories: Directories, server: Server) -> bool:
    with suppress(OSError):  # tried again in a moment
        if server.is_lost():
            directories.make(server.path.parent)
        return server.restore()
    return False
