"""Every fact the manager can report, in the past tense.

A mutation of the core returns the events it caused; nothing else is its output. The trace, the log, the
``events`` verb and the golden tests all show these same values, through :func:`as_json`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from .model import DeviceId, Pod, PodUid, ResourceName


class Severity(StrEnum):
    """How loud the log is about an event."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events; a subclass that is worth a warning says so in ``_severity``."""

    @property
    def severity(self) -> Severity:
        return Severity.WARNING if isinstance(self, _WARNINGS) else Severity.INFO

    @property
    def is_remembered(self) -> bool:
        """Does the log keep it? What comes many times a second goes to the sinks only."""
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerReady(Event):
    """Every socket accepts."""

    sockets: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerStopping(Event):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleSocketRemoved(Event):
    """A socket of an earlier life was deleted: its plug-in's sign to register again (REG-17)."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySocketRestored(Event):
    """Somebody deleted kubelet.sock at run time; it was made anew (LIM-36)."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginRegistered(Event):
    """A plug-in answered and serves the resource from now on; ``replaced`` says that another did before."""

    resource: ResourceName
    endpoint: str
    generation: int
    pre_start_required: bool
    get_preferred_allocation_available: bool
    replaced: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginRefused(Event):
    """A registration failed; whatever served the resource before is untouched (LIM-3)."""

    resource: str
    endpoint: str
    rule: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportApplied(Event):
    """A list of devices was taken over (LW-3); the three tuples tell it from the list before."""

    resource: ResourceName
    capacity: int
    allocatable: int
    added: tuple[DeviceId, ...]
    removed: tuple[DeviceId, ...]
    changed: tuple[DeviceId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportNormalised(Event):
    """Part of a report made no sense and was mended or left out (LIM-16); ``devices`` names the first ten."""

    resource: ResourceName
    problem: str
    count: int
    devices: tuple[DeviceId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceHealthChanged(Event):
    """A device that a container holds is now Healthy, Unhealthy or Unknown; the container runs on (RHS-4, RHS-6)."""

    pod_uid: PodUid
    container: str
    resource: ResourceName
    device: DeviceId
    health: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStopped(Event):
    """The stream ended; the devices count as unhealthy until the grace period is over (LW-8)."""

    resource: ResourceName
    generation: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceRemoved(Event):
    """The grace period ended: the resource is published as 0 until that is acknowledged (CAP-3, LIM-5)."""

    resource: ResourceName


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRestored(Event):
    """An earlier life left this: resources whose plug-ins are expected back, and pods with their devices (REG-19).

    ``lost`` are pods whose devices were in no file that could be believed: their admission was never answered, or a
    corrupt checkpoint took them along (LIM-10). ``skipped`` are entries whose answer could not be read (CKPT-9).
    """

    resources: tuple[ResourceName, ...]
    pods: tuple[str, ...]
    devices: int
    rebooted: bool
    lost: tuple[str, ...]
    skipped: int

    @property
    def severity(self) -> Severity:
        return Severity.WARNING if self.lost or self.skipped else Severity.INFO


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSetAside(Event):
    """A file could not be believed and was renamed; ``used`` is the generation read instead, or empty (LIM-10)."""

    path: str
    moved_to: str
    problem: str
    used: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointWritten(Event):
    """Everything up to ``version`` is on disk; ``size`` is the checkpoint's length in bytes."""

    version: int
    size: int
    seconds: float

    @property
    def severity(self) -> Severity:
        return Severity.DEBUG

    @property
    def is_remembered(self) -> bool:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFailed(Event):
    """The state could not be written; it is tried again with the next change, and after a while."""

    version: int
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicesAllocated(Event):
    pod_uid: PodUid
    container: str
    resource: ResourceName
    devices: tuple[DeviceId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PodWaiting(Event):
    """The pod waits, for a bounded time, until these resources' plug-ins are back after a restart (LIM-32)."""

    namespace: str
    name: str
    uid: PodUid
    resources: tuple[ResourceName, ...]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PodAligned(Event):
    """single-numa-node decided for a container or a whole pod (``scope``): all on one NUMA node, or refused."""

    pod_uid: PodUid
    scope: str
    aligned: bool

    @property
    def severity(self) -> Severity:
        return Severity.DEBUG


@dataclass(frozen=True, slots=True, kw_only=True)
class PodAdmitted(Event):
    """The pod has its devices, and that is on disk; ``seconds`` is how long the decision took."""

    namespace: str
    name: str
    uid: PodUid
    seconds: float

    @classmethod
    def of(cls, pod: Pod, *, seconds: float) -> PodAdmitted:
        return cls(namespace=pod.namespace, name=pod.name, uid=pod.uid, seconds=round(seconds, 6))


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRefused(Event):
    """The pod may not run here (ALLOC-20); what it had taken is free again."""

    namespace: str
    name: str
    uid: PodUid
    reason: str
    message: str
    rule: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRemoved(Event):
    namespace: str
    name: str
    uid: PodUid
    freed: Mapping[ResourceName, tuple[DeviceId, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStarted(Event):
    pod_uid: PodUid
    container: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerNotStarted(Event):
    pod_uid: PodUid
    container: str
    rule: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersConflicted(Event):
    """Two resources gave one container the same key with different values; the first one won (RUN-6)."""

    pod_uid: PodUid
    container: str
    part: str
    key: str
    kept: ResourceName
    ignored: ResourceName


@dataclass(frozen=True, slots=True, kw_only=True)
class PodResourcesCalled(Event):
    """A client asked PodResources: ``method`` is list, get_allocatable or get; ``failed`` as the caller saw it."""

    method: str
    version: str
    failed: bool

    @property
    def severity(self) -> Severity:
        return Severity.DEBUG

    @property
    def is_remembered(self) -> bool:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFinished(Event):
    """One call to a plug-in ended. ``outcome`` is a gRPC status name; ``seconds`` is how long it took."""

    resource: str
    method: str
    seconds: float
    outcome: str

    @property
    def severity(self) -> Severity:
        return Severity.DEBUG if self.outcome in ("OK", "CANCELLED") else Severity.WARNING


_WARNINGS = (
    RegistrySocketRestored,
    FileSetAside,
    CheckpointFailed,
    PluginRefused,
    ReportNormalised,
    EndpointStopped,
    ResourceRemoved,
    PodRefused,
    ContainerNotStarted,
    AnswersConflicted,
)


def as_json(event: Event) -> dict[str, Any]:
    """The event as a JSON-ready dictionary; its kind stands first, under ``event``."""
    return {"event": type(event).__name__, **dataclasses.asdict(event)}
