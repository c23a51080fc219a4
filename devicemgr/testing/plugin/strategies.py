"""How a plug-in can answer GetPreferredAllocation (ALLOC-7d), as vendors' plug-ins do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from ...model import DeviceId

Nodes = tuple[int, ...] | None
"""The NUMA nodes of a device. None, for one without topology, counts as a NUMA node of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferredAllocationRequest:
    """``size`` ids are wanted out of ``available``, with all of ``must_include``; ``nodes`` is where devices are."""

    available: Sequence[DeviceId]
    must_include: Sequence[DeviceId]
    size: int
    nodes: Mapping[DeviceId, Nodes]

    @property
    def others(self) -> list[DeviceId]:
        return [id for id in self.available if id not in self.must_include]

    def answer(self, others: Iterable[DeviceId]) -> list[DeviceId]:
        return [*self.must_include, *others][: self.size]

    def others_by_numa_nodes(self) -> dict[Nodes, list[DeviceId]]:
        groups: dict[Nodes, list[DeviceId]] = {}
        for id in self.others:
            groups.setdefault(self.nodes.get(id), []).append(id)
        return groups


def first(request: PreferredAllocationRequest) -> list[DeviceId]:
    """In the order of the request."""
    return request.answer(request.others)


def last(request: PreferredAllocationRequest) -> list[DeviceId]:
    """From the end of the request, and so not what the manager would choose itself."""
    return request.answer(reversed(request.others))


def packed(request: PreferredAllocationRequest) -> list[DeviceId]:
    """On as few NUMA nodes as possible: those of ``must_include`` first, then the smallest that has enough."""
    groups = request.others_by_numa_nodes()
    used = {request.nodes.get(id) for id in request.must_include}
    missing = request.size - len(request.must_include)

    def rank(nodes: Nodes) -> tuple[bool, bool, int]:
        count = len(groups[nodes])
        return nodes not in used, count < missing, count if count >= missing else -count

    return request.answer(chain.from_iterable(groups[nodes] for nodes in sorted(groups, key=rank)))


def spread(request: PreferredAllocationRequest) -> list[DeviceId]:
    """From each NUMA node in turn; a node waits as many rounds as it has devices that must be included."""
    taken = [request.nodes.get(id) for id in request.must_include]
    columns = ([None] * taken.count(nodes) + ids for nodes, ids in request.others_by_numa_nodes().items())
    return request.answer(id for id in chain.from_iterable(zip_longest(*columns)) if id is not None)


STRATEGIES: Mapping[str, Callable[[PreferredAllocationRequest], list[DeviceId]]] = {
    "first": first,
    "last": last,
    "packed": packed,
    "spread": spread,
}
