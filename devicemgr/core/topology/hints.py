"""Hints: on which NUMA nodes a request could be satisfied, from the devices of one resource (TM-6…TM-9).

A *hint* is a set of nodes on which it could be, and whether that set is *preferred*: as narrow as this machine could
ever offer. For one resource there are three different answers:

* no hint list (None): the resource has no preference, any node will do;
* an empty hint list: impossible, whatever the nodes;
* some hints: one of these.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache

from ...model import Container, DeviceId, Owner, Pod, ResourceName
from ..devices.free_devices import NodeSet
from ..devices.pod_devices import pod_request
from ..devices.store import DeviceStore
from .node_search import Demand, Demands, SearchBudget, bits_of, fewest_nodes, sets_that_meet
from .numa import Mask, Numa, mask_of, nodes_of, subsets


@dataclass(frozen=True, slots=True)
class Hint:
    """``affinity`` is a mask of NUMA nodes, or None for "any"."""

    affinity: Mask | None
    preferred: bool

    def __str__(self) -> str:
        nodes = "any node" if self.affinity is None else f"nodes {{{','.join(map(str, nodes_of(self.affinity)))}}}"
        return f"{nodes} ({'preferred' if self.preferred else 'not preferred'})"


FEW_NODES = 8
"""The kubelet's default limit. 255 masks can still be looked at one by one when a search costs too much."""
_NO_NODES: NodeSet = frozenset()
Counts = Mapping[NodeSet, int]
"""The number of devices by place. What hints cost depends on the number of places, not of devices."""


@dataclass(frozen=True, slots=True)
class DeviceHints:
    """All hints of one resource, as a condition and not as a list: every mask over ``nodes`` that meets ``demands``.

    There may be 2^n of them; ``node_search`` answers what a merge has to know without making them. Iteration yields
    them in the kubelet's order. Preferred are those as narrow as the narrowest mask that meets ``possible``.
    """

    nodes: Mask
    demands: Demands
    possible: Demand

    def preferred_size(self, budget: SearchBudget) -> int:
        return fewest_nodes((self.possible,), self.nodes, budget) or self.nodes.bit_count()

    def narrowest_size(self, budget: SearchBudget) -> int:
        return fewest_nodes(self.demands, self.nodes, budget) or self.nodes.bit_count()

    def of_one_node(self) -> list[Hint]:
        """The preferred hints for exactly one node; none when no single node could ever be enough."""
        could = any(_is_met((self.possible,), bit) for bit in bits_of(self.nodes)) or self.nodes.bit_count() == 1
        return [_hint(bit, True) for bit in bits_of(self.nodes) if could and _is_met(self.demands, bit)]

    @property
    def are_of_few_nodes(self) -> bool:
        return self.nodes.bit_count() <= FEW_NODES

    def as_list(self) -> list[Hint]:
        """All hints, by looking at every mask; for few nodes only."""
        masks = list(subsets(nodes_of(self.nodes)))
        could = (mask.bit_count() for mask in masks if _is_met((self.possible,), mask))
        preferred = min(could, default=self.nodes.bit_count())
        return [_hint(mask, mask.bit_count() == preferred) for mask in masks if _is_met(self.demands, mask)]

    def iterate(self, budget: SearchBudget) -> Iterator[Hint]:
        """Yield the hints in the kubelet's order. May raise SearchBudgetExceeded after some of them."""
        if self.are_of_few_nodes:
            yield from self.as_list()
            return
        preferred = self.preferred_size(budget)
        for mask in sets_that_meet(self.demands, self.nodes, budget):
            yield _hint(mask, mask.bit_count() == preferred)

    def __iter__(self) -> Iterator[Hint]:
        return self.iterate(SearchBudget(sys.maxsize))


HintList = Sequence[Hint] | DeviceHints
Hints = Mapping[ResourceName, HintList | None]
"""By resource: its hints, [] for impossible, None for no preference."""


def candidate_nodes(places: Iterable[NodeSet], machine: Sequence[int]) -> tuple[int, ...]:
    """The machine's nodes that host a device of the resource; all of the machine's when there is none (TM-8)."""
    hosting = {node for place in places for node in place} & set(machine)
    return tuple(sorted(hosting)) or tuple(machine)


