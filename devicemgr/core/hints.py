"""On which NUMA nodes could a request be satisfied? Hints, from the devices of one resource (TM-6…TM-9).

A *hint* is a set of nodes that would do, and whether it is *preferred*: as narrow as this machine could ever offer.
For one resource there are three answers, and they are not the same:

* no hint list (None): the resource has no preference, any node will do;
* an empty hint list: impossible, whatever the nodes;
* some hints: one of these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from ..model import Container, DeviceId, Owner, Pod, ResourceName
from .holdings import pod_request
from .numa import Mask, Numa, mask_of, nodes_of, subsets
from .store import DeviceStore


@dataclass(frozen=True, slots=True)
class Hint:
    """``affinity`` is a mask of NUMA nodes, or None for "any"."""

    affinity: Mask | None
    preferred: bool

    def __str__(self) -> str:
        nodes = "any node" if self.affinity is None else f"nodes {{{','.join(map(str, nodes_of(self.affinity)))}}}"
        return f"{nodes} ({'preferred' if self.preferred else 'not preferred'})"


Hints = Mapping[ResourceName, Sequence[Hint] | None]
"""By resource: its hints, [] for impossible, None for no preference."""
Placement = Mapping[DeviceId, tuple[int, ...] | None]
"""By device: its NUMA nodes; None without a topology object, () with an empty one."""


def candidate_nodes(placement: Placement, machine: Sequence[int]) -> tuple[int, ...]:
    """The machine's nodes that host a device of the resource; all of the machine's when there is none (TM-8)."""
    hosting = {node for nodes in placement.values() for node in nodes or ()} & set(machine)
    return tuple(sorted(hosting)) or tuple(machine)


def generate_hints(
    placement: Placement,
    *,
    available: Iterable[DeviceId],
    reusable: Iterable[DeviceId],
    request: int,
    nodes: Sequence[int],
    counted: Placement | None = None,
) -> list[Hint]:
    """The masks over ``nodes`` that can serve ``request`` devices now; preferred are the narrowest possible ones.

    "Possible" counts the devices of ``counted`` (default: all of ``placement``), held or not: a narrow mask that is
    busy today makes a wide one *not preferred*. Devices of one place are counted together, so the cost is masks ×
    places, not masks × devices. Source: TM-8, steps 1 to 4.
    """
    places = _places((placement if counted is None else counted).values())
    free = _places(map(placement.get, available))
    must = [mask_of(at) for id in reusable if (at := placement.get(id)) is not None]
    narrowest, kept = len(nodes), []
    for mask in subsets(nodes):
        if mask.bit_count() < narrowest and _touching(places, mask) >= request:
            narrowest = mask.bit_count()
        if all(place & mask for place in must) and len(must) + _touching(free, mask) >= request:
            kept.append(mask)
    return [Hint(mask, mask.bit_count() == narrowest) for mask in kept]


def _places(topologies: Iterable[tuple[int, ...] | None]) -> list[tuple[Mask, int]]:
    """How many devices stand where."""
    return [(mask_of(nodes), count) for nodes, count in Counter(topologies).items() if nodes]


def _touching(places: list[tuple[Mask, int]], mask: Mask) -> int:
    return sum([count for place, count in places if place & mask])


def resource_hints(
    store: DeviceStore,
    resource: ResourceName,
    request: int,
    *,
    held: AbstractSet[DeviceId],
    reusable: AbstractSet[DeviceId],
    numa: Numa,
) -> list[Hint] | None:
    """The hints of one resource; ``held`` is what the asker has of it already (TM-7).

    # Decision (LIM-13): a request that the devices with NUMA data alone cannot satisfy may use those without, which
    # fit every node. The kubelet calls it impossible though enough devices are free. And unhealthy devices do not
    # count for what the machine could offer; held ones do, or *restricted* would mean nothing on a busy node.
    """
    devices = store.devices(resource)
    placement = {id: device.numa_nodes or None for id, device in devices.items()}  # empty is absent (LIM-12)
    if not any(placement.values()):
        return None
    nodes = candidate_nodes(placement, numa.nodes)
    counted = {id: placement[id] for id, device in devices.items() if device.is_healthy}
    if held:
        if len(held) != request:
            return []
        return _generate(placement, held, frozenset(), request, nodes, counted)
    available = store.available(resource)
    if len(available | reusable) < request:
        return []
    return _generate(placement, available - reusable, reusable, request, nodes, counted)


def _generate(
    placement: Placement,
    available: AbstractSet[DeviceId],
    reusable: AbstractSet[DeviceId],
    request: int,
    nodes: Sequence[int],
    counted: Placement,
) -> list[Hint]:
    def generate(wanted: int) -> list[Hint]:
        return generate_hints(
            placement, available=available, reusable=reusable, request=wanted, nodes=nodes, counted=counted
        )

    unplaced = sum(placement.get(id) is None for id in available | reusable)
    return generate(request) or (generate(max(request - unplaced, 0)) if unplaced else [])


def container_hints(
    store: DeviceStore,
    owner: Owner,
    container: Container,
    reusable: Mapping[ResourceName, AbstractSet[DeviceId]],
    numa: Numa,
) -> dict[ResourceName, list[Hint] | None]:
    """Container scope: what this container asks for, with the devices it could take over (TM-7, TM-14)."""
    records = store.assignments(owner)
    return {
        resource: resource_hints(
            store,
            resource,
            count,
            held=records[resource].devices.keys() if resource in records else frozenset(),
            reusable=reusable.get(resource, frozenset()),
            numa=numa,
        )
        for resource, count in container.limits.items()
        if count and store.is_known(resource)  # a limit of 0 asks for nothing (LIM-15)
    }


def pod_hints(store: DeviceStore, pod: Pod, numa: Numa) -> dict[ResourceName, list[Hint] | None]:
    """Pod scope: what all containers ask for together; reusable devices are not considered (TM-7, TM-9)."""
    return {
        resource: resource_hints(
            store, resource, count, held=_held_by_pod(store, pod, resource), reusable=frozenset(), numa=numa
        )
        for resource, count in pod_request(pod.containers).items()
        if count and store.is_known(resource)
    }


def _held_by_pod(store: DeviceStore, pod: Pod, resource: ResourceName) -> frozenset[DeviceId]:
    records = (store.assignments(Owner(pod.uid, container.name)).get(resource) for container in pod.containers)
    return frozenset(id for record in records if record for id in record.devices)
