"""The manager itself: its start and end, its sockets and its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..model import DeviceId, PodUid, ResourceName
from .base import Event, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerReady(Event):
    """Every socket accepts. The rest are the settings in effect; ``peer_limits`` has those that are not the default."""

    sockets: tuple[str, ...]
    policy: str
    scope: str
    numa_nodes: tuple[int, ...]
    gates: tuple[str, ...]
    kubernetes_version: str
    peer_limits: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerStopping(Event):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class NurseryOpened(Event):
    """One of the manager's nurseries was opened: those of the picture in ``daemon/supervisor.py``, outermost first."""

    _severity: ClassVar[Severity] = Severity.DEBUG
    is_remembered: ClassVar[bool] = False

    nursery: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NurseryClosed(Event):
    """It has ended, and every task that was in it. They end innermost first."""

    _severity: ClassVar[Severity] = Severity.DEBUG
    is_remembered: ClassVar[bool] = False

    nursery: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleSocketRemoved(Event):
    """A socket of an earlier run was deleted, which is the plug-in's sign to register again (REG-17)."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketRestored(Event):
    """One of our sockets was deleted while the manager ran, and was created again (LIM-36)."""

    _severity: ClassVar[Severity] = Severity.WARNING

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketReplaced(Event):
    """One of our sockets was replaced by something else, which is left alone: callers do not reach us there."""

    _severity: ClassVar[Severity] = Severity.WARNING

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRestored(Event):
    """The state of an earlier run: resources whose plug-ins are expected back, and pods with their devices (REG-19).

    ``removed`` are published as 0 until that is acknowledged (LIM-5). ``skipped`` counts entries whose answer could not
    be read (CKPT-9).
    """

    resources: tuple[ResourceName, ...]
    removed: tuple[ResourceName, ...]
    pods: tuple[str, ...]
    devices: int
    rebooted: bool
    skipped: int

    @property
    def severity(self) -> Severity:
        return Severity.WARNING if self.skipped else Severity.INFO


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRestored(Event):
    """A pod of an earlier run, for those who read a trace."""

    _severity: ClassVar[Severity] = Severity.DEBUG
    is_remembered: ClassVar[bool] = False

    namespace: str
    name: str
    uid: PodUid


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentRestored(Event):
    """What a container has held since an earlier run; the NUMA nodes of each device are those of the allocation."""

    _severity: ClassVar[Severity] = Severity.DEBUG
    is_remembered: ClassVar[bool] = False

    pod_uid: PodUid
    container: str
    resource: ResourceName
    devices: Mapping[DeviceId, tuple[int, ...] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSetAside(Event):
    """A file that could not be trusted, or something at the path of one of our files, was renamed; ``used`` is the
    generation that was read instead, or empty (LIM-10)."""

    _severity: ClassVar[Severity] = Severity.WARNING

    path: str
    moved_to: str
    problem: str
    used: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryOpenToOthers(Event):
    """Others can remove and replace our files in this directory, which existed before. It is used nevertheless, as a
    kubelet does (API-11)."""

    _severity: ClassVar[Severity] = Severity.WARNING

    path: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PageOpenToOthers(Event):
    """The page is served at an address of the network: who reaches it sees all pods and devices."""

    _severity: ClassVar[Severity] = Severity.WARNING

    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointWritten(Event):
    """All changes up to ``version`` are on disk; ``size`` is the checkpoint's length in bytes."""

    _severity: ClassVar[Severity] = Severity.DEBUG
    is_remembered: ClassVar[bool] = False

    version: int
    size: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointLost(Event):
    """A checkpoint was deleted, replaced or changed while the manager ran, as ``how`` says. It is written again."""

    _severity: ClassVar[Severity] = Severity.WARNING

    path: str
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFailed(Event):
    """The state could not be written. There is another attempt after the next change, or after a while."""

    _severity: ClassVar[Severity] = Severity.WARNING

    version: int
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsNotWritten(Event):
    """So many events are missing here, in a log or in a trace that is a pipe: its reader had not read what came before.
    Only there is it found."""

    _severity: ClassVar[Severity] = Severity.WARNING
    is_remembered: ClassVar[bool] = False

    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultInjected(Event):
    """A fault was injected, by a program or by the verb ``fault``."""

    _severity: ClassVar[Severity] = Severity.WARNING

    fault: str
    what: str
