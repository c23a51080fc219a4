"""One incarnation of the manager: what a restart replaces. The supervisor and the files on disk outlast it."""

from __future__ import annotations

import trio

from ..concurrency.task_descriptions import describes_task
from .access.control import AccessControl
from .checkpoint.writer import CheckpointWriter
from .event_log import EventLog
from .faults.injection import FaultInjection
from .layout import Layout
from .plugins.endpoints import Endpoints
from .plugins.handler import DEVICE_PLUGIN
from .plugins.watcher import PluginWatcher
from .pods.admission import PodAdmitHandler
from .pods.allocator import Allocator
from .pods.container_start import ContainerStarter
from .pods.topology_manager import TopologyManager
from .settings import Settings


class Incarnation:
    """``ready`` is set when every socket accepts, ``stop_requested`` when the incarnation is to end. ``restart_delay``
    is then the number of seconds until the next one, infinite if there is none. ``has_ended`` is true when it handles
    no requests any more."""

    def __init__(
        self,
        settings: Settings,
        layout: Layout,
        writer: CheckpointWriter,
        log: EventLog,
        fault_injection: FaultInjection,
        readers: trio.Nursery,
    ) -> None:
        self.store = writer.store
        self.writer = writer
        self.access = AccessControl(settings.callers, settings.peer_limits, log)
        self.endpoints = Endpoints(
            directory=layout.plugins,
            store=self.store,
            log=log,
            nursery=readers,
            deadlines=settings.deadlines,
            access=self.access,
            fault_injection=fault_injection,
            kubernetes_version=settings.kubernetes_version,
        )
        self.watcher = PluginWatcher(layout, {DEVICE_PLUGIN: self.endpoints}, self.access, log)
        allocator = Allocator(
            store=self.store, endpoints=self.endpoints, access=self.access, log=log, numa=settings.topology.numa
        )
        topology_manager = TopologyManager([allocator], log, settings.topology)
        starter = ContainerStarter(
            store=self.store, endpoints=self.endpoints, topology_manager=topology_manager, writer=writer, log=log
        )
        self.pod_admit_handler = PodAdmitHandler(
            store=self.store,
            topology_manager=topology_manager,
            starter=starter,
            writer=writer,
            log=log,
            topology=settings.topology,
            plugin_wait_deadline=trio.current_time() + settings.restart_wait,
        )
        self.ready = trio.Event()
        self.stop_requested = trio.Event()
        self.restart_delay = float("inf")
        self.has_ended = False

    def stop(self, *, restart_delay: float = float("inf")) -> None:
        """End this incarnation, and start another one ``restart_delay`` seconds later."""
        if not self.stop_requested.is_set():
            self.restart_delay = restart_delay
            self.stop_requested.set()

    @describes_task(name="stop", waits_for="a stop")
    async def stop_after(self, event: trio.Event) -> None:
        """Wait for the event, then end this incarnation; it is the last one."""
        await event.wait()
        self.stop()
