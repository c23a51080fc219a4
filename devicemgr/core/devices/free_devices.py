"""The free devices of one resource, by NUMA nodes, kept in order: what an allocation chooses from (ALLOC-15, ALLOC-16).

A container wants two of 10,000 devices. If every allocation sorted all free devices by affinity and by name, its cost
would grow with the number of devices. So they are kept sorted: a device has a *rank*, its position in the natural order
of all ids (ALLOC-8), and each *node set*, the NUMA nodes of a device, has a sorted list of the ranks that are free
there. Taking a device or giving it back moves one number; a choice reads the first few. The number of devices in each
node set is counted as well: the topology hints need nothing else (``hints``).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import lru_cache
from heapq import merge

from ...concurrency.steps import Steps, in_chunks, run_steps
from ...model import HEALTHY, Device, DeviceId
from .pod_devices import in_order, ordering

NodeSet = frozenset[int]
"""NUMA nodes; empty without topology. A node -1 is no node (ALLOC-16)."""
FEW = 50
"""Up to so many ids are moved one by one; for more, it is faster to rebuild the lists."""
_Kind = tuple[NodeSet, bool]
"""A device's NUMA nodes, and whether it is healthy."""


class Ids(Collection[DeviceId]):
    """Free ids in natural order, except those in ``without``, and with those in ``also``. A view: it shows what is free
    when it is read."""

    def __init__(
        self,
        free: FreeDevices,
        lists: Iterable[list[int]],
        without: AbstractSet[DeviceId],
        also: Iterable[DeviceId] = (),
    ) -> None:
        self._free = free
        self._lists = list(lists)
        self._without = without
        self._extra = [id for id in in_order(also) if id in without or not self._is_listed(id)]

    def __len__(self) -> int:
        hidden = sum(self._is_listed(id) for id in self._without)
        return sum(map(len, self._lists)) - hidden + len(self._extra)

    def __iter__(self) -> Iterator[DeviceId]:
        rank, order = self._free.rank, self._free.order
        hidden = self._without - set(self._extra)
        yield from (id for id in self._extra if id not in rank)  # held by an init container, and no longer listed
        lists = [ranks for ranks in (*self._lists, sorted(rank[id] for id in self._extra if id in rank)) if ranks]
        last = -1
        for found in lists[0] if len(lists) == 1 else merge(*lists):
            if found != last and order[found] not in hidden:
                yield order[found]
            last = found

    def also(self, ids: Iterable[DeviceId]) -> Ids:
        """These, and ``ids``."""
        return Ids(self._free, self._lists, self._without, ids)

    def __contains__(self, id: object) -> bool:
        return id in self._extra or (id not in self._without and self._is_listed(id))

    def _is_listed(self, id: object) -> bool:
        rank = self._free.rank.get(id)  # type: ignore[call-overload]
        return rank is not None and any(_has(ranks, rank) for ranks in self._lists)


