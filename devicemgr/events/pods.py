"""What became of pods and their containers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..model import DeviceId, Pod, PodUid, ResourceName
from .base import Event, Severity


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

    _severity: ClassVar[Severity] = Severity.DEBUG

    pod_uid: PodUid
    scope: str
    aligned: bool


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

    _severity: ClassVar[Severity] = Severity.WARNING

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
    _severity: ClassVar[Severity] = Severity.WARNING

    pod_uid: PodUid
    container: str
    rule: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersConflicted(Event):
    """Two resources gave one container the same key with different values; the first one won (RUN-6)."""

    _severity: ClassVar[Severity] = Severity.WARNING

    pod_uid: PodUid
    container: str
    part: str
    key: str
    kept: ResourceName
    ignored: ResourceName


@dataclass(frozen=True, slots=True, kw_only=True)
class PodResourcesCalled(Event):
    """A client asked PodResources: ``method`` is list, get_allocatable or get; ``failed`` as the caller saw it."""

    _severity: ClassVar[Severity] = Severity.DEBUG
    is_remembered: ClassVar[bool] = False

    method: str
    version: str
    failed: bool
