"""Ways in which a plug-in may answer GetPreferredAllocation (ALLOC-7d), as vendors' plug-ins do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from ...model import DeviceId

Nodes = tuple[int, ...] | None
"""The NUMA nodes of a device. None, for one without topology, counts as a place of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
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

    def others_by_place(self) -> dict[Nodes, list[DeviceId]]:
        places: dict[Nodes, list[DeviceId]] = {}
        for id in self.others:
            places.setdefault(self.nodes.get(id), []).append(id)
        return places


def first(question: Question) -> list[DeviceId]:
    """In the order of the request."""
    return question.answer(question.others)


def last(question: Question) -> list[DeviceId]:
    """From the end of the request: easily told from what the manager takes by itself."""
    return question.answer(reversed(question.others))


def packed(question: Question) -> list[DeviceId]:
    """On as few NUMA nodes as can be: beside those that must be included, then where just enough is left."""
    places = question.others_by_place()
    used = {question.nodes.get(id) for id in question.must_include}
    missing = question.size - len(question.must_include)

    def rank(place: Nodes) -> tuple[bool, bool, int]:
        count = len(places[place])
        return place not in used, count < missing, count if count >= missing else -count

    return question.answer(chain.from_iterable(places[place] for place in sorted(places, key=rank)))


def spread(question: Question) -> list[DeviceId]:
    """From each NUMA node in turn; a node waits as many rounds as it has devices that must be included."""
    taken = [question.nodes.get(id) for id in question.must_include]
    columns = ([None] * taken.count(place) + ids for place, ids in question.others_by_place().items())
    return question.answer(id for id in chain.from_iterable(zip_longest(*columns)) if id is not None)


STRATEGIES: Mapping[str, Callable[[Question], list[DeviceId]]] = {
    "first": first,
    "last": last,
    "packed": packed,
    "spread": spread,
}
