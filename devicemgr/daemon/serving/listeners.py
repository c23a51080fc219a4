"""What is served, and where: the unix sockets with their services, and the metrics."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio

from ...core.topology.policy import Policy
from ...errors import DirectoryUnusable
from ...peer_limits import PeerLimits
from ...rpc.admin.service import AdminService
from ...rpc.deviceplugin.service import RegistrationService
from ...rpc.pod_resources.service import PodResourcesService, PodResourcesServiceV1Alpha1
from ...rpc.transport.server import FLUSH_TIME, Server
from ..access.control import AccessControl
from ..event_log import EventLog, RecordedEvent
from ..layout import Layout, clear_socket_paths
from ..manager import DeviceManager
from .clients import open_listeners

MAX_BIND_ATTEMPTS = 20
"""To bind a socket at whose path members of a group may put something again and again."""


@dataclass
class Connections:
    """The connections to our sockets, and the servers that accept them."""

    nursery: trio.Nursery
    servers: list[Server] = field(default_factory=list)

    async def drain(self) -> None:
        """Give the last answers a moment to be sent to their callers."""
        with trio.move_on_after(FLUSH_TIME, shield=True):
            for server in self.servers:
                await server.drain()


@contextmanager
def bound_servers(
    manager: DeviceManager,
    connections: Connections,
    handlers: trio.Nursery,
    access: AccessControl,
    log: EventLog,
    *,
    allow_faults: bool,
) -> Iterator[list[Server]]:
    """Bind every socket for as long as the block lasts, kubelet.sock last, so that when it exists all others do. Raises
    DirectoryUnusable when a path cannot be bound."""
    layout, pods, peer_limits = manager.layout, manager.pod_resources, access.peer_limits
    faults = manager.faults if allow_faults else None

    servers = connections.servers

    def bind(path: Path, *services: object, size: int, quota_exempt: bool = False, replace: bool = False) -> None:
        limits, group = access.socket_limits(path, message_size=size, quota_exempt=quota_exempt), access.callers.group
        make = partial(
            Server, path, services, connections.nursery, handlers, limits=limits, group=group, replace=replace
        )
        servers.append(_bound(make, path, layout, log))

    try:
        bind(layout.admin_socket, AdminService(manager, faults), size=peer_limits.message_size, quota_exempt=True)
        bind(
            layout.pod_resources_socket,
            PodResourcesService(pods),
            PodResourcesServiceV1Alpha1(pods),
            size=peer_limits.registration_size,
            replace=True,
        )
        bind(layout.registration_socket, RegistrationService(manager.register), size=peer_limits.registration_size)
        yield servers
    finally:
        for server in servers:
            server.stop_listening()


def _bound(make: Callable[[], Server], path: Path, layout: Layout, log: EventLog) -> Server:
    """Raises DirectoryUnusable."""
    for left in reversed(range(MAX_BIND_ATTEMPTS)):
        try:
            return make()
        except OSError as error:
            if error.errno != errno.EADDRINUSE or layout.group is None or not left:
                raise DirectoryUnusable(
                    f"cannot create a socket at {path}: {error.strerror}. Move away what is there, or fix the "
                    "permissions of its directory, and start again"
                ) from error
            log.record(clear_socket_paths(layout))
    raise AssertionError  # the last attempt returns or raises


class MetricsServer:
    """Counts events, and serves ``/metrics`` and ``/healthz``. Its modules, which take 50 ms to import, are imported
    only when one is made."""

    def __init__(self, policy: Policy) -> None:
        from .metrics import Metrics

        self._metrics = Metrics(policy)

    def count(self, recorded: RecordedEvent) -> None:
        self._metrics(recorded)

    async def serve(
        self,
        address: tuple[str, int],
        manager: DeviceManager,
        servers: Sequence[Server],
        peer_limits: PeerLimits,
        log: EventLog,
        *,
        task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Until cancelled; starts with the address that was bound. Raises AddressUnusable."""
        from .http import Page, PageServer, cached

        async def metrics() -> Page:
            return Page(200, await self._metrics.render(manager), "text/plain; version=0.0.4; charset=utf-8")

        async def healthz() -> Page:
            lost = [str(server.path) for server in servers if not server.owns_socket()]
            if lost:
                return Page(500, f"device registration error: {', '.join(lost)} is gone\n".encode())
            return Page(200, b"ok\n")

        listeners = await open_listeners(*address)
        host, port = listeners[0].socket.getsockname()[:2]
        task_status.started(f"http://{host}:{port}/metrics")
        pages = {"/metrics": cached(metrics), "/healthz": healthz}
        await PageServer(pages, peer_limits, log).serve(listeners)
