"""The values that all modules share: devices, pods, containers, and what a plug-in answered.

All of them are frozen, so that they can be handed out. Every module may import this one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Annotated, TypeAlias

from .arguments import CheckedFields, Count, FiniteSeconds, Text, at_least

# Aliases and not types of their own, so that plain strings can be passed.
ResourceName: TypeAlias = str
"""An extended resource, for example ``vendor.com/gpu`` (API-12)."""
DeviceId: TypeAlias = str
"""A device's id, unique under one resource name only."""
PodUid: TypeAlias = str
Times: TypeAlias = Annotated[int, at_least(1)]
"""How many times."""

HEALTHY = "Healthy"
"""The only health string that counts as healthy (LW-3)."""
UNHEALTHY = "Unhealthy"
UNKNOWN = "Unknown"
"""The health of a held device that is no longer reported (RHS-2, LIM-7)."""
API_VERSION = "v1beta1"
"""The only device plug-in API version there is (API-3)."""


def natural_order(text: str) -> tuple[list[str | tuple[int, str]], str]:
    """A sort key that puts ``gpu-2`` before ``gpu-10``; the fixed order ALLOC-8 asks for.

    Numbers compare by length, then by digits: no ``int()``, which refuses the 5,000 digits a plug-in may send.
    """
    parts = re.split(r"([0-9]+)", text)
    keys = [_number_order(part) if index % 2 else part for index, part in enumerate(parts)]
    return keys, text


def _number_order(digits: str) -> tuple[int, str]:
    significant = digits.lstrip("0")
    return len(significant), significant


@dataclass(frozen=True, slots=True, kw_only=True)
class Device(CheckedFields):
    """One entry of a report. ``numa_nodes`` is None without topology (API-2)."""

    id: DeviceId
    health: str = HEALTHY
    numa_nodes: tuple[int, ...] | None = None

    @property
    def is_healthy(self) -> bool:
        return self.health == HEALTHY


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeviceList:
    """One ListAndWatch message of ``size`` bytes, as it came, with its duplicates.

    ``token`` is its identity. If ``base`` is the token of another list, this one is equal to it, but with ``added`` in
    place of the entries ``removed``.
    """

    devices: list[Device] = field(default_factory=list)
    size: int = 0
    token: object = field(default_factory=object)
    base: object = None
    removed: list[Device] = field(default_factory=list)
    added: list[Device] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginOptions(CheckedFields):
    """Which of the optional calls a plug-in wants (GetDevicePluginOptions, REG-8)."""

    pre_start_required: bool = False
    get_preferred_allocation_available: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration(CheckedFields):
    """What a plug-in says about itself in Register (REG-3), not validated yet."""

    version: str
    endpoint: str
    resource: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A process at the other end of a unix socket: its ids and all its groups, as the kernel knows them."""

    pid: int
    uid: int
    gids: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount(CheckedFields):
    container_path: str
    host_path: str
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSpec(CheckedFields):
    container_path: str
    host_path: str
    permissions: str = "rw"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions(CheckedFields):
    """What the runtime adds to a container: one Allocate answer, or the merge of several (RUN-6)."""

    envs: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    device_specs: tuple[DeviceSpec, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    cdi_devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An Allocate answer for one container, and the bytes of its message, which may have fields unknown here."""

    options: RunOptions
    raw: bytes


class ContainerKind(Enum):
    """How long a container lives, which decides whether its devices can be taken over (ALLOC-12)."""

    INIT = "init"
    SIDECAR = "sidecar"  # an init container with restartPolicy Always
    MAIN = "main"


@dataclass(frozen=True, slots=True, kw_only=True)
class Container(CheckedFields):
    """``limits`` holds extended resources only, as whole devices (ALLOC-4)."""

    name: Text
    kind: ContainerKind = ContainerKind.MAIN
    limits: Mapping[ResourceName, Count] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod(CheckedFields):
    """``containers`` are in start order: init containers and sidecars, then the main ones (ALLOC-2).

    ``name`` is empty for a pod that is known only from a kubelet's checkpoint, which has no names.
    """

    name: Text
    uid: Text
    containers: tuple[Container, ...]
    namespace: Text = "default"

    def __post_init__(self) -> None:
        """Containers have different names, as the API server requires: devices are recorded by the container's name."""
        CheckedFields.__post_init__(self)
        names = Counter(container.name for container in self.containers)
        if len(names) < len(self.containers):
            raise ValueError(f"Pod: containers: more than one is called {max(names, key=names.__getitem__)!r:.100}")

    @property
    def full_name(self) -> str:
        return _full_name(self)


