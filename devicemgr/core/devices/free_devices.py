"""The free devices of one resource, by NUMA nodes, kept in order: what an allocation chooses from (ALLOC-15, ALLOC-16).

A container wants two of 10,000 devices. Sorting all that are free by affinity and by name, for every container, is what
makes an admission cost more with every device there is. Here they stand sorted: a device has a *rank*, its position in
the natural order of all ids (ALLOC-8), and each *node set*, the NUMA nodes of a device, has a sorted list of the ranks
that are free there. Taking a device or giving it back moves one number; a choice reads the first few. How many devices
are in each node set is counted along, for the hints of the topology (``hints``), which ask for nothing else.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import lru_cache
from heapq import merge

from ...model import HEALTHY, Device, DeviceId
from ...steps import Steps, in_chunks, run_steps
from .pod_devices import in_order, ordering

NodeSet = frozenset[int]
"""NUMA nodes; empty without topology. A node -1 is no node (ALLOC-16)."""
FEW = 50
"""Ids that are quicker moved one by one; of more, whole lists are made anew."""
_Kind = tuple[NodeSet, bool]
"""Of a device: where it is, and whether it is healthy."""


class Ids(Collection[DeviceId]):
    """Ids in natural order, as they are free at the moment of looking; not those ``without``, but also ``also``."""

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
        yield from (id for id in self._extra if id not in rank)  # held by an init container, and listed no more
        lists = [ranks for ranks in (*self._lists, sorted(rank[id] for id in self._extra if id in rank)) if ranks]
        last = -1
        for found in lists[0] if len(lists) == 1 else merge(*lists):
            if found != last and order[found] not in hidden:
                yield order[found]
            last = found

    def also(self, ids: Iterable[DeviceId]) -> Ids:
        """These, and some more."""
        return Ids(self._free, self._lists, self._without, ids)

    def __contains__(self, id: object) -> bool:
        return id in self._extra or (id not in self._without and self._is_listed(id))

    def _is_listed(self, id: object) -> bool:
        rank = self._free.rank.get(id)  # type: ignore[call-overload]
        return rank is not None and any(_has(ranks, rank) for ranks in self._lists)


class FreeDevices:
    """Made of all ``devices`` of a list, of which ``free`` are free."""

    def __init__(self, devices: Mapping[DeviceId, Device], free: Iterable[DeviceId]) -> None:
        run_steps(self._fill(devices, set(free)))

    @classmethod
    def making(cls, devices: Mapping[DeviceId, Device], free: AbstractSet[DeviceId]) -> Steps[FreeDevices]:
        """The same, in steps, in which neither of the two may change."""
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
        """Is any device, free or not, on a NUMA node?"""
        return any(self.node_sets)

    @property
    def node_sets(self) -> AbstractSet[NodeSet]:
        """Where there are devices, free or not."""
        return {nodes for (nodes, _), count in self._counts.items() if count}

    @property
    def healthy_counts(self) -> dict[NodeSet, int]:
        """How many healthy devices, free or not, stand where."""
        return {nodes: count for (nodes, is_healthy), count in self._counts.items() if is_healthy and count}

    def free_counts(self, *, without: AbstractSet[DeviceId] = frozenset()) -> dict[NodeSet, int]:
        """How many free devices, not counting some, stand where."""
        return {nodes: len(Ids(self, (ranks,), without)) for nodes, ranks in self._ranks.items() if ranks}

    def nodes_of(self, id: DeviceId) -> NodeSet:
        """Empty also for a device that is not listed."""
        return self._kinds[id][0] if id in self._kinds else frozenset()

    def add(self, ids: Collection[DeviceId]) -> None:
        """These, which are listed, are free."""
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
        """Somebody holds these, or they are not healthy; some may not be listed at all."""
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
        """The device is somewhere else now, or in another state."""
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
        """(aligned, unaligned, no affinity): each device is in one of them (ALLOC-15, ALLOC-16)."""
        if affinity is None or not self.has_topology:
            return Ids(self, (), without), Ids(self, (), without), self.all(without=without)
        by_class: list[list[list[int]]] = [[], [], []]
        for nodes, ranks in self._ranks.items():
            by_class[2 if not nodes else 0 if nodes & affinity else 1].append(ranks)
        aligned, unaligned, none = (Ids(self, lists, without) for lists in by_class)
        return aligned, unaligned, none


@lru_cache(maxsize=4096)
def _kind(nodes: tuple[int, ...] | None, health: str) -> _Kind:
    """There are a handful of them, and a long list is quicker to go through when its devices have the same objects."""
    return frozenset(nodes or ()) - {-1}, health == HEALTHY


def _has(ranks: list[int], rank: int) -> bool:
    at = bisect_left(ranks, rank)
    return at < len(ranks) and ranks[at] == rank
