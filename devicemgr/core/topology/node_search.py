"""Which NUMA nodes of a machine are enough, found without looking at every set of them.

A set of nodes *touches* a device that is on one of them. A :class:`Demand` is met by every set that touches a given
number of certain devices, and a set that meets it still does so with more nodes. All that the Topology Manager asks
about 2^n sets therefore comes down to one kind of question: which is the lowest, or the closest, set of so many nodes
that meets some demands? The search decides about one node after the other, from the highest down, and tries to leave
each out first. So it finds low sets first, and skips what cannot be better than the best set found. Four observations
keep it short:

1. Earlier decisions matter only by what is still missing and which devices are still untouched. Two ways that lead to
   the same are one way. When devices are on one node each, or on all nodes, few ways are left.
2. A node adds at most the devices that are on it. When even the best of the remaining nodes together are too few, the
   search goes no further. For devices on one node each this bound is exact, and there are no dead ends.
3. Nodes that no demand distinguishes, *twins*, are interchangeable, so the lowest of them are chosen.
4. When nothing is missing any more, the lowest nodes complete the set.

The worst case stays exponential: how many nodes touch all devices is the set cover problem. So every step is paid for
from a :class:`SearchBudget`. It counts steps and not time, so that the same pod always gets the same answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .numa import Mask, Numa, nodes_of

MAX_STEPS = 20_000
"""What one alignment may cost, in places looked at: about 20 ms, in which nothing else runs. Devices on one node each,
or on all nodes, take a small part of it on a machine with 64 nodes; so do devices of any kind on 8 nodes."""


class SearchBudgetExceeded(Exception):
    """The steps are used up before the best set of nodes was found."""


class SearchBudget:
    """The steps that are left."""

    def __init__(self, steps: int = MAX_STEPS) -> None:
        self._left = steps

    def spend(self, steps: int) -> None:
        self._left -= steps
        if self._left < 0:
            raise SearchBudgetExceeded


@dataclass(frozen=True, slots=True)
class Demand:
    """``need`` of the devices at ``places``, which are pairs: a set of nodes, and how many devices have exactly it."""

    need: int
    places: tuple[tuple[Mask, int], ...]

    @classmethod
    def of(cls, need: int, counts: Iterable[tuple[Mask, int]], nodes: Mask) -> Demand:
        """Devices that are on none of ``nodes`` do not count; ``counts`` may repeat a place."""
        places: dict[Mask, int] = {}
        for place, count in counts:
            if here := place & nodes:
                places[here] = places.get(here, 0) + count
        return cls(need, tuple(places.items()))

    @property
    def can_be_met(self) -> bool:
        return sum(count for _, count in self.places) >= self.need

    def after(self, kept: Mask, rest: Mask) -> Demand:
        """What is missing once the nodes ``kept`` are chosen and only nodes of ``rest`` can still be."""
        need, open_places = self.need, []
        for place in self.places:
            if place[0] & kept:
                need -= place[1]
            elif place[0] & rest:
                open_places.append(place)
        return Demand(need, tuple(open_places)) if need > 0 else MET

    def fewest(self, rest: Mask) -> int:
        """At least so many nodes of ``rest`` are needed; where the places are disjoint, so many are enough."""
        if self.need <= 0:
            return 0
        if any(count >= self.need for _, count in self.places):
            return 1
        missing = self.need
        gains = [count for _, count in self.places] if self.are_disjoint else self._gains(rest)
        for number, gain in enumerate(sorted(gains, reverse=True), 1):
            missing -= gain
            if missing <= 0:
                return number
        return rest.bit_count() + 1

    @property
    def are_disjoint(self) -> bool:
        """Is no node in two of the places?"""
        nodes = 0
        for place, _ in self.places:
            if nodes & place:
                return False
            nodes |= place
        return True

    def _gains(self, rest: Mask) -> Iterable[int]:
        """How many devices each node touches by itself."""
        gains: dict[Mask, int] = {}
        for place, count in self.places:
            for bit in bits_of(place & rest):
                gains[bit] = gains.get(bit, 0) + count
        return gains.values()


MET = Demand(0, ())
Demands = tuple[Demand, ...]
"""Those of one hint list: a set of nodes must meet all of them."""


def bits_of(mask: Mask) -> Iterator[Mask]:
    """The nodes of a mask, each as a mask, ascending."""
    while mask:
        bit = mask & -mask
        yield bit
        mask ^= bit


def fewest_nodes(demands: Demands, nodes: Mask, budget: SearchBudget) -> int | None:
    """How many of ``nodes`` are enough: at least one. None when all of them are too few."""
    if not all(demand.can_be_met for demand in demands):
        return None
    at_least = max(1, *(demand.fewest(nodes) for demand in demands))
    unmet = [demand for demand in demands if demand.need > 0]
    if not unmet or (len(unmet) == 1 and (at_least == 1 or unmet[0].are_disjoint)):
        return at_least
    sizes = range(at_least, nodes.bit_count())
    enough = (size for size in sizes if best_in_common([demands], nodes, size, budget) is not None)
    return next(enough, nodes.bit_count())


def best_in_common(
    lists: Sequence[Demands], nodes: Mask, size: int, budget: SearchBudget, *, near: Numa | None = None
) -> Mask | None:
    """The best set of ``size`` of ``nodes`` that is the intersection of one set per list; None when there is none.

    The sets of a list are those that meet its demands. Best is the lowest; with ``near`` the one whose nodes are
    nearest together, and of those the lowest. A node outside the intersection must be left out by one list, and is best
    left out by no other, because a set of more nodes meets more.
    """
    return _Search(lists, nodes, size, budget, near).best()


@dataclass(frozen=True, slots=True)
class _Step:
    """All nodes before position ``at`` are decided: ``chosen`` are in, and ``left`` more must follow.

    ``missing`` is what the demands of each list still lack; ``last`` is the last choice for each group of twins.
    """

    at: int
    left: int
    chosen: Mask
    missing: tuple[Demands, ...]
    last: tuple[int, ...]


_Rank = tuple[int, Mask]
"""The sum of the distances where they matter, and the nodes: the smaller, the better."""


class _Search:
    """One question. A choice is a number: n is "left out by list n", and the highest is "chosen"."""

    def __init__(
        self, lists: Sequence[Demands], nodes: Mask, size: int, budget: SearchBudget, near: Numa | None
    ) -> None:
        self._bits = list(bits_of(nodes))[::-1]
        self._rest = [nodes & ((bit << 1) - 1) for bit in self._bits] + [0]
        self._lists, self._size, self._budget = lists, size, budget
        self._near = _Nearness(near, self._bits, size) if near else None
        # With several lists the set that is found first need not be the lowest: what remains possible depends on
        # which of them leaves a node out.
        self._is_first_best = near is None and len(lists) == 1
        groups = twin_groups([one for demands in lists for one in demands], nodes, budget, near)
        self._twins = [group for group in groups if group.bit_count() > 1]
        self._kinds = {bit: kind for kind, twins in enumerate(self._twins) for bit in bits_of(twins)}

    def best(self) -> Mask | None:
        rest = self._rest[0]
        start = tuple(tuple(demand.after(0, rest) for demand in demands) for demands in self._lists)
        stack = [_Step(0, self._size, 0, start, (0,) * len(self._twins))]
        seen: dict[tuple[object, ...], Mask] = {}
        best: _Rank | None = None
        while stack:
            step = stack.pop()
            self._budget.spend(self._price(step))
            if (best is not None and self._bound(step) >= best) or not self._is_promising(step, seen):
                continue
            if self._near is not None and step.left:
                stack += self._next(step)
            elif any(not any(demand.need > 0 for demand in demands) for demands in step.missing):
                best = self._bound(step)  # this list can leave out whatever must be, and the others keep it
                if self._is_first_best:
                    break
            else:
                stack += self._next(step)
        return None if best is None else best[1]

    def _bound(self, step: _Step) -> _Rank:
        """No set that this step leads to is better."""
        distance = 0 if self._near is None else self._near.at_least(step.chosen)
        return distance, step.chosen | sum(self._bits[len(self._bits) - step.left :])

    def _price(self, step: _Step) -> int:
        pairs = 0 if self._near is None else step.chosen.bit_count() ** 2
        return 1 + pairs + sum(len(demand.places) for demands in step.missing for demand in demands)

    def _is_promising(self, step: _Step, seen: dict[tuple[object, ...], Mask]) -> bool:
        rest = self._rest[step.at]
        undecided = len(self._bits) - step.at
        if step.left > undecided or not all(one.can_be_met for demands in step.missing for one in demands):
            return False
        may_leave_out = sum(
            undecided - max((demand.fewest(rest) for demand in demands), default=0) for demands in step.missing
        )
        if may_leave_out < undecided - step.left:
            return False
        if self._near is not None:
            return True
        key = (step.at, step.left, step.missing, step.last)
        if seen.get(key, step.chosen + 1) <= step.chosen:
            return False
        seen[key] = step.chosen
        return True

    def _next(self, step: _Step) -> list[_Step]:
        """All choices for the next node; what leads to the lowest sets is last, and so tried first. Of twins the lowest
        are chosen."""
        if step.at == len(self._bits):
            return []
        kind = self._kinds.get(self._bits[step.at])
        first = 0 if kind is None else step.last[kind]
        choices = range(first, len(step.missing) + (1 if step.left else 0))
        return [self._decided(step, choice, kind) for choice in reversed(choices)]

    def _decided(self, step: _Step, choice: int, kind: int | None) -> _Step:
        bit, rest = self._bits[step.at], self._rest[step.at + 1]
        missing = tuple(
            tuple(demand.after(0 if number == choice else bit, rest) for demand in demands)
            for number, demands in enumerate(step.missing)
        )
        last = list(step.last)
        if kind is not None:
            last[kind] = choice
        is_in = choice == len(step.missing)
        return _Step(step.at + 1, step.left - is_in, step.chosen | bit * is_in, missing, tuple(last))


class _Nearness:
    """How near together chosen nodes are: the sum of the distances of all ordered pairs. The smaller, the nearer."""

    def __init__(self, numa: Numa, bits: Sequence[Mask], size: int) -> None:
        self._numa, self._size = numa, size
        nodes = [bit.bit_length() - 1 for bit in bits]
        self._own = min((numa.distance(one, one) for one in nodes), default=0)
        self._other = min((numa.distance(one, other) for one in nodes for other in nodes if one != other), default=0)

    def at_least(self, chosen: Mask) -> int:
        """A lower bound for all sets that contain these nodes."""
        count = chosen.bit_count()
        more = self._size - count
        pairs = self._size**2 - count**2 - more
        return self._numa.total_distance(chosen) + more * self._own + pairs * self._other


# --- twins -----------------------------------------------------------------------------------------


def twin_groups(demands: Sequence[Demand], nodes: Mask, budget: SearchBudget, near: Numa | None = None) -> list[Mask]:
    """The nodes in groups of twins: exchanging two nodes of a group changes nothing. That relation is transitive."""
    counts = [dict(demand.places) for demand in demands]
    budget.spend(sum(mask.bit_count() for one in counts for mask in one))
    places = [_places_by_node(one) for one in counts]
    groups: dict[Mask, Mask] = {}
    for bit in bits_of(nodes):
        budget.spend(1 + len(groups))
        alike = (one for one in groups if _are_twins(bit, one, counts, places) and _as_far(bit, one, nodes, near))
        first = next(alike, bit)
        groups[first] = groups.get(first, 0) | bit
    return list(groups.values())


def _places_by_node(counts: Mapping[Mask, int]) -> dict[Mask, list[Mask]]:
    found: dict[Mask, list[Mask]] = {}
    for mask in counts:
        for bit in bits_of(mask):
            found.setdefault(bit, []).append(mask)
    return found


def _are_twins(
    one: Mask, other: Mask, counts: Sequence[Mapping[Mask, int]], places: Sequence[Mapping[Mask, Sequence[Mask]]]
) -> bool:
    both = one | other
    for count, at in zip(counts, places, strict=True):
        mine, others = at.get(one, ()), at.get(other, ())
        if len(mine) != len(others):
            return False
        if any(count.get(mask ^ both) != count[mask] for mask in mine if not mask & other):
            return False
    return True


def _as_far(one: Mask, other: Mask, nodes: Mask, numa: Numa | None) -> bool:
    """Does exchanging the two leave all sums of distances as they are? A sum always counts both directions."""
    if numa is None:
        return True
    a, b, far = one.bit_length() - 1, other.bit_length() - 1, numa.distance
    others = nodes_of(nodes & ~(one | other))
    return far(a, a) == far(b, b) and all(far(a, c) + far(c, a) == far(b, c) + far(c, b) for c in others)


# --- all sets --------------------------------------------------------------------------------------


def sets_that_meet(demands: Demands, nodes: Mask, budget: SearchBudget) -> Iterator[Mask]:
    """All sets, by size and then in the order of the nodes (TM-5). May raise SearchBudgetExceeded after some."""
    for size in range(1, nodes.bit_count() + 1):
        yield from sets_of_size(demands, nodes, size, budget)


def sets_of_size(demands: Demands, nodes: Mask, size: int, budget: SearchBudget) -> Iterator[Mask]:
    """The sets of one size, in the order of the nodes."""
    stack = [(nodes, size, 0, tuple(demand.after(0, nodes) for demand in demands))]
    while stack:
        rest, left, chosen, missing = stack.pop()
        budget.spend(1 + sum(len(demand.places) for demand in missing))
        if left > rest.bit_count() or any(demand.fewest(rest) > left for demand in missing):
            continue
        if not left:
            yield chosen
            continue
        bit = rest & -rest
        rest ^= bit
        stack.append((rest, left, chosen, tuple(demand.after(0, rest) for demand in missing)))
        stack.append((rest, left - 1, chosen | bit, tuple(demand.after(bit, rest) for demand in missing)))
