"""The versions of Kubernetes between which a node may choose, and the feature gates with which the kubelet of each does
not start.

What a version selects, and what it does not, is in ``rules/gates-and-versions.md``.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

VERSIONS = ("1.36", "1.37")
LATEST = VERSIONS[-1]


def why_not_a_version(text: str) -> str | None:
    return None if text in VERSIONS else f"must be {' or '.join(VERSIONS)}"


KubernetesVersion: TypeAlias = Annotated[str, why_not_a_version]
"""For the argument of a function that is ``arguments.checked``."""


def why_kubelet_refuses(gate: str, is_on: bool, version: str) -> str | None:
    """The kubelet's words for a gate that keeps it from starting. None if there is nothing wrong with the gate, or if
    it has nothing to do with pods and devices: only those that have are known here (D37-24)."""
    if gate in _ABSENT[version]:
        return f"unrecognized feature gate: {gate}"
    if gate in _LOCKED_ON[version] and not is_on:
        return f"cannot set feature gate {gate} to false, feature is locked to true"
    return None


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ABSENT = {
    "1.36": _names(
        """DRADerivedAttributes DRADeviceCompatibilityGroups DRAFractionalCapacityRange DRAOptionalNodeOperations
        DRAPartitionableDevicesType DefaultPodSysctls HugepageAwareEviction
        InPlacePodVerticalScalingMemoryBackedVolumes InPlacePodVerticalScalingSchedulerPreemption
        KubeletAllocatedPodsEndpoint PodLevelResourcesFixDefaulting PodLevelResourcesFixKubeletQOSClass"""
    ),
    "1.37": _names("SidecarContainers"),
}
_LOCKED_IN_BOTH = _names(
    """DynamicResourceAllocation InPlacePodVerticalScaling KubeletPodResourcesDynamicResources KubeletPodResourcesGet
    TopologyManagerPolicyOptions"""
)
_LOCKED_ON = {
    "1.36": _LOCKED_IN_BOTH | {"SidecarContainers"},
    "1.37": _LOCKED_IN_BOTH
    | _names(
        """DRAExtendedResource DRAPrioritizedList DRAResourceClaimDeviceStatus InPlacePodVerticalScalingInitContainers
        NodeDeclaredFeatures"""
    ),
}
