"""One affinity out of many hint lists (TM-10…TM-12), without trying every combination.

The rule is about every combination of one hint per list. The combination's mask is what its hints and the machine have
in common; it is *preferred* when all its hints are and their masks are equal. The best combination wins. With 8 nodes
and 3 resources there are 16.6 million, and the kubelet visits each: 3.5 s for one pod.

Hints of devices are not even listed (:class:`DeviceHints`). A list that has a mask has every wider one over its nodes,
too, which leaves ``_merge_device_hints`` little to look for:

* A preferred combination is one mask: as wide as every list prefers, and meeting the demands of all lists.
* Otherwise the best mask is as wide as the list that needs most, out of the nodes that all lists have. There always is
  one: a narrowest mask of that list and all nodes of the others have nodes in common, and every wider set is reached
  as well. When there are no more common nodes than that, the best is all of them.

Lists of any other kind are merged hint by hint. Two observations make that cheap, and property tests compare both ways
with each other and with the full product:

1. All hints of a *preferred* combination have the same mask, so each is found by looking a mask up in every list.
   A preferred combination beats all others: when there is one, nothing else is looked at.
2. Otherwise only the *mask* of a combination matters, and masks are few: 2^n for n nodes. How many combinations have
   exactly this mask in common? For each mask count the hints of a list that include it, and multiply over the lists:
   so many combinations have *at least* this mask in common. Subtract those that have more, and the rest have *exactly*
   it. Both counts are sums over supersets, which n sweeps over the 2^n masks compute and invert (Möbius inversion):
   n·2^n additions per list, 2,048 for 8 nodes, where folding list by list over the masks reached takes 4^n.

:class:`Fitness` is a total order, so the order of lists and hints does not change the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import reduce
from operator import and_
from typing import Any

from ...model import ResourceName
from .hints import FEW_NODES, DeviceHints, Hint, HintList, Hints
from .node_search import Demand, SearchBudget, SearchBudgetExceeded, best_in_common, sets_of_size, twin_groups
from .numa import Mask, Numa

ANY_PREFERRED = Hint(None, True)
ANY = Hint(None, False)
"""What is stored when nothing is known: any node, not preferred (TM-16)."""

PREFERRED = "every list prefers it"
NOTHING_IN_COMMON = "the lists have no node in common"
BEST_IN_COMMON = "no nodes are preferred by every list; this is the best they have in common"


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """The best hint, and why it is the best."""

    hint: Hint
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitness:
    """Which of two masks or hints is better: ``of_mask`` and ``of_hint`` are smaller for the better one.

    Narrower masks are better; with ``prefer_closest``, of equally narrow ones, those whose nodes are nearer together.
    ``widest_need`` is B of TM-12: the size of the narrowest mask of the list that needs most.
    """

    numa: Numa
    prefer_closest: bool = False
    widest_need: int = 0

    def of_mask(self, mask: Mask) -> tuple[Any, ...]:
        distance = self.numa.average_distance(mask) if self.prefer_closest else 0.0
        return mask.bit_count(), distance, mask

    def of_hint(self, hint: Hint) -> tuple[Any, ...]:
        """Preferred first. Of the others: as wide as needed, then narrower ones, widest first, then wider ones."""
        mask = hint.affinity or 0
        size, need = mask.bit_count(), self.widest_need
        if hint.preferred:
            return 0, self.of_mask(mask)
        if size == need:
            return 1, self.of_mask(mask)
        if size < need:
            return 2, -size, self.of_mask(mask)
        return 3, self.of_mask(mask)


def filter_providers_hints(providers: Iterable[Hints | None]) -> list[tuple[ResourceName, HintList]]:
    """Every hint list with its resource, after the rules for "no preference" and "impossible" (TM-10)."""
    lists: list[tuple[ResourceName, HintList]] = []
    for hints in providers:
        if not hints:
            lists.append(("", [ANY_PREFERRED]))
            continue
        for resource, found in hints.items():
            lists.append((resource, [ANY_PREFERRED] if found is None else found or [ANY]))
    return lists


def widest_need(lists: Iterable[Iterable[Hint]]) -> int:
    """Over all lists the largest of their narrowest masks; 0 when no list names a mask (TM-12)."""
    sizes = [[hint.affinity.bit_count() for hint in hints if hint.affinity is not None] for hints in lists]
    return max((min(one) for one in sizes if one), default=0)


def merge_hints(
    lists: Sequence[HintList], numa: Numa, *, prefer_closest: bool = False, budget: SearchBudget | None = None
) -> Merged:
    """The best combination of one hint per list (TM-11, TM-12).

    Raises SearchBudgetExceeded when the ``budget`` is used up before it is found; with few nodes every hint is looked
    at then.
    """
    rules = [hints for hints in lists if isinstance(hints, DeviceHints)]
    others = [hints for hints in lists if not isinstance(hints, DeviceHints)]
    if rules and all(len(hints) == 1 and hints[0].affinity is None for hints in others):
        is_preferable = all(hints[0].preferred for hints in others)
        try:
            return _merge_device_hints(
                rules, numa, is_preferable=is_preferable, prefer_closest=prefer_closest, budget=budget or SearchBudget()
            )
        except SearchBudgetExceeded:
            if len(numa.nodes) > FEW_NODES:
                raise
    return _merge_hint_lists(
        [hints.as_list() if isinstance(hints, DeviceHints) else hints for hints in lists], numa, prefer_closest
    )


# --- hints of devices ------------------------------------------------------------------------------------


def _merge_device_hints(
    lists: Sequence[DeviceHints], numa: Numa, *, is_preferable: bool, prefer_closest: bool, budget: SearchBudget
) -> Merged:
    near = numa if prefer_closest else None
    if is_preferable and (found := _preferred_by_all(lists, near, budget)):
        return found
    if not (nodes := reduce(and_, (hints.nodes for hints in lists))):
        return Merged(hint=Hint(numa.mask, False), because=NOTHING_IN_COMMON)
    need = max(hints.narrowest_size(budget) for hints in lists)
    best: Mask | None = nodes
    if need < nodes.bit_count():
        demands = [tuple(one.after(hints.nodes & ~nodes, nodes) for one in hints.demands) for hints in lists]
        best = best_in_common(demands, nodes, need, budget, near=near)
    return Merged(hint=Hint(best, False), because=BEST_IN_COMMON)


def _preferred_by_all(lists: Sequence[DeviceHints], near: Numa | None, budget: SearchBudget) -> Merged | None:
    """The best mask that is in each list and as wide as each prefers."""
    nodes = reduce(and_, (hints.nodes for hints in lists))
    sizes = {hints.preferred_size(budget) for hints in lists}
    demands = tuple(one.after(0, nodes) for hints in lists for one in hints.demands)
    if len(sizes) > 1 or not all(one.can_be_met for one in demands):
        return None
    (size,) = sizes
    best = best_in_common([demands], nodes, size, budget, near=near)
    if best is None:
        return None
    is_one_of_many = _is_one_of_many(best, demands, nodes, budget)
    words = PREFERRED + (_reason(prefer_closest=near is not None) if is_one_of_many else "")
    return Merged(hint=Hint(best, True), because=words)


def _is_one_of_many(best: Mask, demands: tuple[Demand, ...], nodes: Mask, budget: SearchBudget) -> bool:
    """Is there another mask of this size? There is when a node of it has a twin outside."""
    if any(0 < (best & twins).bit_count() < twins.bit_count() for twins in twin_groups(demands, nodes, budget)):
        return True
    found = sets_of_size(demands, nodes, best.bit_count(), budget)
    return any(mask != best for mask in found)


# --- hints of any kind -----------------------------------------------------------------------------------


def _merge_hint_lists(lists: Sequence[Sequence[Hint]], numa: Numa, prefer_closest: bool) -> Merged:
    machine = numa.mask
    fitness = Fitness(numa=numa, prefer_closest=prefer_closest, widest_need=widest_need(lists))
    if any(not hints for hints in lists):
        return Merged(hint=Hint(machine, False), because="one list has no usable hint")
    if preferred := _preferred_masks(lists, machine):
        best = min(preferred, key=fitness.of_mask)
        why = _reason(prefer_closest=prefer_closest) if len(preferred) > 1 else ""
        return Merged(hint=Hint(best, True), because=PREFERRED + why)
    reached = set() if _is_settled(lists) else masks_in_common([_masks(hints, machine) for hints in lists], machine)
    if not (reached := reached - {0}):
        return Merged(hint=Hint(machine, False), because=NOTHING_IN_COMMON)
    hint = min((Hint(mask, False) for mask in reached), key=fitness.of_hint)
    return Merged(hint=hint, because=BEST_IN_COMMON)


def _is_settled(lists: Iterable[Iterable[Hint]]) -> bool:
    """Are all hints preferred, for any node or one? Hints with a node in common are then a preferred combination."""
    return all(h.preferred and (h.affinity is None or h.affinity.bit_count() == 1) for hints in lists for h in hints)


def _reason(*, prefer_closest: bool) -> str:
    best = "the nearest together" if prefer_closest else "the narrowest and lowest"
    return f", and of several it is {best}"


def _masks(hints: Iterable[Hint], machine: Mask) -> set[Mask]:
    return {machine if hint.affinity is None else hint.affinity for hint in hints}


def masks_in_common(lists: Sequence[AbstractSet[Mask]], machine: Mask) -> set[Mask]:
    """Every mask that one mask of each list, and the machine, have exactly in common (TM-11).

    Equals the set of ``reduce(and_, combination)`` over the product of the lists. Nodes that no mask distinguishes
    count as one, so a large machine with devices in few places costs no more than a small one.
    """
    atoms = _atoms({mask for masks in lists for mask in masks}, machine)
    unions = [0]
    for atom in atoms:
        unions += [union | atom for union in unions]  # bit i of a place in this list stands for atom i
    place_of = {union: place for place, union in enumerate(unions)}
    at_least = [1] * len(unions)
    for masks in lists:
        including = [0] * len(unions)
        for mask in masks:
            including[place_of[mask & machine]] += 1
        _over_supersets(including, len(atoms), 1)
        at_least = [one * other for one, other in zip(at_least, including, strict=True)]
    _over_supersets(at_least, len(atoms), -1)
    return {union for union, count in zip(unions, at_least, strict=True) if count}


def _atoms(masks: Iterable[Mask], machine: Mask) -> list[Mask]:
    """The machine's nodes in groups: two are in one group when every mask has both or neither."""
    atoms = [machine]
    for mask in masks:
        if len(atoms) == machine.bit_count():
            break
        atoms = [part for atom in atoms for part in (atom & mask, atom & ~mask) if part]
    return atoms


def _over_supersets(counts: list[int], atoms: int, sign: int) -> None:
    """Add to each count those of its supersets, in place; with ``sign`` -1, undo that."""
    for bit in (1 << atom for atom in range(atoms)):
        for place in range(len(counts)):
            if not place & bit:
                counts[place] += sign * counts[place | bit]


def _preferred_masks(lists: Iterable[Sequence[Hint]], machine: Mask) -> set[Mask]:
    """The masks of all preferred combinations: equal in every list that does not choose "any" (TM-11)."""
    preferred = [{hint.affinity for hint in hints if hint.preferred} for hints in lists]
    named = {mask for masks in preferred for mask in masks if mask is not None}
    common = {mask & machine for mask in named if all(mask in masks or None in masks for masks in preferred)}
    if all(None in masks for masks in preferred):
        common.add(machine)
    return common - {0}


def filter_single_numa_hints(hints: Iterable[Hint]) -> list[Hint]:
    """What single-numa-node leaves of a list: preferred hints for any node or for exactly one (TM-13)."""
    if isinstance(hints, DeviceHints):
        return hints.of_one_node()
    return [h for h in hints if h.preferred and (h.affinity is None or h.affinity.bit_count() == 1)]
