"""Every fact the manager can report, in the past tense.

A mutation of the core returns the events it caused; nothing else is its output. The trace, the log, the
``events`` verb and the golden tests all show these same values, through :func:`as_json`.

``base``      what all events have in common, and their JSON
``lifetime``  the manager itself: start, end, files, sockets
``plugins``   plug-ins, their lists and calls, and peers that exceeded a limit
``pods``      pods: admitted, refused, started, removed
``summary``   devices and answers in short
"""

from .base import Event, Severity, as_json
from .lifetime import (
    CheckpointFailed,
    CheckpointLost,
    CheckpointWritten,
    DirectoryOpenToOthers,
    FaultInjected,
    FileSetAside,
    ManagerReady,
    ManagerStopping,
    SocketReplaced,
    SocketRestored,
    StaleSocketRemoved,
    StateRestored,
)
from .plugins import (
    AllocateAnswerFlagged,
    CallFinished,
    CallsDenied,
    ConnectionBroken,
    DeviceHealthChanged,
    DeviceListApplied,
    DeviceListNormalised,
    DeviceListReceived,
    EndpointStopped,
    PeerLimitReached,
    PluginDirectoryUnwatched,
    PluginDiscovered,
    PluginEnded,
    PluginPromoted,
    PluginRefused,
    PluginRegistered,
    PluginSocketFailed,
    PluginStandsBy,
    RegistrationRequested,
    ResourceContended,
    ResourceRemoved,
)
from .pods import (
    AnswersConflicted,
    ContainerNotStarted,
    ContainerStarted,
    DevicesAllocated,
    PodAdmissionRequested,
    PodAdmitted,
    PodAligned,
    PodRefused,
    PodRemoved,
    PodResourcesCalled,
    PodWaiting,
)

__all__ = [
    "AllocateAnswerFlagged",
    "AnswersConflicted",
    "CallFinished",
    "CallsDenied",
    "CheckpointFailed",
    "CheckpointLost",
    "CheckpointWritten",
    "ConnectionBroken",
    "ContainerNotStarted",
    "ContainerStarted",
    "DeviceHealthChanged",
    "DeviceListApplied",
    "DeviceListNormalised",
    "DeviceListReceived",
    "DevicesAllocated",
    "DirectoryOpenToOthers",
    "EndpointStopped",
    "Event",
    "FaultInjected",
    "FileSetAside",
    "ManagerReady",
    "ManagerStopping",
    "PeerLimitReached",
    "PluginDirectoryUnwatched",
    "PluginDiscovered",
    "PluginEnded",
    "PluginPromoted",
    "PluginRefused",
    "PluginRegistered",
    "PluginSocketFailed",
    "PluginStandsBy",
    "PodAdmissionRequested",
    "PodAdmitted",
    "PodAligned",
    "PodRefused",
    "PodRemoved",
    "PodResourcesCalled",
    "PodWaiting",
    "RegistrationRequested",
    "ResourceContended",
    "ResourceRemoved",
    "Severity",
    "SocketReplaced",
    "SocketRestored",
    "StaleSocketRemoved",
    "StateRestored",
    "as_json",
]
