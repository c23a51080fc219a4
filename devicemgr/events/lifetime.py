"""The manager itself: its start and end, its sockets and its files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..model import ResourceName
from .base import Event, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerReady(Event):
    """Every socket accepts. The rest is what the manager goes by; of ``peer_limits`` those that are not the default."""

    sockets: tuple[str, ...]
    policy: str
    scope: str
    numa_nodes: tuple[int, ...]
    gates: tuple[str, ...]
    peer_limits: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerStopping(Event):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleSocketRemoved(Event):
    """A socket of an earlier run was deleted: its plug-in's sign to register again (REG-17)."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketRestored(Event):
    """Somebody deleted kubelet.sock at run time; it was made anew (LIM-36)."""

    _severity: ClassVar[Severity] = Severity.WARNING

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketReplaced(Event):
    """Somebody put something else where one of our sockets was; it is not fought over, but callers reach others now."""

    _severity: ClassVar[Severity] = Severity.WARNING

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRestored(Event):
    """An earlier life left this: resources whose plug-ins are expected back, and pods with their devices (REG-19).

    ``skipped`` counts entries whose answer could not be read (CKPT-9).
    """

    resources: tuple[ResourceName, ...]
    pods: tuple[str, ...]
    devices: int
    rebooted: bool
    skipped: int

    @property
    def severity(self) -> Severity:
        return Severity.WARNING if self.skipped else Severity.INFO


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSetAside(Event):
    """A file could not be believed, or something stood where ours belong, and was renamed; ``used`` is the generation
    that was read instead, or empty (LIM-10)."""

    _severity: ClassVar[Severity] = Severity.WARNING

    path: str
    moved_to: str
    problem: str
    used: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryOpenToOthers(Event):
    """A directory was there before, and lets others do what they like with our files in it. It is used all the same, as
    a kubelet uses it (API-11)."""

    _severity: ClassVar[Severity] = Severity.WARNING

    path: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointWritten(Event):
    """Everything up to ``version`` is on disk; ``size`` is the checkpoint's length in bytes."""

    _severity: ClassVar[Severity] = Severity.DEBUG
    is_remembered: ClassVar[bool] = False

    version: int
    size: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointLost(Event):
    """Somebody deleted, replaced or changed what was written while we run; ``how`` says which. It is written again."""

    _severity: ClassVar[Severity] = Severity.WARNING

    path: str
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFailed(Event):
    """The state could not be written; it is tried again with the next change, and after a while."""

    _severity: ClassVar[Severity] = Severity.WARNING

    version: int
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultInjected(Event):
    """Somebody wants to see what happens when this goes wrong."""

    _severity: ClassVar[Severity] = Severity.WARNING

    fault: str
    what: str
