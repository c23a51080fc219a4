"""Every fact the manager can report, in the past tense.

A mutation of the core returns the events it caused; nothing else is its output. The trace, the log, the
``events`` verb and the golden tests all show these same values, through :func:`as_json`.
"""

from .base import Event, Severity, as_json
from .lifetime import (
    CheckpointFailed,
    CheckpointWritten,
    FaultInjected,
    FileSetAside,
    ManagerReady,
    ManagerStopping,
    RegistrySocketRestored,
    StaleSocketRemoved,
    StateRestored,
)
from .plugins import (
    BoundReached,
    CallFinished,
    DeviceHealthChanged,
    EndpointStopped,
    ListReceived,
    PluginDirectoryUnwatched,
    PluginRefused,
    PluginRegistered,
    PluginSocketFailed,
    RegistrationRequested,
    ReportApplied,
    ReportNormalised,
    ResourceRemoved,
)
from .pods import (
    AnswersConflicted,
    ContainerNotStarted,
    ContainerStarted,
    DevicesAllocated,
    PodAdmitted,
    PodAligned,
    PodRefused,
    PodRemoved,
    PodResourcesCalled,
    PodWaiting,
)

__all__ = [
    "AnswersConflicted",
    "BoundReached",
    "CallFinished",
    "CheckpointFailed",
    "CheckpointWritten",
    "ContainerNotStarted",
    "ContainerStarted",
    "DeviceHealthChanged",
    "DevicesAllocated",
    "EndpointStopped",
    "Event",
    "FaultInjected",
    "FileSetAside",
    "ListReceived",
    "ManagerReady",
    "ManagerStopping",
    "PluginDirectoryUnwatched",
    "PluginRefused",
    "PluginRegistered",
    "PluginSocketFailed",
    "PodAdmitted",
    "PodAligned",
    "PodRefused",
    "PodRemoved",
    "PodResourcesCalled",
    "PodWaiting",
    "RegistrationRequested",
    "RegistrySocketRestored",
    "ReportApplied",
    "ReportNormalised",
    "ResourceRemoved",
    "Severity",
    "StaleSocketRemoved",
    "StateRestored",
    "as_json",
]
