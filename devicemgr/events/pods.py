"""Pods and their containers: admitted or refused, started, removed."""

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
class PodAdmissionRequested(Event):
    """A pod is to be admitted. ``limits`` is what it needs at any one time. Nothing is validated yet (ALLOC-2)."""

    _severity: ClassVar[Severity] = Severity.DEBUG

    namespace: str
    name: str
    uid: PodUid
    limits: Mapping[ResourceName, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class PodWaiting(Event):
    """The pod waits until the plug-ins of these resources are back after a restart, at most ``seconds`` (LIM-32)."""

    namespace: str
    name: str
    uid: PodUid
    resources: tuple[ResourceName, ...]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PodAligned(Event):
    """The policy single-numa-node aligned a container or a whole pod (``scope``) on one NUMA node, or refused it."""

    _severity: ClassVar[Severity] = Severity.DEBUG

    pod_uid: PodUid
    scope: str
    aligned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PodAdmitted(Event):
    """The pod has its devices, and that is on disk; ``seconds`` is how long the admission took."""

    namespace: str
    name: str
    uid: PodUid
    seconds: float

    @classmethod
    def of(cls, pod: Pod, *, seconds: float) -> PodAdmitted:
        return cls(namespace=pod.namespace, name=pod.name, uid=pod.uid, seconds=round(seconds, 6))


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRefused(Event):
    """The pod may not run here (ALLOC-20); what it had taken is released."""

    _severity: ClassVar[Severity] = Severity.WARNING

    namespace: str
    name: str
    uid: PodUid
    reason: str
    message: str
    rule: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PodAdmissionCancelled(Event):
    """Who asked does not wait for the answer any more, or the manager stops; what the pod had taken is released."""

    namespace: str
    name: str
    uid: PodUid


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
    """A client called PodResources: ``method`` is list, get_allocatable or get. ``failed``: the caller got an error."""

    _severity: ClassVar[Severity] = Severity.DEBUG
    is_remembered: ClassVar[bool] = False

    method: str
    version: str
    failed: bool
