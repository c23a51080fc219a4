"""What is served, and where: the unix sockets with their services, and the metrics."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import trio

from ..core.policy import Policy
from ..rpc.bridge import UnixServer, open_server
from ..rpc.connections import Terms
from ..rpc.pod_resources import PodResourcesService, PodResourcesServiceV1Alpha1
from ..rpc.services import AllocationService, RegistrationService
from .doors import Doors
from .event_log import Recorded
from .manager import DeviceManager


def unix_servers(
    manager: DeviceManager, handlers: trio.Nursery, doors: Doors, *, allow_faults: bool
) -> list[AbstractAsyncContextManager[UnixServer]]:
    """Every socket, still to be opened; kubelet.sock last, so that whoever sees it finds all others."""
    layout, pods, bounds = manager.layout, manager.pod_resources, doors.bounds
    faults = manager.faults if allow_faults else None

    def opened(
        path: Path, *services: object, size: int, is_hurried: bool = False, replace: bool = False
    ) -> AbstractAsyncContextManager[UnixServer]:
        terms = Terms(max_message_size=size, door=doors.of_socket(path, is_hurried=is_hurried))
        return open_server(path, [*services], terms=terms, group=doors.callers.group, replace=replace)

    return [
        opened(
            layout.allocation_socket,
            AllocationService(handlers, manager, faults),
            size=bounds.message_size,
            is_hurried=True,
        ),
        opened(
            layout.pod_resources_socket,
            PodResourcesService(handlers, pods),
            PodResourcesServiceV1Alpha1(handlers, pods),
            size=bounds.registration_size,
            replace=True,
        ),
        opened(
            layout.registry_socket,
            RegistrationService(handlers, manager.register),
            size=bounds.registration_size,
        ),
    ]


class Scrapes:
    """Counts events, and serves ``/metrics`` and ``/healthz``. Imported only by those who want it: it takes 50 ms."""

    def __init__(self, policy: Policy) -> None:
        from .metrics import Metrics

        self._metrics = Metrics(policy)

    def count(self, recorded: Recorded) -> None:
        self._metrics(recorded)

    async def serve(
        self,
        address: tuple[str, int],
        manager: DeviceManager,
        servers: Sequence[UnixServer],
        *,
        task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Until cancelled; starts with the address that was bound. Raises AddressUnusable."""
        from .http import Page, open_listeners, serve_pages

        def metrics() -> Page:
            return Page(200, self._metrics.render(manager), "text/plain; version=0.0.4; charset=utf-8")

        def healthz() -> Page:
            lost = [str(server.path) for server in servers if not server.owns_socket()]
            if lost:
                return Page(500, f"device registration error: {', '.join(lost)} is gone\n")
            return Page(200, "ok\n")

        listeners = await open_listeners(*address)
        host, port = listeners[0].socket.getsockname()[:2]
        task_status.started(f"http://{host}:{port}/metrics")
        await serve_pages(listeners, {"/metrics": metrics, "/healthz": healthz})
