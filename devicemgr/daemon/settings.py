"""The settings of a manager, stated once.

The fields of :class:`Settings` are the arguments of ``open_device_manager``, and a field with an :class:`Option` is an
option of the daemon's command line (``cli.daemon.options``). A new setting is one new field.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, get_type_hints

from ..arguments import CheckedFields, PathName, Port, Seconds, checked
from ..core.devices.endpoint import GRACE_PERIOD
from ..core.topology.policy import Topology
from ..kubernetes_versions import LATEST, KubernetesVersion
from ..model import EffectiveSettings
from ..node_resources import NodeResources, node_resources
from ..peer_limits import PeerLimits
from ..rpc.deviceplugin.methods import Deadlines, deadlines_help
from .access.callers import Callers
from .event_log import Sink
from .layout import Layout

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")

RESTART_WAIT = 30.0
"""Seconds after a restart within which plug-ins usually return (CC-101)."""


@dataclass(frozen=True, slots=True)
class Option:
    """An option of the command line. Without ``metavar`` it is a flag."""

    name: str
    help: str
    metavar: str | None = None


def option_field(default: Any, option: Option) -> Any:
    """A field that an option can set, too. A default that is callable is a factory."""
    if callable(default):
        return dataclasses.field(default_factory=default, metadata={"option": option})
    return dataclasses.field(default=default, metadata={"option": option})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(CheckedFields):
    """
    ======================  ===========================================================================================
    ``root_dir``            the kubelet's root directory; plug-ins register at ``root_dir/device-plugins/kubelet.sock``
    ``deadlines``           seconds that a plug-in has for each call
    ``grace``               seconds for which the capacity of a stopped plug-in is kept
    ``topology``            how pods are aligned on NUMA nodes
    ``restart_wait``        seconds after a restart for which new pods wait for plug-ins that were there before
    ``peer_limits``         how much a peer may ask for
    ``callers``             who may call, and serve plug-ins: by default this user and root
    ``metrics_address``     (host, port) at which /metrics and /healthz are served; an empty host is every address
    ``page_address``        (host, port) at which the page is served; an empty host is loopback
    ``page_token``          whoever sends this may inject faults from the page; None: nobody may
    ``node_resources``      extended resources that the node has without a plug-in, as
                            ``{"nvidia.com/gpumem": "16Gi"}``: they are only counted, until a plug-in reports devices
                            of that name
    ``kubernetes_version``  the version of the kubelet to behave like where they differ on purpose: 1.36 or 1.37
    ``allow_faults``        whether callers of admin.sock may inject faults; ``manager.faults`` needs no permission
    ``sinks``               functions that get every event
    ======================  ===========================================================================================
    """

    root_dir: PathName = dataclasses.field(kw_only=False)
    deadlines: Deadlines = option_field(
        Deadlines,
        Option(
            "--deadline",
            f"How long a plug-in may take: {deadlines_help()}. May be given several times.",
            "CALL=SECONDS",
        ),
    )
    grace: Seconds = GRACE_PERIOD
    topology: Topology = Topology()
    restart_wait: Seconds = option_field(
        RESTART_WAIT,
        Option(
            "--restart-wait", "How long after a restart new pods wait for plug-ins that were there before.", "SECONDS"
        ),
    )
    peer_limits: PeerLimits = option_field(
        PeerLimits,
        Option(
            "--peer-limit",
            "How much a peer may ask for, for example report-rate=20; a wrong name lists them all. "
            "May be given several times.",
            "NAME=NUMBER",
        ),
    )
    callers: Callers = option_field(
        Callers.default,
        Option("--allow-group", "Let members of this group call and serve plug-ins, too.", "GROUP"),
    )
    metrics_address: tuple[str, Port] | None = option_field(
        None,
        Option(
            "--metrics-address",
            "Serve /metrics and /healthz at this address, for example 127.0.0.1:9400; :9400 is that port of "
            "every address of the machine.",
            "[HOST]:PORT",
        ),
    )
    page_address: tuple[str, Port] | None = option_field(
        None,
        Option(
            "--page",
            "Serve the page at this address, for example :8080, which only this machine can reach. Whoever can reach "
            "it sees everything.",
            "[HOST]:PORT",
        ),
    )
    page_token: str | None = dataclasses.field(default=None, repr=False)
    node_resources: NodeResources = option_field(
        dict,
        Option(
            "--node-resource",
            "An extended resource that the node has without a device plug-in, for example nvidia.com/gpumem=16Gi: it "
            "is only counted, until a plug-in reports devices of that name. May be given "
            "several times.",
            "NAME=COUNT",
        ),
    )
    kubernetes_version: KubernetesVersion = option_field(
        LATEST,
        Option(
            "--kubernetes-version",
            "The version of the kubelet to behave like where versions differ on purpose: in texts of errors, and in "
            "the feature gates that a configuration may name.",
            "VERSION",
        ),
    )
    allow_faults: bool = option_field(
        False, Option("--allow-faults", "Let the verb fault break things on purpose. For tests only.")
    )
    sinks: Iterable[Sink] = ()

    @property
    def layout(self) -> Layout:
        return Layout(Path(self.root_dir).absolute(), self.callers.group)

    @property
    def effective(self) -> EffectiveSettings:
        """The settings as the manager reports them."""
        return EffectiveSettings(
            policy=self.topology.policy,
            scope=self.topology.scope,
            prefer_closest=self.topology.prefer_closest,
            numa_nodes=self.topology.numa.nodes,
            gates={"DevicePlugins": True},
            peer_limits=_by_option(self.peer_limits),
            node_resources=node_resources(self.node_resources),
            kubernetes_version=self.kubernetes_version,
        )

    @property
    def changed_peer_limits(self) -> dict[str, float]:
        """The limits that differ from the defaults, by their names on the command line."""
        default = _by_option(PeerLimits())
        return {name: limit for name, limit in _by_option(self.peer_limits).items() if limit != default[name]}


def _by_option(limits: PeerLimits) -> dict[str, float]:
    return {name.replace("_", "-"): limit for name, limit in asdict(limits).items()}


def option_of(field: dataclasses.Field[Any]) -> Option | None:
    return field.metadata.get("option")


def takes_fields_of(settings: Callable[P, S]) -> Callable[[Callable[[S], T]], Callable[P, T]]:
    """Decorates a function of settings, which then takes their fields: they are checked and documented as its own
    arguments."""

    def decorate(function: Callable[[S], T]) -> Callable[P, T]:
        signature = inspect.signature(settings).replace(return_annotation=inspect.signature(function).return_annotation)

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{function.__name__}() {error}") from None
            return function(settings(*args, **kwargs))

        made: Any = call
        made.__signature__ = signature
        made.__annotations__ = get_type_hints(settings, include_extras=True)
        made.__doc__ = f"{inspect.getdoc(function)}\n\n{inspect.getdoc(settings)}"
        return checked(call)

    return decorate
