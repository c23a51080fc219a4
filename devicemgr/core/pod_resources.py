"""What the PodResources API tells: who holds which devices, and which there are to have (PR-3…PR-7).

A device stands once *per NUMA node*, each time with at most one node (PR-4): whoever counts devices must count
different ids. One without topology, or with an empty one, stands once without a node; the kubelet leaves the latter
out of GetAllocatableResources altogether (LIM-12).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..model import ContainerKind, DeviceId, Owner, Pod, ResourceName
from .checkpoint import NO_NUMA_NODE
from .holdings import in_order
from .store import DeviceStore

LASTING = (ContainerKind.SIDECAR, ContainerKind.MAIN)
"""What v1 lists: ordinary init containers are left out (PR-3)."""
MAIN_ONLY = (ContainerKind.MAIN,)
"""What v1alpha1 lists (PR-7)."""


@dataclass(frozen=True, slots=True)
class DeviceOnNode:
    """``node`` is None without topology."""

    resource: ResourceName
    device: DeviceId
    node: int | None


@dataclass(frozen=True, slots=True)
class PodDevices:
    """Every container stands here, in the order of the spec, also one without devices."""

    namespace: str
    name: str
    containers: tuple[tuple[str, tuple[DeviceOnNode, ...]], ...]


def devices_of_pod(store: DeviceStore, pod: Pod, kinds: tuple[ContainerKind, ...]) -> PodDevices:
    """One pod's containers of these kinds; NUMA nodes are those of the time of allocation (PR-4, LW-6)."""
    containers = tuple(
        (container.name, tuple(_held(store, Owner(pod.uid, container.name))))
        for kind in kinds
        for container in pod.containers
        if container.kind is kind
    )
    return PodDevices(pod.namespace, pod.name, containers)


def named_pods(store: DeviceStore, kinds: tuple[ContainerKind, ...]) -> tuple[PodDevices, ...]:
    """Every pod that is here; one from a kubelet's checkpoint has no name, and is not among them."""
    return tuple(devices_of_pod(store, pod, kinds) for pod in store.pods if pod.name)


def allocatable_devices(store: DeviceStore) -> tuple[DeviceOnNode, ...]:
    """Every healthy device, held or not; none of a plug-in that is away (PR-5)."""
    return tuple(
        on_node
        for resource, device in store.healthy_devices()
        for on_node in on_nodes(resource, device.id, device.numa_nodes)
    )


def _held(store: DeviceStore, owner: Owner) -> Iterator[DeviceOnNode]:
    for resource, assignment in sorted(store.assignments(owner).items()):
        for device in in_order(assignment.devices):
            yield from on_nodes(resource, device, assignment.devices[device])


def on_nodes(resource: ResourceName, device: DeviceId, nodes: Iterable[int] | None) -> Iterator[DeviceOnNode]:
    known = sorted(node for node in nodes or () if node != NO_NUMA_NODE)
    for node in known:
        yield DeviceOnNode(resource, device, node)
    if not known:
        yield DeviceOnNode(resource, device, None)
