"""One life of a manager: everything that a restart makes anew. What outlasts it is in the supervisor and on disk."""

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
from .pods.admission import Admissions
from .pods.allocator import Allocator
from .pods.container_start import ContainerStarts
from .pods.topology_manager import Aligner


class Life:
    """``ready`` is set when every socket accepts, ``over`` when it shall end; ``away`` is then the seconds until the
    next one begins; ``is_left`` when nobody is served by it any more."""

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
        allocator = Allocator(store=store, endpoints=endpoints, log=log, answers_size=access.peer_limits.answers_size)
        aligner = Aligner(store, allocator, log, topology)
        starts = ContainerStarts(store=store, endpoints=endpoints, aligner=aligner, writer=writer, log=log)
        self.admissions = Admissions(
            store=store,
            aligner=aligner,
            starts=starts,
            writer=writer,
            log=log,
            topology=topology,
            patience_ends=trio.current_time() + restart_wait,
        )
        self.ready = trio.Event()
        self.over = trio.Event()
        self.away = float("inf")
        self.is_left = False

    def end(self, *, away: float = float("inf")) -> None:
        """End this life, and begin another ``away`` seconds later."""
        if not self.over.is_set():
            self.away = away
            self.over.set()
