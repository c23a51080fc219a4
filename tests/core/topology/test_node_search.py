"""Hints and merges of many NUMA nodes without a list of all masks, compared with the rule, which needs every one."""

from __future__ import annotations

import functools
import itertools
import operator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from devicemgr.core.topology.alignment import align
from devicemgr.core.topology.hints import FEW_NODES, DeviceHints, candidate_nodes, generate_hints
from devicemgr.core.topology.merge import ANY, ANY_PREFERRED, merge_hints
from devicemgr.core.topology.node_search import (
    MAX_STEPS,
    Demand,
    SearchBudget,
    SearchBudgetExceeded,
    best_in_common,
    fewest_nodes,
    sets_that_meet,
    twin_groups,
)
from devicemgr.core.topology.numa import Numa, mask_of, nodes_of, subsets
from devicemgr.core.topology.policy import Policy, Scope, Topology

from .test_merge import brute_force

# --- the search ------------------------------------------------------------------------------------


def touched(places, mask):
    return sum(count for place, count in places if place & mask)


def meets(demands, mask):
    return all(touched(demand.places, mask) >= demand.need for demand in demands)


def demands_on(nodes, *, most=3):
    places = st.lists(st.tuples(st.integers(1, 2**nodes - 1), st.integers(1, 3)), max_size=6)
    one = st.builds(Demand.of, st.integers(-1, 6), places, st.just(2**nodes - 1))
    return st.lists(one, min_size=1, max_size=most).map(tuple)


def machine_of(nodes):
    row = st.lists(st.sampled_from([10, 20, 21]), min_size=nodes, max_size=nodes).map(tuple)
    return st.lists(row, min_size=nodes, max_size=nodes).map(
        lambda rows: Numa(nodes=tuple(range(nodes)), distances=dict(enumerate(rows)))
    )


@given(st.integers(1, 10).flatmap(lambda n: st.tuples(st.just(n), demands_on(n))))
@settings(max_examples=150, deadline=None)
def test_the_sets_that_meet_come_in_the_kubelets_order(case):
    """TM-5, and how many nodes are enough."""
    nodes, demands = case
    expected = [mask for mask in subsets(range(nodes)) if meets(demands, mask)]
    assert list(sets_that_meet(demands, 2**nodes - 1, SearchBudget(10**9))) == expected
    fewest = expected[0].bit_count() if expected else None
    assert fewest_nodes(demands, 2**nodes - 1, SearchBudget(10**9)) == fewest


ONE_OF_TWO_AND_TWO = [(Demand.of(1, [(0b1100, 1)], 0b1111),), (Demand.of(2, [(0b10, 1), (0b100, 1)], 0b1111),)]
"""{0, 1} is common to {0, 1, 3} and {0, 1, 2}; when the first list leaves out node 3, {0, 2} is found before it."""
ALL_ALIKE = Numa(nodes=(0, 1, 2, 3), distances=dict.fromkeys(range(4), (10, 10, 10, 10)))


@given(
    st.integers(1, 6).flatmap(
        lambda n: st.tuples(
            st.lists(demands_on(n, most=2), min_size=1, max_size=3),
            st.just(n),
            st.integers(1, n),
            st.none() | machine_of(n),
        )
    )
)
@example((ONE_OF_TWO_AND_TWO, 4, 2, None))
@example((ONE_OF_TWO_AND_TWO, 4, 2, ALL_ALIKE))
@settings(max_examples=300, deadline=None)
def test_the_best_set_is_the_best_of_the_product(case):
    lists, nodes, size, near = case
    members = [{mask for mask in range(2**nodes) if meets(demands, mask)} for demands in lists]
    common = functools.reduce(lambda ones, others: {one & other for one in ones for other in others}, members)
    found = [mask for mask in common if mask.bit_count() == size]
    best = min(found, key=lambda mask: (near.total_distance(mask) if near else 0, mask), default=None)
    assert best_in_common(lists, 2**nodes - 1, size, SearchBudget(10**9), near=near) == best


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(demands_on(n), st.none() | machine_of(n), st.just(n))))
@settings(deadline=None)
def test_exchanging_twins_changes_nothing(case):
    demands, near, nodes = case

    def exchanged(mask, one, other):
        return mask ^ (one | other) if bool(mask & one) != bool(mask & other) else mask

    groups = twin_groups(demands, 2**nodes - 1, SearchBudget(), near)
    assert functools.reduce(operator.or_, groups) == sum(groups) == 2**nodes - 1
    bits = [[1 << node for node in nodes_of(group)] for group in groups]
    for one, other in [pair for group in bits for pair in itertools.combinations(group, 2)]:
        for mask in range(2**nodes):
            swapped = exchanged(mask, one, other)
            assert [touched(d.places, mask) for d in demands] == [touched(d.places, swapped) for d in demands]
            assert near is None or near.total_distance(mask) == near.total_distance(swapped)