class FreeDevices:
    """All ``devices`` of a list, of which ``free`` are free."""

    def __init__(self, devices: Mapping[DeviceId, Device], free: Iterable[DeviceId]) -> None:
        run_steps(self._fill(devices, set(free)))

    @classmethod
    def making(cls, devices: Mapping[DeviceId, Device], free: AbstractSet[DeviceId]) -> Steps[FreeDevices]:
        """Construct it in steps, during which neither argument may change."""
        made = cls.__new__(cls)
        yield from made._fill(devices, free)
        return made

    def _fill(self, devices: Mapping[DeviceId, Device], free: AbstractSet[DeviceId]) -> Steps[None]:
        self.order = yield from ordering(devices)
        self.rank: dict[DeviceId, int] = {}
        self._kinds: dict[DeviceId, _Kind] = {}
        self._counts: Counter[_Kind] = Counter()
        self._ranks: dict[NodeSet, list[int]] = {}
        for ids in in_chunks(self.order):
            ranks = range(len(self.rank), len(self.rank) + len(ids))
            kinds = [_kind(devices[id].numa_nodes, devices[id].health) for id in ids]
            self.rank.update(zip(ids, ranks, strict=True))
            self._kinds.update(zip(ids, kinds, strict=True))
            self._counts.update(kinds)
            for nodes, _ in set(kinds):
                self._ranks.setdefault(nodes, [])
            for rank, id, (nodes, _) in zip(ranks, ids, kinds, strict=True):
                if id in free:
                    self._ranks[nodes].append(rank)
            yield

    def __len__(self) -> int:
        return sum(map(len, self._ranks.values()))

    @property
    def has_topology(self) -> bool:
        """Does any device, free or not, have a NUMA node?"""
        return any(self.node_sets)

    @property
    def node_sets(self) -> AbstractSet[NodeSet]:
        """The node sets of all devices, free or not."""
        return {nodes for (nodes, _), count in self._counts.items() if count}

    @property
    def healthy_counts(self) -> dict[NodeSet, int]:
        """How many healthy devices, free or not, each node set has."""
        return {nodes: count for (nodes, is_healthy), count in self._counts.items() if is_healthy and count}

    def free_counts(self, *, without: AbstractSet[DeviceId] = frozenset()) -> dict[NodeSet, int]:
        """How many free devices, except those in ``without``, each node set has."""
        return {nodes: len(Ids(self, (ranks,), without)) for nodes, ranks in self._ranks.items() if ranks}

    def nodes_of(self, id: DeviceId) -> NodeSet:
        """The device's NUMA nodes; none for a device that is not listed."""
        return self._kinds[id][0] if id in self._kinds else frozenset()

    def add(self, ids: Collection[DeviceId]) -> None:
        """These are free now. All of them must be listed."""
        if len(ids) > FEW:
            come: dict[NodeSet, set[int]] = {nodes: set() for nodes in self._ranks}
            for id in ids:
                come[self.nodes_of(id)].add(self.rank[id])
            for nodes, ranks in self._ranks.items():
                ranks.extend(come[nodes].difference(ranks))
                ranks.sort()
            return
        for id in ids:
            ranks, rank = self._ranks[self.nodes_of(id)], self.rank[id]
            if not _has(ranks, rank):
                insort(ranks, rank)

    def discard(self, ids: Collection[DeviceId]) -> None:
        """These are held now, or not healthy. Ids that are not listed are ignored."""
        if len(ids) > FEW:
            gone = {self.rank[id] for id in ids if id in self.rank}
            for nodes, ranks in self._ranks.items():
                self._ranks[nodes] = [rank for rank in ranks if rank not in gone]
            return
        for id in ids:
            rank = self.rank.get(id)
            if rank is not None and _has(ranks := self._ranks[self.nodes_of(id)], rank):
                del ranks[bisect_left(ranks, rank)]

    def update(self, device: Device, *, free: bool) -> None:
        """The device has other NUMA nodes now, or another health."""
        self.discard([device.id])
        kind = _kind(device.numa_nodes, device.health)
        self._counts[self._kinds[device.id]] -= 1
        self._kinds[device.id] = kind
        self._counts[kind] += 1
        self._ranks.setdefault(kind[0], [])
        if free:
            self.add([device.id])

    def all(self, *, without: AbstractSet[DeviceId] = frozenset()) -> Ids:
        return Ids(self, self._ranks.values(), without)

    def split(self, affinity: AbstractSet[int] | None, *, without: AbstractSet[DeviceId]) -> tuple[Ids, Ids, Ids]:
        """Aligned with ``affinity``, unaligned, and without NUMA nodes: each free device is in one of the three
        (ALLOC-15, ALLOC-16)."""
        if affinity is None or not self.has_topology:
            return Ids(self, (), without), Ids(self, (), without), self.all(without=without)
        by_class: list[list[list[int]]] = [[], [], []]
        for nodes, ranks in self._ranks.items():
            by_class[2 if not nodes else 0 if nodes & affinity else 1].append(ranks)
        aligned, unaligned, none = (Ids(self, lists, without) for lists in by_class)
        return aligned, unaligned, none


@lru_cache(maxsize=4096)
def _kind(nodes: tuple[int, ...] | None, health: str) -> _Kind:
    """Cached: there are a handful of different ones, and equal keys that are one object are compared faster."""
    return frozenset(nodes or ()) - {-1}, health == HEALTHY


def _has(ranks: list[int], rank: int) -> bool:
    at = bisect_left(ranks, rank)
    return at < len(ranks) and ranks[at] == rank
