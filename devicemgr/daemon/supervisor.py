"""The nursery tree. Nesting order is shutdown order::

    run                     the directory's lock, the event log and the manager:
    │                       they outlast a restart, which leaves all below and enters it again
    └─ writer               the state on disk
       │                    ends last: the final state is on disk
       └─ readers           one endpoint task per plug-in
          │                 ends fourth: no request needs a plug-in any more
          └─ connections    of all callers
             │              ends third: the last answers have been sent
             └─ handlers    registrations, admissions, queries
                │           ends second: within a grace period
                └─ listeners  sockets · plug-in watcher · metrics · page
                            ends first: no new work

Each line below ``run`` is a context manager of :class:`Supervisor`, and ``incarnation`` nests them. The code after its
``yield`` ends that line in an orderly way; when the block fails or is cancelled, its nursery is cancelled at once. The
tree itself needs no flags, counters or "stopping" states: leaving a block stops what it owns.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import TYPE_CHECKING

import trio

from ..concurrency.exception_groups import collapse_exception_group
from ..concurrency.task_descriptions import describes_task
from ..concurrency.trio_program import require_trio
from ..core.devices.store import DeviceStore
from ..events import ManagerReady, ManagerStopping, StaleSocketRemoved
from .checkpoint.writer import CheckpointWriter, checkpoint_file, open_checkpoint_writer, read_boot_id, restore
from .event_log import EventLog
from .incarnation import Incarnation
from .layout import Directories, acquire_directories, check_permissions, clear_socket_paths, remove_stale_sockets
from .manager import DeviceManager
from .page.extra import make_site
from .serving.listeners import Connections, MetricsServer, bound_servers
from .serving.socket_guard import keep_sockets
from .settings import Settings, takes_fields_of
from .task_tree.lines import line_of_the_tree

if TYPE_CHECKING:
    from .page.site import Site

HANDLER_GRACE = 5.0
"""Seconds that running requests have to finish when the manager stops."""


@describes_task(name="run", waits_for="a stop or a restart")
async def run(
    settings: Settings, stop: trio.Event, *, task_status: trio.TaskStatus[DeviceManager] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run a manager until ``stop`` is set; starts with the manager when every socket accepts.

    Raises DirectoryInUse, DirectoryUnusable, AddressUnusable or ExtraMissing before anything is served.
    """
    metrics = MetricsServer(settings.topology.policy) if settings.metrics_address else None
    site = make_site() if settings.page_address else None
    log = EventLog([*settings.sinks, *(counting.count for counting in (metrics, site) if counting)])
    manager = DeviceManager(settings.layout, log, settings.effective, calls_line=Supervisor.handlers.__name__)
    with acquire_directories(manager.layout) as directories, closing(manager):
        log.record(check_permissions(manager.layout))
        supervisor = Supervisor(settings, manager, directories, log, metrics, site, stop)
        while not stop.is_set():
            async with supervisor.incarnation() as incarnation:
                task_status.started(manager)
                task_status = trio.TASK_STATUS_IGNORED
                await incarnation.stop_requested.wait()
            with trio.move_on_after(incarnation.restart_delay):
                await stop.wait()