def _full_name(pod: Pod | PodStatus) -> str:
    return f"{pod.namespace}/{pod.name}" if pod.name else f"uid {pod.uid}"


@dataclass(frozen=True, slots=True, order=True)
class Owner:
    """Who holds devices: one container of one pod."""

    pod_uid: PodUid
    container: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveSettings:
    """The settings in effect. ``peer_limits`` have the names of the command line."""

    policy: str
    scope: str
    prefer_closest: bool
    numa_nodes: tuple[int, ...]
    gates: Mapping[str, bool]
    peer_limits: Mapping[str, float]
    node_resources: Mapping[ResourceName, int]
    kubernetes_version: str


def _words(value: int | str | tuple[str, ...]) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceCounts:
    """One resource as the node publishes it (CAP-1); ``allocatable`` does not subtract what is held.

    ``endpoint`` is serving, stopped or removed; or node, for a resource that no plug-in provides. ``standbys`` are the
    sockets of the plug-ins that stand by while another one serves, the newest last.
    """

    capacity: int
    allocatable: int
    allocated: int
    available: int
    endpoint: str
    standbys: tuple[str, ...] = ()

    def in_words(self) -> str:
        """``capacity 4, allocatable 3, …``, without what is empty."""
        return ", ".join(f"{name} {_words(value)}" for name, value in asdict(self).items() if value != ())


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStatus:
    """The devices that a container holds, by resource and in order, each with its current health (RHS-1)."""

    name: str
    health: Mapping[ResourceName, Mapping[DeviceId, str]] = field(default_factory=dict)

    @property
    def devices(self) -> dict[ResourceName, tuple[DeviceId, ...]]:
        return {resource: tuple(devices) for resource, devices in self.health.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class PodStatus:
    """An admitted pod with its containers, of every kind, in the order of the spec."""

    namespace: str
    name: str
    uid: PodUid
    containers: tuple[ContainerStatus, ...]

    @property
    def full_name(self) -> str:
        return _full_name(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus(CheckedFields):
    """What the node publishes about resources, by name. ``removed`` are published as 0 until that is acknowledged.

    ``reset`` says that extended resources that are not listed here are to be set to 0: the manager does not know what
    the node published before it started (CAP-6).
    """

    capacity: Mapping[str, Count]
    allocatable: Mapping[str, Count]
    removed: tuple[str, ...] = ()
    reset: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRun:
    """One container of an admitted pod: its devices, and what the runtime adds for them."""

    name: str
    devices: Mapping[ResourceName, tuple[DeviceId, ...]]
    options: RunOptions = RunOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class PodAdmitResult:
    """The answer to "may this pod run here?". A refusal is an answer and no exception (ALLOC-20); it is false.

    ``failed_container`` names the container of an admitted pod that could not start; ``message`` says why.
    """

    admitted: bool
    reason: str = ""
    message: str = ""
    containers: tuple[ContainerRun, ...] = ()
    failed_container: str = ""

    def __bool__(self) -> bool:
        return self.admitted

    def __repr__(self) -> str:
        """Short, for the output of failing tests."""
        if not self.admitted:
            return f"<refused, {self.reason}: {self.message}>"
        failed = f", but {self.failed_container} did not start: {self.message}" if self.failed_container else ""
        held = [f"{run.name} {name}: {', '.join(ids)}" for run in self.containers for name, ids in run.devices.items()]
        return f"<admitted{failed}; {'; '.join(held) or 'no devices'}>"


INJECTED_ERROR = "an injected fault"
"""The message of an injected error, by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault(CheckedFields):
    """A fault to inject, by its name in ``daemon.faults.actions``. Which of the other fields matter depends on it."""

    name: str
    resource: str = ""
    call: str = ""
    times: Times = 1
    seconds: FiniteSeconds = 0.0
    error: str = INJECTED_ERROR
