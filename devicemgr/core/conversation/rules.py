"""The item of the book that explains an event: by the event's name, and for a call by its method as well."""

from __future__ import annotations

from collections.abc import Mapping

RULES: Mapping[str, str] = {
    "RegistrationRequested": "REG-3",
    "PluginDiscovered": "REG-16",
    "PluginRegistered": "REG-13",
    "PluginStandsBy": "REG-10",
    "PluginPromoted": "LW-8",
    "PluginEnded": "LW-8",
    "PluginRefused": "REG-5",
    "PluginSocketFailed": "REG-16",
    "PluginDirectoryUnwatched": "LIM-35",
    "ResourceContended": "REG-10",
    "DeviceListReceived": "LW-2",
    "DeviceListApplied": "LW-2",
    "DeviceListNormalised": "LIM-16",
    "DeviceHealthChanged": "RHS-6",
    "EndpointStopped": "LW-8",
    "ResourceRemoved": "CAP-3",
    "GetDevicePluginOptions": "REG-8",
    "ListAndWatch": "LW-1",
    "GetPreferredAllocation": "ALLOC-18",
    "Allocate": "ALLOC-5f",
    "PreStartContainer": "RUN-2",
    "PodAdmissionRequested": "ALLOC-2",
    "DevicesAllocated": "ALLOC-7",
    "PodWaiting": "LIM-32",
    "PodAligned": "TM-13",
    "PodAdmitted": "ALLOC-1",
    "PodRefused": "ALLOC-20",
    "PodRemoved": "GC-1",
    "ContainerStarted": "RUN-6",
    "ContainerNotStarted": "RUN-1",
    "AnswersConflicted": "RUN-6",
    "PodResourcesCalled": "PR-1",
    "StaleSocketRemoved": "REG-17",
    "SocketRestored": "LIM-36",
    "StateRestored": "REG-19",
    "FileSetAside": "LIM-10",
    "DirectoryOpenToOthers": "API-11",
}
"""Events that have a rule of their own (a refusal) name that one instead. The narrator knows a better one of a
registration that replaces another, and of a list with unhealthy devices."""
