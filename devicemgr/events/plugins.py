"""What plug-ins did: registered, reported, stopped, answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..model import Device, DeviceId, PodUid, ResourceName
from .base import Event, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationRequested(Event):
    """Somebody called Register; nothing of what they said is validated yet (REG-3)."""

    _severity: ClassVar[Severity] = Severity.DEBUG
    is_remembered: ClassVar[bool] = False

    version: str
    endpoint: str
    resource: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginDiscovered(Event):
    """The plug-in behind a socket in plugins_registry said who it is; nothing of that is validated yet (REG-16).

    ``resource`` is the name it gave.
    """

    _severity: ClassVar[Severity] = Severity.DEBUG
    is_remembered: ClassVar[bool] = False

    path: str
    type: str
    versions: tuple[str, ...]
    endpoint: str
    resource: str


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

    _severity: ClassVar[Severity] = Severity.WARNING

    resource: str
    endpoint: str
    rule: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceContended(Event):
    """Plug-ins cut each other again and again, since each registers anew when another has replaced it (REG-10). Stop
    all but one. Until then each keeps the resource for some seconds. Told once, until a minute has been calm."""

    _severity: ClassVar[Severity] = Severity.WARNING

    resource: ResourceName
    claimants: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginSocketFailed(Event):
    """A socket in plugins_registry could not be registered; it is tried again after ``retry_after`` seconds.

    None: not again before the socket itself is another one.
    """

    _severity: ClassVar[Severity] = Severity.WARNING

    path: str
    problem: str
    attempt: int
    retry_after: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginDirectoryUnwatched(Event):
    """The kernel does not tell of changes in a directory; it is looked at every second instead (LIM-35)."""

    _severity: ClassVar[Severity] = Severity.WARNING

    path: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceListReceived(Event):
    """A message of a ListAndWatch stream, as it came: nothing is mended or left out yet (LW-2)."""

    _severity: ClassVar[Severity] = Severity.DEBUG
    is_remembered: ClassVar[bool] = False

    resource: ResourceName
    generation: int
    devices: tuple[Device, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceListApplied(Event):
    """A list of devices was taken over (LW-3); the three tuples tell it from the list before.

    Each names a few devices; ``omitted`` is how many more there are of all three.
    """

    resource: ResourceName
    capacity: int
    allocatable: int
    added: tuple[DeviceId, ...]
    removed: tuple[DeviceId, ...]
    changed: tuple[DeviceId, ...]
    omitted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceListNormalised(Event):
    """Part of a report made no sense and was mended or left out (LIM-16); ``devices`` names the first ten."""

    _severity: ClassVar[Severity] = Severity.WARNING

    resource: ResourceName
    problem: str
    count: int
    devices: tuple[DeviceId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerLimitReached(Event):
    """A peer asked more of the manager than one of the peer limits allows: ``limit`` names it, ``times`` says how often
    since the last such event, ``peer`` who it was (a resource, or a process)."""

    _severity: ClassVar[Severity] = Severity.WARNING

    limit: str
    peer: str
    times: int
    consequence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocateAnswerFlagged(Event):
    """An Allocate answer has texts that nobody should find there; they were passed on, as the kubelet does."""

    _severity: ClassVar[Severity] = Severity.WARNING

    resource: ResourceName
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallsDenied(Event):
    """A user who may not call did, ``times`` times since the last such event; the answer was PERMISSION_DENIED."""

    _severity: ClassVar[Severity] = Severity.WARNING

    socket: str
    method: str
    pid: int
    uid: int
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionBroken(Event):
    """A process sent bytes that cannot be read, and its connection was closed; ``times`` since the last such event."""

    _severity: ClassVar[Severity] = Severity.WARNING

    pid: int
    uid: int
    times: int
    problem: str


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

    _severity: ClassVar[Severity] = Severity.WARNING

    resource: ResourceName
    generation: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceRemoved(Event):
    """The grace period ended: the resource is published as 0 until that is acknowledged (CAP-3, LIM-5)."""

    _severity: ClassVar[Severity] = Severity.WARNING

    resource: ResourceName


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
