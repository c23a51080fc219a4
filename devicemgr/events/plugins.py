"""What plug-ins did: registered, reported, stopped, answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..model import Device, DeviceId, PodUid, ResourceName
from .base import Event, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationRequested(Event):
    """Register was called. Nothing is validated yet (REG-3)."""

    _severity: ClassVar[Severity] = Severity.DEBUG

    version: str
    endpoint: str
    resource: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginDiscovered(Event):
    """A plug-in with a socket in plugins_registry answered GetInfo. Nothing is validated yet (REG-16).

    ``resource`` is the name that it gave.
    """

    _severity: ClassVar[Severity] = Severity.DEBUG

    path: str
    type: str
    versions: tuple[str, ...]
    endpoint: str
    resource: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginRegistered(Event):
    """A plug-in answered and serves the resource from now on. ``replaced`` says that another one did before: it stands
    by, or is disconnected if its socket was the same."""

    resource: ResourceName
    endpoint: str
    generation: int
    pre_start_required: bool
    get_preferred_allocation_available: bool
    replaced: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginStandsBy(Event):
    """A plug-in on another socket serves from now on, and this one stands by: its stream stays open, but it is not
    asked, and its lists do not count once a newer one has sent one (REG-9, REG-10)."""

    resource: ResourceName
    endpoint: str
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginPromoted(Event):
    """A plug-in that stood by serves again, because the stream of the one that served has ended. Its last list is in
    force at once (LW-8)."""

    resource: ResourceName
    endpoint: str
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginEnded(Event):
    """The stream of a plug-in ended, and another one of the resource serves or takes over. No device is lost (LW-8)."""

    resource: ResourceName
    endpoint: str
    generation: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginRefused(Event):
    """A registration failed. The plug-in that served the resource before is not affected (LIM-3)."""

    _severity: ClassVar[Severity] = Severity.WARNING

    resource: str
    endpoint: str
    rule: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceContended(Event):
    """Plug-ins replace each other again and again, because each registers again when another one has replaced it
    (REG-10). Stop all but one of them; until then each serves for some seconds. Reported again only after a minute
    without replacements."""

    _severity: ClassVar[Severity] = Severity.WARNING

    resource: ResourceName
    claimants: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginSocketFailed(Event):
    """The plug-in of a socket in plugins_registry could not be registered. The next attempt is after ``retry_after``
    seconds; if that is None, there is none until the socket is recreated."""

    _severity: ClassVar[Severity] = Severity.WARNING

    path: str
    problem: str
    attempt: int
    retry_after: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginDirectoryUnwatched(Event):
    """The kernel does not report changes of a directory, so it is scanned every second (LIM-35)."""

    _severity: ClassVar[Severity] = Severity.WARNING

    path: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceListReceived(Event):
    """A message of a ListAndWatch stream, as it was received (LW-2)."""

    _severity: ClassVar[Severity] = Severity.DEBUG
    is_remembered: ClassVar[bool] = False

    resource: ResourceName
    generation: int
    devices: tuple[Device, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceListApplied(Event):
    """The list of the plug-in of this ``generation`` was applied (LW-3). ``added``, ``removed`` and ``changed`` compare
    it with the list before; ``unhealthy`` says which of those that are named are unhealthy now.

    Each names a few devices only; ``omitted`` is the number of all others. A long list of a plug-in that stood by
    before is not compared: none is named, and ``omitted`` is the number of its devices.
    """

    resource: ResourceName
    generation: int
    capacity: int
    allocatable: int
    added: tuple[DeviceId, ...]
    removed: tuple[DeviceId, ...]
    changed: tuple[DeviceId, ...]
    unhealthy: tuple[DeviceId, ...] = ()
    omitted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceListNormalised(Event):
    """Part of a list was invalid and was corrected or left out (LIM-16). ``devices`` names the first ten."""

    _severity: ClassVar[Severity] = Severity.WARNING

    resource: ResourceName
    problem: str
    count: int
    devices: tuple[DeviceId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerLimitReached(Event):
    """A peer exceeded one of the peer limits: ``limit`` names it, ``peer`` is a resource or a process, ``times`` is how
    often it happened since the last such event."""

    _severity: ClassVar[Severity] = Severity.WARNING

    limit: str
    peer: str
    times: int
    consequence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocateAnswerFlagged(Event):
    """An Allocate answer contains ``texts`` that are probably a mistake. They are passed on, as by the kubelet."""

    _severity: ClassVar[Severity] = Severity.WARNING

    resource: ResourceName
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallsDenied(Event):
    """A user without permission called, ``times`` times since the last such event. The answer was PERMISSION_DENIED."""

    _severity: ClassVar[Severity] = Severity.WARNING

    socket: str
    method: str
    pid: int
    uid: int
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionBroken(Event):
    """A process violated the protocol, and its connection was closed, ``times`` times since the last such event."""

    _severity: ClassVar[Severity] = Severity.WARNING

    pid: int
    uid: int
    times: int
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceHealthChanged(Event):
    """A device that a container holds is now Healthy, Unhealthy or Unknown. The container runs on (RHS-4, RHS-6)."""

    pod_uid: PodUid
    container: str
    resource: ResourceName
    device: DeviceId
    health: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStopped(Event):
    """The stream of the resource's last plug-in ended. The devices count as unhealthy (LW-8), and the resource is
    removed if no plug-in registers within the grace period (LW-11)."""

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
    """One call to a plug-in ended after ``seconds``. ``outcome`` is the name of a gRPC status.

    ``endpoint`` is its socket. ``sent`` and ``received`` are the request and the response in short, or the text of the
    error: at most some hundred characters.
    """

    resource: str
    method: str
    seconds: float
    outcome: str
    endpoint: str = ""
    sent: str = ""
    received: str = ""

    @property
    def severity(self) -> Severity:
        return Severity.DEBUG if self.outcome in ("OK", "CANCELLED") else Severity.WARNING
