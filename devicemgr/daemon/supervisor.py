"""The nursery tree. Nesting order is shutdown order::

    run
    └─ writer         the state on disk                        ends last: with everything that was said
       └─ readers       one endpoint task per plug-in            ends third: plug-ins were needed until now
          └─ handlers     registrations, admissions, queries       ends second: bounded grace
             └─ listeners   kubelet.sock · allocation.sock           ends first: no new work

There are no flags, counters or "stopping" states: leaving a block *is* the stop of what it owns.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio

from ..core.endpoint import GRACE_PERIOD
from ..core.policy import Topology
from ..core.store import DeviceStore
from ..errors import unwrapped
from ..events import ManagerReady, ManagerStopping, RegistrySocketRestored, StaleSocketRemoved
from ..rpc.bridge import UnixServer, open_bridge, open_server
from ..rpc.local import MAX_MESSAGE_SIZE
from ..rpc.plugin_client import Deadlines
from ..rpc.pod_resources import PodResourcesService, PodResourcesServiceV1Alpha1
from ..rpc.services import AllocationService, RegistrationService
from .checkpointing import StateFiles, open_checkpoint_writer, read_boot_id
from .directory import Layout, owned
from .endpoints import Endpoints
from .event_log import EventLog, Sink
from .manager import DeviceManager

HANDLER_GRACE = 5.0
"""Seconds that running requests have to finish when the manager stops."""
RESTART_WAIT = 30.0
"""Seconds after a restart in which plug-ins usually are back (CC-101)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``grace`` is the seconds a stopped endpoint keeps its capacity, ``restart_wait`` those for which, after a
    restart, new pods wait for plug-ins that are expected back; ``max_message_size`` is in bytes."""

    root_dir: Path
    deadlines: Deadlines = field(default_factory=Deadlines)
    grace: float = GRACE_PERIOD
    max_message_size: int = MAX_MESSAGE_SIZE
    topology: Topology = Topology()
    restart_wait: float = RESTART_WAIT
    boot_id: str = field(default_factory=read_boot_id)


async def run(
    settings: Settings,
    stop: trio.Event,
    *,
    sinks: Iterable[Sink] = (),
    task_status: trio.TaskStatus[DeviceManager] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a manager until ``stop`` is set. Needs an open bridge; starts with the manager when every socket accepts.

    Raises DirectoryInUse or DirectoryUnusable before anything is served.
    """
    log = EventLog(sinks)
    layout = Layout(settings.root_dir.absolute())
    store = DeviceStore(grace=settings.grace)
    with owned(layout) as stale:
        log.record(StaleSocketRemoved(path=str(path)) for path in stale)
        files = StateFiles.of(layout)
        files.restore_into(store, log, boot_id=settings.boot_id)
        async with (
            open_checkpoint_writer(store, files, log, boot_id=settings.boot_id) as writer,
            trio.open_nursery() as readers,
            AsyncExitStack() as connections,
        ):
            endpoints = Endpoints(
                directory=layout.plugins,
                store=store,
                log=log,
                nursery=readers,
                deadlines=settings.deadlines,
                max_message_size=settings.max_message_size,
            )
            readers.start_soon(endpoints.wait_for_restored)
            manager = DeviceManager(
                layout=layout,
                store=store,
                log=log,
                endpoints=endpoints,
                writer=writer,
                topology=settings.topology,
                restart_wait=settings.restart_wait,
            )
            async with trio.open_nursery() as handlers:
                servers = [
                    await connections.enter_async_context(_open(served, settings))
                    for served in _served(manager, handlers)
                ]
                async with trio.open_nursery() as listeners:
                    for server in servers:
                        listeners.start_soon(server.serve, _reporter(log))
                    listeners.start_soon(manager.watcher.watch)
                    log.record([ManagerReady(sockets=tuple(str(server.path) for server in servers))])
                    task_status.started(manager)
                    await stop.wait()
                    log.record([ManagerStopping()])
                    listeners.cancel_scope.cancel()
                log.close()
                handlers.cancel_scope.deadline = trio.current_time() + HANDLER_GRACE
            await connections.aclose()
            readers.cancel_scope.cancel()


@dataclass(frozen=True, slots=True)
class _Served:
    """A socket and what is served on it; ``replace`` as for :func:`open_server`."""

    path: Path
    services: list[object]
    replace: bool = False


def _served(manager: DeviceManager, handlers: trio.Nursery) -> list[_Served]:
    """kubelet.sock last, so that whoever sees it finds all others."""
    layout, pod_resources = manager.layout, manager.pod_resources
    agents = [PodResourcesService(handlers, pod_resources), PodResourcesServiceV1Alpha1(handlers, pod_resources)]
    return [
        _Served(layout.allocation_socket, [AllocationService(handlers, manager)]),
        _Served(layout.pod_resources_socket, list(agents), replace=True),
        _Served(layout.registry_socket, [RegistrationService(handlers, manager.register)]),
    ]


def _open(served: _Served, settings: Settings) -> AbstractAsyncContextManager[UnixServer]:
    return open_server(served.path, served.services, max_message_size=settings.max_message_size, replace=served.replace)


def _reporter(log: EventLog) -> Callable[[Path], None]:
    return lambda path: log.record([RegistrySocketRestored(path=str(path))])


@asynccontextmanager
async def open_device_manager(
    root_dir: str | Path,
    *,
    deadlines: Deadlines | None = None,
    grace: float = GRACE_PERIOD,
    max_message_size: int = MAX_MESSAGE_SIZE,
    topology: Topology | None = None,
    restart_wait: float = RESTART_WAIT,
    sinks: Iterable[Sink] = (),
) -> AsyncIterator[DeviceManager]:
    """A Device Manager inside your Trio program, for as long as the block lasts.

    It serves ``root_dir/device-plugins/kubelet.sock`` for real plug-ins; ``deadlines`` bound every call to them,
    ``grace`` is the seconds a stopped plug-in's capacity is kept, ``max_message_size`` the bytes of one message;
    ``topology`` aligns pods on NUMA nodes; ``restart_wait`` is for how many seconds new pods wait for plug-ins that
    an earlier life knew. What that life left on disk is taken over.
    Leaving the block stops everything and removes the sockets. Raises DirectoryInUse or DirectoryUnusable.
    """
    settings = Settings(
        root_dir=Path(root_dir),
        deadlines=deadlines or Deadlines(),
        grace=grace,
        max_message_size=max_message_size,
        topology=topology or Topology(),
        restart_wait=restart_wait,
    )
    stop = trio.Event()
    with unwrapped():
        async with open_bridge(), trio.open_nursery() as nursery:
            manager: DeviceManager = await nursery.start(partial(run, settings, stop, sinks=sinks))
            try:
                yield manager
            finally:
                stop.set()
