"""One incarnation of the manager: everything that a restart replaces. The supervisor and the disk outlast it."""

from __future__ import annotations

import trio

from ..core.devices.store import DeviceStore
from ..core.topology.policy import Topology
from .access.control import AccessControl
from .checkpoint.writer import CheckpointWriter
from .event_log import EventLog
from .layout import Layout
from .plugins.endpoints import Endpoints
from .plugins.watcher import PluginWatcher
from .pods.admission import PodAdmitHandler
from .pods.allocator import Allocator
from .pods.container_start import ContainerStarter
from .pods.topology_manager import TopologyManager


class Incarnation:
    """``ready`` is set when every socket accepts, ``stop_requested`` when it is to end. ``restart_delay`` is then the
    seconds until the next one begins (infinite: there is none); ``has_ended`` says that it serves nobody any more."""

    def __init__(
        self,
        *,
        layout: Layout,
        store: DeviceStore,
        log: EventLog,
        endpoints: Endpoints,
        writer: CheckpointWriter,
        topology: Topology,
        access: AccessControl,
        restart_wait: float,
    ) -> None:
        self.store = store
        self.endpoints = endpoints
        self.writer = writer
        self.watcher = PluginWatcher(layout, endpoints, access, log)
        allocator = Allocator(store=store, endpoints=endpoints, access=access, log=log, numa=topology.numa)
        topology_manager = TopologyManager([allocator], log, topology)
        starter = ContainerStarter(
            store=store, endpoints=endpoints, topology_manager=topology_manager, writer=writer, log=log
        )
        self.pod_admit_handler = PodAdmitHandler(
            store=store,
            topology_manager=topology_manager,
            starter=starter,
            writer=writer,
            log=log,
            topology=topology,
            plugin_wait_deadline=trio.current_time() + restart_wait,
        )
        self.ready = trio.Event()
        self.stop_requested = trio.Event()
        self.restart_delay = float("inf")
        self.has_ended = False

    def stop(self, *, restart_delay: float = float("inf")) -> None:
        """End this incarnation, and begin another ``restart_delay`` seconds later."""
        if not self.stop_requested.is_set():
            self.restart_delay = restart_delay
            self.stop_requested.set()
