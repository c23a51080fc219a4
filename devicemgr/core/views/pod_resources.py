"""What the PodResources API lists: which pods hold which devices, and which devices are allocatable (PR-3…PR-7).

A device is listed once *per NUMA node*, each time with one node (PR-4), so to count devices one must count different
ids. A device without topology, or with an empty one, is listed once without a node; the kubelet leaves the latter out
of GetAllocatableResources altogether (LIM-12).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ...concurrency.steps import Steps, in_chunks
from ...model import ContainerKind, DeviceId, Owner, Pod, PodUid, ResourceName
from ..checkpoint.kubelet_format import NO_NUMA_NODE
from ..devices.pod_devices import ordering
from ..devices.store import DeviceStore

V1_KINDS = (ContainerKind.SIDECAR, ContainerKind.MAIN)
"""What v1 lists: init containers are left out, except sidecars (PR-3)."""
V1ALPHA1_KINDS = (ContainerKind.MAIN,)
"""What v1alpha1 lists (PR-7)."""


@dataclass(frozen=True, slots=True)
class DeviceOnNode:
    """``node`` is None for a device without topology."""

    resource: ResourceName
    device: DeviceId
    node: int | None


@dataclass(frozen=True, slots=True)
class PodResourcesEntry:
    """``containers`` has all of them, in the order of the spec, also those without devices."""

    namespace: str
    name: str
    containers: tuple[tuple[str, tuple[DeviceOnNode, ...]], ...]


def devices_of_pod(store: DeviceStore, pod: Pod, kinds: tuple[ContainerKind, ...]) -> Steps[PodResourcesEntry]:
    """One pod's containers of these kinds; NUMA nodes are those of the time of allocation (PR-4, LW-6)."""
    (found,) = yield from _devices_of(store, [pod], kinds)
    return found


def named_pods(store: DeviceStore, kinds: tuple[ContainerKind, ...]) -> Steps[tuple[PodResourcesEntry, ...]]:
    """All pods, except those without a name, which are known from a kubelet's checkpoint only."""
    return (yield from _devices_of(store, [pod for pod in store.pods if pod.name], kinds))


def _devices_of(
    store: DeviceStore, pods: list[Pod], kinds: tuple[ContainerKind, ...]
) -> Steps[tuple[PodResourcesEntry, ...]]:
    """As they are now: everything is looked up in the first step."""
    found = [
        (pod, container.name, sorted(store.assignments(Owner(pod.uid, container.name)).items()))
        for pod in pods
        for kind in kinds
        for container in pod.containers
        if container.kind is kind
    ]
    containers: dict[PodUid, list[tuple[str, tuple[DeviceOnNode, ...]]]] = {pod.uid: [] for pod in pods}
    for pod, name, assignments in found:
        devices: list[DeviceOnNode] = []
        for resource, assignment in assignments:
            for ids in in_chunks((yield from ordering(assignment.devices))):
                devices += [one for id in ids for one in on_nodes(resource, id, assignment.devices[id])]
                yield
        containers[pod.uid].append((name, tuple(devices)))
    return tuple(PodResourcesEntry(pod.namespace, pod.name, tuple(containers[pod.uid])) for pod in pods)


def allocatable_devices(store: DeviceStore) -> Steps[tuple[DeviceOnNode, ...]]:
    """Every healthy device, held or not, as they are now (PR-5)."""
    found: list[DeviceOnNode] = []
    for resource, devices in store.served_devices():
        nodes: dict[DeviceId, tuple[int, ...] | None] = {}
        for some in in_chunks(devices):
            nodes.update((device.id, device.numa_nodes) for device in some if device.is_healthy)
            yield
        for ids in in_chunks((yield from ordering(nodes))):
            found += [one for id in ids for one in on_nodes(resource, id, nodes[id])]
            yield
    return tuple(found)


def on_nodes(resource: ResourceName, device: DeviceId, nodes: Iterable[int] | None) -> list[DeviceOnNode]:
    known = sorted(node for node in nodes or () if node != NO_NUMA_NODE)
    return [DeviceOnNode(resource, device, node) for node in known or (None,)]
