"""Merging hints without the product of all lists, against the rule as it is written (TM-10…TM-12)."""

from __future__ import annotations

import itertools
import time

from hypothesis import given
from hypothesis import strategies as st

from devicemgr.core.hints import Hint
from devicemgr.core.merge import Fitness, hint_lists, merge_hints, widest_need
from devicemgr.core.numa import Numa, mask_of, subsets

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
    """Every combination, in order, one after the other."""
    fitness = Fitness(numa=numa, closest=closest, widest_need=widest_need(hint_lists))
    best = None
    for combination in itertools.product(*hint_lists):
        named = [hint.affinity for hint in combination if hint.affinity is not None]
        mask = numa.mask
        for affinity in named:
            mask &= affinity
        preferred = all(hint.preferred for hint in combination) and len(set(named)) <= 1
        best = fitness.better(best, Hint(mask, preferred))
    return best or Hint(numa.mask, False)


@given(lists, machines, st.booleans())
def test_the_fold_finds_what_the_product_finds(hint_lists, numa, closest):
    expected = brute_force(hint_lists, numa, closest=closest)
    assert merge_hints(hint_lists, numa, closest=closest).hint == expected


@given(lists, machines, st.booleans(), st.randoms())
def test_no_order_of_lists_or_hints_changes_the_result(hint_lists, numa, closest, random):
    before = merge_hints(hint_lists, numa, closest=closest)
    shuffled = [random.sample(one, len(one)) for one in random.sample(hint_lists, len(hint_lists))]
    assert merge_hints(shuffled, numa, closest=closest).hint == before.hint


def test_eight_nodes_and_four_resources_take_milliseconds():
    """16.6 million combinations for three resources, 4.2 thousand million for four (LIM costs)."""
    numa = Numa(nodes=tuple(range(8)))
    worst = [[Hint(mask, False) for mask in subsets(numa.nodes) if mask.bit_count() != size] for size in (1, 2, 3, 4)]
    started = time.perf_counter()
    merge_hints(worst, numa)
    assert time.perf_counter() - started < 0.25  # 10 ms on a quiet machine; the product takes an hour


def test_no_provider_and_no_hints_are_not_the_same():
    """CC-137, TM-10: nothing asked is preferred anywhere; an empty list is impossible."""
    assert hint_lists([]) == []
    assert hint_lists([None, {}, {"r": None}, {"r": []}]) == [
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