def absent_nodes(store: DeviceStore, hints: Hints, numa: Numa) -> dict[ResourceName, tuple[int, ...]]:
    """For each impossible resource, the nodes that its devices name and this machine does not have."""
    found = {
        resource: {node for place in store.free_devices(resource).node_sets for node in place} - set(numa.nodes)
        for resource, listed in hints.items()
        if listed is not None and not listed
    }
    return {resource: tuple(sorted(nodes)) for resource, nodes in found.items() if nodes}


def generate_hints(
    free: Counts, *, reusable: Iterable[NodeSet], request: int, nodes: Sequence[int], possible: Counts
) -> HintList:
    """The masks over ``nodes`` that can serve ``request`` devices now; preferred are the narrowest possible ones.

    ``reusable`` has the place of each device that must be taken over. ``possible`` counts the devices that could serve,
    held or not: a narrow mask that is busy today makes a wide one *not preferred*. Source: TM-8, steps 1 to 4.
    """
    there = mask_of(nodes)
    must = [_mask_of(place) for place in reusable if place]
    taken_over = (Demand.of(1, [(place, 1)], there) for place in dict.fromkeys(must))
    demands = (Demand.of(request - len(must), _by_mask(free), there), *taken_over)
    if not all(demand.can_be_met for demand in demands):
        return []
    return DeviceHints(there, demands, Demand.of(request, _by_mask(possible), there))


def _by_mask(counts: Counts) -> Iterable[tuple[Mask, int]]:
    return ((_mask_of(place), count) for place, count in counts.items())


_mask_of = lru_cache(maxsize=4096)(mask_of)
"""Places are the same objects for every pod."""


def _is_met(demands: Demands, mask: Mask) -> bool:
    return all(demand.after(mask, 0).need <= 0 for demand in demands)


@lru_cache(maxsize=2048)
def _hint(mask: Mask, preferred: bool) -> Hint:
    """Cached, because all pods share the same few hundred values."""
    return Hint(mask, preferred)


def resource_hints(
    store: DeviceStore,
    resource: ResourceName,
    request: int,
    *,
    held: AbstractSet[DeviceId],
    reusable: AbstractSet[DeviceId],
    numa: Numa,
) -> HintList | None:
    """The hints of one resource; ``held`` are the devices of it that the container or pod holds already (TM-7)."""
    # Decision (LIM-13): a request that the devices with NUMA data alone cannot satisfy may use those without, which
    # fit every node. The kubelet calls it impossible though enough devices are free. And unhealthy devices do not
    # count for what the machine could offer; held ones do, or *restricted* would mean nothing on a busy node.
    devices = store.free_devices(resource)
    if not devices.has_topology:  # an empty topology is none (LIM-12)
        return None
    taken_over = [] if held else list(map(devices.nodes_of, reusable))
    free = Counter(map(devices.nodes_of, held)) if held else devices.free_counts(without=reusable)
    there = sum(free.values()) + len(taken_over)
    if there < request or (held and there != request):
        return []

    def generate(wanted: int) -> HintList:
        nodes = candidate_nodes(devices.node_sets, numa.nodes)
        return generate_hints(free, reusable=taken_over, request=wanted, nodes=nodes, possible=devices.healthy_counts)

    unplaced = free.get(_NO_NODES, 0) + taken_over.count(_NO_NODES)
    return generate(request) or (generate(max(request - unplaced, 0)) if unplaced else [])


def container_hints(
    store: DeviceStore,
    owner: Owner,
    container: Container,
    reusable: Mapping[ResourceName, AbstractSet[DeviceId]],
    numa: Numa,
) -> dict[ResourceName, HintList | None]:
    """Container scope: what this container requests, with the devices it could take over (TM-7, TM-14)."""
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
        if count and store.is_known(resource)  # a limit of 0 requests nothing (LIM-15)
    }


def pod_hints(store: DeviceStore, pod: Pod, numa: Numa) -> dict[ResourceName, HintList | None]:
    """Pod scope: what all containers request together; reusable devices are not considered (TM-7, TM-9)."""
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
