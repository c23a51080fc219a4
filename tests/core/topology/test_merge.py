"""Merging hints without the product of all lists, compared with the rule itself (TM-10…TM-12)."""

from __future__ import annotations

import functools
import itertools
import operator
import statistics
import time

from hypothesis import given
from hypothesis import strategies as st

from devicemgr.core.topology.hints import Hint
from devicemgr.core.topology.merge import filter_providers_hints, masks_in_common, merge_hints
from devicemgr.core.topology.numa import Numa, mask_of, subsets

NODES = 4
hints = st.builds(Hint, st.none() | st.integers(0, 2**NODES - 1), st.booleans())
lists = st.lists(st.lists(hints, max_size=5), max_size=4)
distances = st.lists(st.lists(st.integers(10, 12), min_size=NODES, max_size=NODES), min_size=NODES, max_size=NODES)
machines = st.integers(1, NODES).flatmap(
    lambda count: distances.map(
        lambda rows: Numa(nodes=tuple(range(count)), distances={n: tuple(row) for n, row in enumerate(rows)})
    )
)


def brute_force(hint_lists, numa, *, closest):
    """Every combination in turn, each compared with the best so far, as the rule says (TM-12)."""
    sizes = [[h.affinity.bit_count() for h in hints if h.affinity is not None] for hints in hint_lists]
    needed = max((min(one) for one in sizes if one), default=0)
    best = None
    for combination in itertools.product(*hint_lists):
        named = [hint.affinity for hint in combination if hint.affinity is not None]
        mask = functools.reduce(operator.and_, named, numa.mask)
        preferred = all(hint.preferred for hint in combination) and len(set(named)) <= 1
        if mask:
            best = by_the_text(best, Hint(mask, preferred), needed, numa if closest else None)
    return best or Hint(numa.mask, False)


def by_the_text(current, new, needed, near):
    """TM-12, sentence by sentence; ``near`` is the machine if its distances matter."""
    if current is None:
        return new
    if current.preferred != new.preferred:
        return new if new.preferred else current
    c, n = current.affinity.bit_count(), new.affinity.bit_count()
    if new.preferred or c > needed:
        return fitter(current, new, near)
    if c == needed:
        return fitter(current, new, near) if n == needed else current
    if n > needed or n < c:
        return current
    if n == needed or n > c:
        return new
    return fitter(current, new, near)


def fitter(current, new, near):
    c, n = current.affinity.bit_count(), new.affinity.bit_count()
    if c != n:
        return new if n < c else current
    if near is not None and (apart := mean_distance(near, new.affinity) - mean_distance(near, current.affinity)):
        return new if apart < 0 else current
    return new if new.affinity < current.affinity else current


def mean_distance(numa, mask):
    nodes = [node for node in numa.nodes if mask >> node & 1]
    return statistics.mean(numa.distances[one][other] for one in nodes for other in nodes)


masks = st.sets(st.integers(0, 2**70), max_size=6)


@given(st.lists(masks, max_size=4), st.integers(1, 2**70))
def test_masks_in_common_are_those_of_the_product(lists, machine):
    """On any machine: with gaps between nodes, with nodes above 63, and with too many nodes to try all subsets."""
    narrow = [{mask & (machine | 5) for mask in one} for one in lists]
    if sum(map(len, narrow)) > 3:
        machine &= 0b1011_0110_1101
    expected = {functools.reduce(operator.and_, combination, machine) for combination in itertools.product(*narrow)}
    assert masks_in_common(narrow, machine) == expected


@given(lists, machines, st.booleans())
def test_the_merge_finds_what_the_product_finds(hint_lists, numa, closest):
    expected = brute_force(hint_lists, numa, closest=closest)
    assert merge_hints(hint_lists, numa, prefer_closest=closest).hint == expected


@given(lists, machines, st.booleans(), st.randoms())
def test_no_order_of_lists_or_hints_changes_the_result(hint_lists, numa, closest, random):
    before = merge_hints(hint_lists, numa, prefer_closest=closest)
    shuffled = [random.sample(one, len(one)) for one in random.sample(hint_lists, len(hint_lists))]
    assert merge_hints(shuffled, numa, prefer_closest=closest).hint == before.hint


def test_eight_nodes_and_four_resources_take_milliseconds():
    """16.6 million combinations for three resources, 4.2 thousand million for four (LIM costs)."""
    numa = Numa(nodes=tuple(range(8)))
    worst = [[Hint(mask, False) for mask in subsets(numa.nodes) if mask.bit_count() != size] for size in (1, 2, 3, 4)]
    started = time.process_time()
    merge_hints(worst, numa)
    assert time.process_time() - started < 0.25  # 3 ms on a quiet machine; the product takes an hour


def test_a_machine_of_sixteen_nodes_is_merged_too():
    """4^16 pairs of masks for two resources; here 16 sweeps over 2^16."""
    numa = Numa(nodes=tuple(range(16)))
    worst = [[Hint(mask, False) for mask in subsets(numa.nodes) if mask.bit_count() > size] for size in (1, 2)]
    started = time.process_time()
    assert merge_hints(worst, numa).hint.affinity is not None
    assert time.process_time() - started < 5  # 0.5 s on a quiet machine


def test_a_machine_of_many_nodes_with_devices_in_few_places_is_a_small_one():
    numa = Numa(nodes=tuple(range(100)))
    few = [[Hint(1 << 3, False), Hint(1 << 99 | 1 << 3, False)], [Hint(1 << 99 | 1 << 4, False)], [Hint(None, True)]]
    assert merge_hints(few, numa).hint == Hint(1 << 99, False)


def test_no_provider_and_no_hints_are_not_the_same():
    """CC-137, TM-10: no request is preferred anywhere; an empty list is impossible."""
    assert filter_providers_hints([]) == []
    assert filter_providers_hints([None, {}, {"r": None}, {"r": []}]) == [
        ("", [Hint(None, True)]),
        ("", [Hint(None, True)]),
        ("r", [Hint(None, True)]),
        ("r", [Hint(None, False)]),
    ]


def test_lim_18_a_node_above_63_is_a_node_like_any_other():
    """LIM-18: the kubelet's masks have 64 bits, and a device beyond them crashes it."""
    numa = Numa(nodes=(3, 64, 700))
    found = merge_hints(
        [[Hint(mask_of([64]), True)], [Hint(mask_of([64, 700]), True), Hint(mask_of([64]), True)]], numa
    )
    assert found.hint == Hint(1 << 64, True)