class Supervisor:
    """The context managers of the tree. Its attributes outlast a restart."""

    def __init__(
        self,
        settings: Settings,
        manager: DeviceManager,
        directories: Directories,
        log: EventLog,
        metrics: MetricsServer | None,
        site: Site | None,
        stop: trio.Event,
    ) -> None:
        self._settings = settings
        self._manager = manager
        self._directories = directories
        self.log = log
        self._metrics = metrics
        self._site = site
        self._stop = stop
        self.lines = manager.running_tree.lines

    @asynccontextmanager
    async def incarnation(self) -> AsyncIterator[Incarnation]:
        async with (
            self.writer() as writer,
            self.readers(writer) as incarnation,
            self.connections() as connections,
            self.handlers(incarnation, grace=HANDLER_GRACE) as handlers,
            self.listeners(incarnation, connections, handlers),
        ):
            yield incarnation

    @line_of_the_tree
    @describes_task(waits_for="the last write")
    async def writer(self) -> AsyncIterator[CheckpointWriter]:
        """Clear our paths of what an earlier run has left, read the state from disk, and write its changes; at the end,
        write it once more, since nothing can change it any more. Raises DirectoryUnusable."""
        settings, layout, log, boot_id = self._settings, self._manager.layout, self.log, read_boot_id()
        self._directories.prepare()
        log.record(StaleSocketRemoved(path=str(path)) for path in remove_stale_sockets(layout))
        log.record(clear_socket_paths(layout))
        store = DeviceStore(
            grace=settings.grace,
            id_length=settings.peer_limits.id_length,
            listed_size=settings.peer_limits.listed_size,
            max_standbys=settings.peer_limits.standbys,
            node_resources=settings.effective.node_resources,
        )
        restore(checkpoint_file(layout), store, log, boot_id=boot_id)
        async with open_checkpoint_writer(store, self._directories, log, boot_id=boot_id) as writer:
            yield writer

    @line_of_the_tree
    @describes_task(waits_for="the ends of the readers")
    async def readers(self, writer: CheckpointWriter) -> AsyncIterator[Incarnation]:
        """Read the device lists of plug-ins, in one task each; at the end, disconnect from the plug-ins."""
        async with trio.open_nursery() as nursery:
            layout, faults = self._manager.layout, self._manager.fault_injection
            incarnation = Incarnation(self._settings, layout, writer, self.log, faults, nursery)
            nursery.start_soon(incarnation.endpoints.wait_for_restored)
            yield incarnation
            nursery.cancel_scope.cancel()

    @line_of_the_tree
    @describes_task(waits_for="the last answers to be sent")
    async def connections(self) -> AsyncIterator[Connections]:
        """Hold the connections to our sockets; at the end, send the last answers and close them."""
        async with trio.open_nursery() as nursery:
            connections = Connections(nursery)
            yield connections
            await connections.drain()
            nursery.cancel_scope.cancel()

    @line_of_the_tree
    @describes_task(waits_for="requests to finish")
    async def handlers(self, incarnation: Incarnation, *, grace: float) -> AsyncIterator[trio.Nursery]:
        """Handle requests, of callers and of the program itself; at the end, requests that follow the event log return,
        and the others have ``grace`` seconds to finish."""
        async with self._manager.enter(incarnation), trio.open_nursery() as nursery:
            yield nursery
            self.log.close()
            nursery.cancel_scope.deadline = trio.current_time() + grace

    @line_of_the_tree
    @describes_task(waits_for="the ends of the listeners")
    async def listeners(
        self, incarnation: Incarnation, connections: Connections, handlers: trio.Nursery
    ) -> AsyncIterator[None]:
        """Accept connections, discover plug-ins, serve metrics and the page, from before the block begins until its
        end.

        Raises DirectoryUnusable or AddressUnusable."""
        manager, settings, log, access = self._manager, self._settings, self.log, incarnation.access
        with bound_servers(manager, connections, handlers, access, log, allow_faults=settings.allow_faults) as servers:
            async with trio.open_nursery() as nursery:
                for server in servers:
                    nursery.start_soon(server.serve)
                nursery.start_soon(keep_sockets, self._directories, servers, log)
                nursery.start_soon(incarnation.watcher.watch)
                nursery.start_soon(incarnation.stop_after, self._stop)
                served = [str(server.path) for server in servers]
                if self._metrics and settings.metrics_address:
                    arguments = settings.metrics_address, manager, servers, settings.peer_limits, log
                    served.append(await nursery.start(self._metrics.serve, *arguments))
                if self._site and settings.page_address:
                    serve = partial(self._site.serve, token=settings.page_token if settings.allow_faults else None)
                    served.append(await nursery.start(serve, settings.page_address, manager, log))
                log.open()
                log.record([_manager_ready(served, settings)])
                incarnation.ready.set()
                yield
                log.record([ManagerStopping()])
                nursery.cancel_scope.cancel()


def _manager_ready(served: list[str], settings: Settings) -> ManagerReady:
    effective = settings.effective
    return ManagerReady(
        sockets=tuple(served),
        policy=effective.policy,
        scope=effective.scope,
        numa_nodes=effective.numa_nodes,
        gates=tuple(f"{name}={str(on).lower()}" for name, on in effective.gates.items()),
        kubernetes_version=effective.kubernetes_version,
        peer_limits=tuple(f"{name}={limit}" for name, limit in settings.changed_peer_limits.items()),
    )


@takes_fields_of(Settings)
@asynccontextmanager
async def open_device_manager(settings: Settings) -> AsyncIterator[DeviceManager]:
    """A Device Manager inside your Trio program, for as long as the block lasts.

    It continues with the state that an earlier run has left on disk. Leaving the block stops everything and removes the
    sockets.
    Raises DirectoryInUse, DirectoryUnusable, AddressUnusable, ExtraMissing or NeedsTrio.
    """
    require_trio("open_device_manager")
    stop = trio.Event()
    with collapse_exception_group():
        async with trio.open_nursery() as nursery:
            manager: DeviceManager = await nursery.start(run, settings, stop)
            try:
                yield manager
            finally:
                stop.set()
