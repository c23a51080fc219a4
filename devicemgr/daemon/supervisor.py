"""The nursery tree. Nesting order is shutdown order::

    run
    └─ writer         the state on disk                        ends last: with everything that was said
       └─ readers       one endpoint task per plug-in            ends fourth: plug-ins were needed until now
          └─ connections  of everybody who called                  ends third: the last answers are on their way
             └─ handlers     registrations, admissions, queries      ends second: bounded grace
                └─ listeners   sockets · plug-in watcher · metrics     ends first: no new work

There are no flags, counters or "stopping" states: leaving a block *is* the stop of what it owns. A restart is leaving
all of it and entering it again, in ``run``: only the directory's lock and the event log outlast an incarnation.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import trio

from ..arguments import Port, Seconds, checked
from ..core.devices.endpoint import GRACE_PERIOD
from ..core.devices.store import DeviceStore
from ..core.topology.policy import Topology
from ..errors import collapse_exception_group, require_trio
from ..events import ManagerReady, ManagerStopping, SocketReplaced, SocketRestored, StaleSocketRemoved
from ..model import EffectiveSettings, ResourceName
from ..node_resources import NodeResources
from ..node_resources import node_resources as checked_node_resources
from ..peer_limits import PeerLimits
from ..rpc.deviceplugin.methods import Deadlines
from .access.callers import Callers
from .access.control import AccessControl
from .checkpoint.writer import CheckpointWriter, checkpoint_file, open_checkpoint_writer, read_boot_id, restore
from .event_log import EventLog, Sink
from .incarnation import Incarnation
from .layout import (
    Directories,
    Layout,
    acquire_directories,
    check_permissions,
    clear_socket_paths,
    remove_stale_sockets,
)
from .manager import DeviceManager
from .plugins.endpoints import Endpoints
from .serving.listeners import MetricsServer, bound_servers, drain
from .serving.socket_guard import keep_sockets

HANDLER_GRACE = 5.0
"""Seconds that running requests have to finish when the manager stops."""
RESTART_WAIT = 30.0
"""Seconds after a restart in which plug-ins usually are back (CC-101)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``grace`` is the seconds a stopped endpoint keeps its capacity, ``restart_wait`` those for which, after a
    restart, new pods wait for plug-ins that are expected back; ``peer_limits`` hold for all peers, and only ``callers``
    may call; at ``metrics_address``
    (host, port) /metrics and /healthz are served; ``allow_faults`` lets callers of admin.sock break things;
    ``node_resources`` are had without a plug-in."""

    root_dir: Path
    deadlines: Deadlines = field(default_factory=Deadlines)
    grace: float = GRACE_PERIOD
    peer_limits: PeerLimits = PeerLimits()
    callers: Callers = field(default_factory=Callers.default)
    topology: Topology = Topology()
    restart_wait: float = RESTART_WAIT
    metrics_address: tuple[str, int] | None = None
    allow_faults: bool = False
    node_resources: Mapping[ResourceName, int] = field(default_factory=dict)
    boot_id: str = field(default_factory=read_boot_id)


async def run(
    settings: Settings,
    stop: trio.Event,
    *,
    sinks: Iterable[Sink] = (),
    task_status: trio.TaskStatus[DeviceManager] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a manager until ``stop`` is set; starts with the manager when every socket accepts.

    Raises DirectoryInUse, DirectoryUnusable or AddressUnusable before anything is served.
    """
    metrics = settings.metrics_address and MetricsServer(settings.topology.policy)
    log = EventLog([*sinks, metrics.count] if metrics else sinks)
    manager = DeviceManager(Layout(settings.root_dir.absolute(), settings.callers.group), log, _effective(settings))
    with acquire_directories(manager.layout) as directories, closing(manager):
        log.record(check_permissions(manager.layout))
        while not stop.is_set():
            delay = await _run_incarnation(settings, manager, directories, log, metrics or None, stop, task_status)
            task_status = trio.TASK_STATUS_IGNORED
            with trio.move_on_after(delay):
                await stop.wait()


async def _run_incarnation(
    settings: Settings,
    manager: DeviceManager,
    directories: Directories,
    log: EventLog,
    metrics: MetricsServer | None,
    stop: trio.Event,
    task_status: trio.TaskStatus[DeviceManager],
) -> float:
    """Until ``stop`` is set or the incarnation is stopped; returns the seconds until the next one begins."""
    directories.prepare()
    store = _restored_store(settings, manager.layout, log)
    async with (
        open_checkpoint_writer(store, directories, log, boot_id=settings.boot_id) as writer,
        trio.open_nursery() as readers,
        trio.open_nursery() as connections,
    ):
        access = AccessControl(settings.callers, settings.peer_limits, log)
        incarnation = _new_incarnation(settings, manager, store, log, writer, readers, access)
        async with manager.enter(incarnation), trio.open_nursery() as handlers:
            faults = settings.allow_faults
            with bound_servers(manager, connections, handlers, access, log, allow_faults=faults) as servers:
                async with trio.open_nursery() as listeners:
                    for server in servers:
                        listeners.start_soon(server.serve)
                    listeners.start_soon(keep_sockets, directories, servers, *_reporters(log))
                    listeners.start_soon(incarnation.watcher.watch)
                    listeners.start_soon(_stop_with, stop, incarnation)
                    served = [str(server.path) for server in servers]
                    if metrics:
                        arguments = settings.metrics_address, manager, servers, settings.peer_limits, log
                        served.append(await listeners.start(metrics.serve, *arguments))
                    log.open()
                    log.record([_ready(tuple(served), manager.settings())])
                    incarnation.ready.set()
                    task_status.started(manager)
                    await incarnation.stop_requested.wait()
                    log.record([ManagerStopping()])
                    listeners.cancel_scope.cancel()
            log.close()
            handlers.cancel_scope.deadline = trio.current_time() + HANDLER_GRACE
        await drain(servers)
        connections.cancel_scope.cancel()
        readers.cancel_scope.cancel()
    return incarnation.restart_delay


