"""What a kubelet says on its PodResources socket, as values (API-5).

Kubelets list pods and devices in no order (PR-4), so everything but containers is sorted here: then equal states are
equal values. A message of v1alpha1 is one of v1 that lacks most fields (API-6).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...model import DeviceId, ResourceName, natural_order
from ..stubs import v1 as wire

Nodes = tuple[int, ...]
"""NUMA nodes, in order; none when the kubelet names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBlock:
    """Memory, or huge pages, that the kubelet's memory manager reserves; ``size`` is in bytes."""

    type: str
    size: int
    numa_nodes: Nodes = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedDevice:
    """One device of a claim of Dynamic Resource Allocation. Its share has an id if several claims share the device."""

    driver: str
    pool: str
    device: str
    share_id: str | None = None
    cdi_devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A ResourceClaim that a container uses; other containers may use the same one."""

    namespace: str
    name: str
    devices: tuple[ClaimedDevice, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedResources:
    """What a container or a pod holds, or what can be allocated. ``devices`` has each device once, with its nodes, and
    ``cpus`` the exclusive CPUs."""

    devices: Mapping[ResourceName, Mapping[DeviceId, Nodes]] = field(default_factory=dict)
    cpus: tuple[int, ...] = ()
    memory: tuple[MemoryBlock, ...] = ()
    claims: tuple[Claim, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.devices or self.cpus or self.memory or self.claims)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedContainer:
    name: str
    held: ListedResources


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPod:
    """``held`` is what the pod holds as a whole (v1.37); its containers hold parts of it. ``containers`` are sidecars
    and main containers: kubelets list no other ones (PR-3)."""

    namespace: str
    name: str
    containers: tuple[ListedContainer, ...]
    held: ListedResources


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeletAnswer:
    """``api`` is v1 or v1alpha1. Where the kubelet does not say what can be allocated, ``allocatable`` is None and
    ``reason`` says why."""

    api: str
    pods: tuple[ListedPod, ...]
    allocatable: ListedResources | None
    reason: str = ""


def pods_from_wire(message: wire.ListPodResourcesResponse) -> tuple[ListedPod, ...]:
    pods = [
        ListedPod(
            namespace=pod.namespace,
            name=pod.name,
            containers=tuple(_container(one) for one in pod.containers),
            held=ListedResources(cpus=_cpus(pod.cpu_ids), memory=_memory(pod.memory)),
        )
        for pod in message.pod_resources
    ]
    return tuple(sorted(pods, key=lambda pod: (natural_order(pod.namespace), natural_order(pod.name))))


def allocatable_from_wire(message: wire.AllocatableResourcesResponse) -> ListedResources:
    return ListedResources(
        devices=_devices(message.devices), cpus=_cpus(message.cpu_ids), memory=_memory(message.memory)
    )


def _container(container: wire.ContainerResources) -> ListedContainer:
    held = ListedResources(
        devices=_devices(container.devices),
        cpus=_cpus(container.cpu_ids),
        memory=_memory(container.memory),
        claims=_claims(container.dynamic_resources),
    )
    return ListedContainer(name=container.name, held=held)


def _devices(entries: Iterable[wire.ContainerDevices]) -> dict[ResourceName, dict[DeviceId, Nodes]]:
    """A device of two nodes has two entries, each with one node (PR-4)."""
    found: dict[ResourceName, dict[DeviceId, set[int]]] = {}
    for entry in entries:
        devices = found.setdefault(entry.resource_name, {})
        for id in entry.device_ids:
            devices.setdefault(id, set()).update(_nodes(entry.topology))
    return {
        resource: {id: tuple(sorted(devices[id])) for id in sorted(devices, key=natural_order)}
        for resource, devices in sorted(found.items())
    }


def _nodes(topology: wire.TopologyInfo | None) -> Nodes:
    return tuple(sorted({node.id for node in topology.nodes})) if topology else ()


def _cpus(ids: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(set(ids)))


def _memory(blocks: Iterable[wire.ContainerMemory]) -> tuple[MemoryBlock, ...]:
    found = [MemoryBlock(type=one.memory_type, size=one.size, numa_nodes=_nodes(one.topology)) for one in blocks]
    return tuple(sorted(found, key=lambda block: (block.type, block.numa_nodes, block.size)))


def _claims(entries: Iterable[wire.DynamicResource]) -> tuple[Claim, ...]:
    claims = [
        Claim(
            namespace=one.claim_namespace,
            name=one.claim_name,
            devices=tuple(sorted(map(_claimed, one.claim_resources), key=_claimed_order)),
        )
        for one in entries
    ]
    return tuple(sorted(claims, key=lambda claim: (claim.namespace, claim.name)))


def _claimed(one: wire.ClaimResource) -> ClaimedDevice:
    return ClaimedDevice(
        driver=one.driver_name,
        pool=one.pool_name,
        device=one.device_name,
        share_id=one.share_id,
        cdi_devices=tuple(cdi.name for cdi in one.cdi_devices),
    )


def _claimed_order(one: ClaimedDevice) -> Any:
    return one.driver, one.pool, natural_order(one.device), one.share_id or "", one.cdi_devices