def test_nodes_of_one_box_are_twins_as_far_as_distances_go():
    anything = (Demand.of(1, [(2**24 - 1, 4)], 2**24 - 1),)
    assert twin_groups(anything, 2**24 - 1, SearchBudget()) == [2**24 - 1]
    assert twin_groups(anything, 2**24 - 1, SearchBudget(), machine(24)) == [0xFF, 0xFF00, 0xFF0000]
    odd = Numa(nodes=(0, 1, 2), distances={0: (10, 20, 20), 1: (20, 10, 30), 2: (20, 20, 11)})
    assert twin_groups(anything, 0b111, SearchBudget(), odd) == [0b1, 0b10, 0b100]


# --- hints and merges ------------------------------------------------------------------------------


@st.composite
def device_hints(draw, nodes):
    """The hints of one resource, of whose devices some are free, and some are to be taken over."""
    place = st.frozensets(st.integers(0, nodes - 1), max_size=draw(st.sampled_from([1, 1, 2, nodes])))
    possible = draw(st.dictionaries(place, st.integers(1, 4), min_size=1, max_size=6))
    free = {at: draw(st.integers(0, count)) for at, count in possible.items()}
    reusable = draw(st.lists(st.sampled_from(list(possible)), max_size=draw(st.sampled_from([0, 0, 2]))))
    candidates = candidate_nodes(possible, range(nodes))
    request = draw(st.integers(1, 8))
    return generate_hints(free, reusable=reusable, request=request, nodes=candidates, possible=possible)


def hints_as_lists(nodes, most):
    return st.lists(device_hints(nodes).map(lambda found: found or [ANY]) | st.just([ANY_PREFERRED]), max_size=most)


def cases(largest, most):
    return st.integers(1, largest).flatmap(lambda n: st.tuples(hints_as_lists(n, most), machine_of(n)))


def all_listed(lists):
    return [hints.as_list() if isinstance(hints, DeviceHints) else hints for hints in lists]


@given(cases(4, 3), st.booleans())
@settings(max_examples=200, deadline=None)
def test_devices_are_merged_as_the_product_of_their_hints(case, closest):
    lists, numa = case
    expected = brute_force(all_listed(lists), numa, closest=closest)
    assert merge_hints(lists, numa, prefer_closest=closest).hint == expected


@given(cases(10, 3), st.booleans(), st.sampled_from(Policy))
@settings(max_examples=300, deadline=None)
def test_devices_of_up_to_ten_nodes_are_aligned_as_their_hints_one_by_one(case, closest, policy):
    """The mask, whether it is preferred, whether the pod may run, and why."""
    lists, numa = case
    topology = Topology(policy=policy, scope=Scope.POD, prefer_closest=closest, numa=numa)
    named = {f"r{n}": hints for n, hints in enumerate(lists)}
    listed = {f"r{n}": hints for n, hints in enumerate(all_listed(lists))}
    assert align(topology, [named]) == align(topology, [listed])


@given(st.integers(1, 10).flatmap(device_hints))
@settings(deadline=None)
def test_hints_come_one_after_the_other_as_they_stand_in_the_list(hints):
    assert list(hints) == (hints.as_list() if hints else [])


@given(cases(FEW_NODES, 3), st.booleans())
@settings(max_examples=100, deadline=None)
def test_with_few_nodes_there_is_always_an_answer(case, closest):
    """Within the kubelet's own limit no pod is refused because its answer costs too much."""
    lists, numa = case
    assert merge_hints(lists, numa, prefer_closest=closest, budget=SearchBudget(0)) == merge_hints(
        lists, numa, prefer_closest=closest
    )


# --- many nodes ------------------------------------------------------------------------------------