def _restored_store(settings: Settings, layout: Layout, log: EventLog) -> DeviceStore:
    """With what is on disk; what else an earlier run, or somebody, has left in our way is gone. Raises
    DirectoryUnusable."""
    store = DeviceStore(
        grace=settings.grace, id_length=settings.peer_limits.id_length, node_resources=settings.node_resources
    )
    log.record(StaleSocketRemoved(path=str(path)) for path in remove_stale_sockets(layout))
    log.record(clear_socket_paths(layout))
    restore(checkpoint_file(layout), store, log, boot_id=settings.boot_id)
    return store


def _effective(settings: Settings) -> EffectiveSettings:
    topology = settings.topology
    return EffectiveSettings(
        policy=topology.policy,
        scope=topology.scope,
        prefer_closest=topology.prefer_closest,
        numa_nodes=topology.numa.nodes,
        gates={"DevicePlugins": True},
        peer_limits={name.replace("_", "-"): value for name, value in asdict(settings.peer_limits).items()},
        node_resources=dict(settings.node_resources),
    )


def _ready(sockets: tuple[str, ...], settings: EffectiveSettings) -> ManagerReady:
    usual = asdict(PeerLimits())
    return ManagerReady(
        sockets=sockets,
        policy=settings.policy,
        scope=settings.scope,
        numa_nodes=settings.numa_nodes,
        gates=tuple(f"{name}={str(on).lower()}" for name, on in settings.gates.items()),
        peer_limits=tuple(
            f"{name}={n}" for name, n in settings.peer_limits.items() if n != usual[name.replace("-", "_")]
        ),
    )


async def _stop_with(stop: trio.Event, incarnation: Incarnation) -> None:
    await stop.wait()
    incarnation.stop()


def _new_incarnation(
    settings: Settings,
    manager: DeviceManager,
    store: DeviceStore,
    log: EventLog,
    writer: CheckpointWriter,
    readers: trio.Nursery,
    access: AccessControl,
) -> Incarnation:
    endpoints = Endpoints(
        directory=manager.layout.plugins,
        store=store,
        log=log,
        nursery=readers,
        deadlines=settings.deadlines,
        access=access,
        fault_injection=manager.fault_injection,
    )
    readers.start_soon(endpoints.wait_for_restored)
    return Incarnation(
        layout=manager.layout,
        store=store,
        log=log,
        endpoints=endpoints,
        writer=writer,
        topology=settings.topology,
        access=access,
        restart_wait=settings.restart_wait,
    )


def _reporters(log: EventLog) -> tuple[Callable[[Path], None], Callable[[Path], None]]:
    """What to do when a socket was restored, and when it was replaced."""
    return (
        lambda path: log.record([SocketRestored(path=str(path))]),
        lambda path: log.record([SocketReplaced(path=str(path))]),
    )


@checked
@asynccontextmanager
async def open_device_manager(
    root_dir: str | Path,
    *,
    deadlines: Deadlines | None = None,
    grace: Seconds = GRACE_PERIOD,
    peer_limits: PeerLimits | None = None,
    callers: Callers | None = None,
    topology: Topology | None = None,
    restart_wait: Seconds = RESTART_WAIT,
    metrics_address: tuple[str, Port] | None = None,
    node_resources: NodeResources | None = None,
    sinks: Iterable[Sink] = (),
) -> AsyncIterator[DeviceManager]:
    """A Device Manager inside your Trio program, for as long as the block lasts.

    It serves ``root_dir/device-plugins/kubelet.sock`` for real plug-ins; ``deadlines`` bound every call to them,
    ``grace`` is the seconds a stopped plug-in's capacity is kept, ``peer_limits`` are how much a peer may ask for,
    ``callers`` who may call at all (this user and root); ``topology`` aligns pods on NUMA nodes;
    ``restart_wait`` is for how many seconds new pods wait for plug-ins that
    an earlier run knew; at ``metrics_address`` (host, port) /metrics and /healthz are served; ``node_resources`` are
    extended resources that the node has without a plug-in, as ``{"nvidia.com/gpumem": "16Gi"}``: they are counted, and
    nobody is asked for them, unless a plug-in reports devices of that name. What an earlier run left on disk is taken
    over.
    Leaving the block stops everything and removes the sockets. Raises DirectoryInUse, DirectoryUnusable or NeedsTrio;
    ValueError for node resources that cannot be.
    """
    require_trio("open_device_manager")
    settings = Settings(
        root_dir=Path(root_dir),
        deadlines=deadlines or Deadlines(),
        grace=grace,
        peer_limits=peer_limits or PeerLimits(),
        callers=callers or Callers.default(),
        topology=topology or Topology(),
        restart_wait=restart_wait,
        metrics_address=metrics_address,
        node_resources=checked_node_resources(node_resources or {}),
    )
    stop = trio.Event()
    with collapse_exception_group():
        async with trio.open_nursery() as nursery:
            manager: DeviceManager = await nursery.start(partial(run, settings, stop, sinks=sinks))
            try:
                yield manager
            finally:
                stop.set()
