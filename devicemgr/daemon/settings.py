"""What a manager is told when it starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..core.devices.endpoint import GRACE_PERIOD
from ..core.topology.policy import Topology
from ..model import EffectiveSettings, ResourceName
from ..peer_limits import PeerLimits
from ..rpc.deviceplugin.client import Deadlines
from .access.callers import Callers
from .event_log import Sink
from .layout import Layout

RESTART_WAIT = 30.0
"""Seconds after a restart in which plug-ins usually are back (CC-101)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``grace`` is the seconds a stopped endpoint keeps its capacity, ``restart_wait`` those for which, after a
    restart, new pods wait for plug-ins that are expected back; ``peer_limits`` hold for all peers, and only ``callers``
    may call; at ``metrics_address`` (host, port) /metrics and /healthz are served; ``allow_faults`` lets callers of
    admin.sock break things; ``node_resources`` are had without a plug-in; ``sinks`` get every event."""

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
    sinks: Iterable[Sink] = ()

    @property
    def layout(self) -> Layout:
        return Layout(self.root_dir.absolute(), self.callers.group)

    @property
    def effective(self) -> EffectiveSettings:
        """As the manager shows them to whoever asks."""
        return EffectiveSettings(
            policy=self.topology.policy,
            scope=self.topology.scope,
            prefer_closest=self.topology.prefer_closest,
            numa_nodes=self.topology.numa.nodes,
            gates={"DevicePlugins": True},
            peer_limits=_by_option(self.peer_limits),
            node_resources=dict(self.node_resources),
        )

    @property
    def changed_peer_limits(self) -> dict[str, float]:
        """Those that are not the default ones, by their names on the command line."""
        default = _by_option(PeerLimits())
        return {name: limit for name, limit in _by_option(self.peer_limits).items() if limit != default[name]}


def _by_option(limits: PeerLimits) -> dict[str, float]:
    return {name.replace("_", "-"): limit for name, limit in asdict(limits).items()}
