"""The node in a cluster: what its API server was told, and what it has answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..model import PodUid, ResourceName
from .base import Event, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRegistered(Event):
    """The Node is there; ``existed`` says that it was there before."""

    node: str
    uid: str
    existed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatusPublished(Event):
    """The extended resources that the Node publishes from now on, somebody else's among them."""

    node: str
    capacity: Mapping[ResourceName, int]
    allocatable: Mapping[ResourceName, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLeaseTaken(Event):
    """The Lease says that this agent is the node, and no other one of its name."""

    node: str
    holder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStandsBy(Event):
    """Another agent is the node of this name, as the Lease says. This one admits no pods until that one has ended, or
    has not renewed the Lease for ``seconds``."""

    _severity: ClassVar[Severity] = Severity.WARNING

    node: str
    holder: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PodStatusPublished(Event):
    """The API server has another phase of the pod than before."""

    namespace: str
    name: str
    uid: PodUid
    phase: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PodDeleted(Event):
    """The pod, which was asked to end, has ended, and the API server has no such pod any more."""

    namespace: str
    name: str
    uid: PodUid


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServerLost(Event):
    """The API server does not answer. The node runs on, and reports what has changed when it is back."""

    _severity: ClassVar[Severity] = Severity.WARNING

    server: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServerReached(Event):
    """The API server answers again, after so many seconds."""

    server: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequestRefused(Event):
    """The API server refuses something that a node has to do. It is tried again, and reported again when the answer
    changes."""

    _severity: ClassVar[Severity] = Severity.WARNING

    what: str
    problem: str