def machine(nodes):
    """Eight nodes in a box are nearer together than those of two boxes."""
    rows = [
        tuple(10 if one == other else 20 if one // 8 == other // 8 else 40 for other in range(nodes))
        for one in range(nodes)
    ]
    return Numa(nodes=tuple(range(nodes)), distances=dict(enumerate(rows)))


def resource(possible, request, *, free=None, nodes=64):
    free = possible if free is None else free
    candidates = candidate_nodes(possible, range(nodes))
    return generate_hints(free, reusable=[], request=request, nodes=candidates, possible=possible)


def everywhere(nodes, request=1):
    return resource({frozenset(range(nodes)): 4}, request)


def one_each(nodes, request, *, busy=()):
    possible = {frozenset({node}): 1 for node in range(nodes)}
    return resource(possible, request, free={at: 1 for at in possible if not at & set(busy)})


def pairs(nodes, request):
    return resource({frozenset({2 * n, 2 * n + 1}): 2 for n in range(nodes // 2)}, request)


def gpus(request):
    """As on a GB200: each is near a CPU's node, and has eight nodes of its own for its partitions."""
    return resource({frozenset({n // 2, *range(2 + 8 * n, 10 + 8 * n)}): 1 for n in range(4)}, request, nodes=34)


def nics(request):
    return resource({frozenset({0}): 2, frozenset({1}): 2}, request, nodes=34)


MANY = {
    "GB200": ([gpus(2), nics(2)], {0}, True),
    "GB200, all of it": ([gpus(4), nics(3)], {0, 1}, True),
    "GB200, all GPUs": ([gpus(4), nics(2)], {0, 1}, False),
    "all name all": ([everywhere(34)], {0}, True),
    "all name all, and all are asked for": ([everywhere(34, 4)] * 3, {0}, True),
    "one each": ([one_each(64, 3)], {0, 1, 2}, True),
    "half of them": ([one_each(64, 32)] * 2, set(range(32)), True),
    "some are busy": ([one_each(64, 4, busy=range(0, 64, 2))], {1, 3, 5, 7}, True),
    "never the same": ([one_each(64, 4, busy=range(32)), one_each(64, 3)], {0, 1, 2, 3}, False),
    "narrow and wide": ([everywhere(64, 2), one_each(64, 1, busy=range(60))], {60}, True),
    "narrow and wider": ([everywhere(64, 2), one_each(64, 2)], {0, 1}, False),
    "pairs": ([pairs(64, 5)], {0, 2, 4}, True),
    "three kinds": ([pairs(64, 2), one_each(64, 1, busy=[0, 1]), everywhere(64, 3)], {2}, True),
    "apart": ([resource({frozenset({0}): 1}, 1), resource({frozenset({63}): 1}, 1)], set(range(64)), False),
}
FAR = ("half of them", True)
"""Which 32 of 64 nodes are nearest together takes too many steps."""


@pytest.mark.parametrize(
    ("case", "closest"), [(case, closest) for case in MANY for closest in (False, True) if (case, closest) != FAR]
)
def test_many_nodes_take_few_steps(case, closest):
    """The kubelet looks at 2^64 masks for each list, and at their product. The limit here is a number of steps."""
    lists, nodes, preferred = MANY[case]
    found = merge_hints(lists, machine(64), prefer_closest=closest, budget=SearchBudget(MAX_STEPS // 2))
    assert (set(nodes_of(found.hint.affinity)), found.hint.preferred) == (nodes, preferred)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("policy", Policy)
def test_four_devices_that_each_name_34_nodes(policy, count):
    """Kubernetes #135541."""
    hints = {f"r{n}": everywhere(34, 1 + n) for n in range(count)}
    found = align(Topology(policy=policy, scope=Scope.POD, numa=machine(34)), [hints])
    assert found.admit
    assert found.hint.affinity == (None if policy is Policy.NONE else 1)


def scattered(nodes, request):
    """Devices in so many combinations of nodes that it is hard to find out how to touch enough of them."""
    return resource({frozenset({n, (n * 7 + k * k) % nodes}): 1 for n in range(nodes) for k in (1, 2, 3)}, request)


def test_a_search_that_costs_too_much_is_given_up():
    lists = [scattered(34, 90), scattered(33, 80)]
    with pytest.raises(SearchBudgetExceeded):
        merge_hints(lists, machine(34))
    hints = dict(zip("ab", lists, strict=True))
    for policy in (Policy.BEST_EFFORT, Policy.RESTRICTED):
        found = align(Topology(policy=policy, scope=Scope.POD, numa=machine(34)), [hints])
        assert (found.admit, found.is_decided) == (False, False)
        assert "34 NUMA nodes" in found.because
    found = align(Topology(policy=Policy.SINGLE_NUMA_NODE, scope=Scope.POD, numa=machine(34)), [hints])
    assert (found.admit, found.is_decided) == (False, True)  # that is decided without a search


def test_the_nearest_of_very_many_are_not_searched_for_either():
    topology = Topology(policy=Policy.BEST_EFFORT, scope=Scope.POD, prefer_closest=True, numa=machine(64))
    found = align(topology, [{"r": MANY[FAR[0]][0][0]}])
    assert (found.admit, found.is_decided) == (False, False)
    assert "no prefer-closest-numa-nodes" in found.because


def test_the_same_question_takes_the_same_steps():
    """A limit of time would refuse a pod on a busy machine that is admitted on a quiet one."""

    def refused(steps):
        try:
            merge_hints([one_each(34, 9, busy=[3, 4]), pairs(34, 3)], machine(34), budget=SearchBudget(steps))
        except SearchBudgetExceeded:
            return True
        return False

    enough = next(steps for steps in range(0, MAX_STEPS, 50) if not refused(steps))
    assert refused(enough - 50)
    assert not any(refused(enough) for _ in range(3))


def test_nodes_that_a_list_does_not_know_are_left_out_by_it():
    """TM-11: two lists over different nodes have only the nodes of both in common."""
    low = resource({frozenset({n}): 1 for n in range(40)}, 30)
    high = resource({frozenset({n}): 1 for n in range(20, 64)}, 30)
    found = merge_hints([low, high], machine(64)).hint
    assert (found.affinity, found.preferred) == (mask_of(range(20, 40)), False)


def test_a_list_keeps_its_nodes_that_the_others_do_not_know():
    """TM-11: {2,3} is what {0,2,3} of one list and {2,3,4} of the other have in common."""
    one = resource({frozenset({n}): count for n, count in {0: 2, 2: 1, 3: 1, 4: 2}.items()}, 4)
    other = resource({frozenset({n}): count for n, count in {2: 1, 3: 1, 4: 5}.items()}, 5)
    found = merge_hints([one, other], machine(64)).hint
    assert found == merge_hints(all_listed([one, other]), machine(64)).hint
    assert (nodes_of(found.affinity), found.preferred) == ((2, 3), False)


def test_one_node_each_and_never_the_same():
    """single-numa-node leaves short lists, but their nodes can be combined in 2^64 ways."""
    even, odd = one_each(64, 1, busy=range(1, 64, 2)), one_each(64, 1, busy=range(0, 64, 2))
    topology = Topology(policy=Policy.SINGLE_NUMA_NODE, scope=Scope.POD, numa=machine(64))
    found = align(topology, [{"even": even, "odd": odd}])
    assert (found.admit, found.because) == (False, "the lists have no node in common")


class Counted(SearchBudget):
    """An unlimited budget that counts the steps."""

    def __init__(self):
        super().__init__(10**9)
        self.taken = 0

    def spend(self, steps):
        self.taken += steps
        super().spend(steps)


TAKEN = {
    "GB200": (108, 111),
    "GB200, all of it": (500, 506),
    "GB200, all GPUs": (768, 768),
    "all name all": (272, 391),
    "all name all, and all are asked for": (476, 595),
    "one each": (2530, 4896),
    "half of them": (4798,),
    "some are busy": (1534, 3135),
    "never the same": (1066, 2731),
    "narrow and wide": (417, 641),
    "narrow and wider": (580, 1109),
    "pairs": (3431, 4577),
    "three kinds": (5691, 5814),
    "apart": (0, 0),
}
"""How many steps each case takes: for the lowest nodes, and for the nearest ones."""


@pytest.mark.parametrize("case", MANY)
def test_how_many_steps_a_question_takes(case):
    """The number decides whether a pod is refused, so a change must be looked at. Fewer are better."""
    taken = []
    for closest in (False, True):
        if (case, closest) != FAR:
            budget = Counted()
            merge_hints(MANY[case][0], machine(64), prefer_closest=closest, budget=budget)
            taken.append(budget.taken)
    assert tuple(taken) == TAKEN[case]


def test_a_budget_ends_when_more_is_spent_than_is_left():
    budget = SearchBudget(3)
    budget.spend(2)
    budget.spend(1)
    budget.spend(0)
    with pytest.raises(SearchBudgetExceeded):
        budget.spend(1)


def test_nodes_that_are_alike_are_not_tried_in_every_order():
    """Three boxes of four nodes have 924 sets of six nodes, but only few that differ."""
    rows = {one: tuple(10 if one == n else 20 if one // 4 == n // 4 else 40 for n in range(12)) for one in range(12)}
    boxes = Numa(nodes=tuple(range(12)), distances=rows)
    demand = Demand.of(6, [(1 << node, 1) for node in range(12)], 2**12 - 1)
    budget = Counted()
    assert best_in_common([(demand,)], 2**12 - 1, 6, budget, near=boxes) == 0b111111
    assert budget.taken == 4596


def test_the_sets_of_a_question_are_paid_for_as_they_are_found():
    """The first of 2^24 sets costs nothing for the others."""
    demand = Demand.of(2, [(1 << node, 1) for node in range(24)], 2**24 - 1)
    budget = Counted()
    found = sets_that_meet((demand,), 2**24 - 1, budget)
    assert [next(found) for _ in range(3)] == [0b11, 0b101, 0b1001]
    assert budget.taken == 122
    assert fewest_nodes((demand,), 2**24 - 1, Counted()) == 2
