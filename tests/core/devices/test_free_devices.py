"""Free devices in order and by NUMA nodes, compared with sorting and splitting them every time."""

from __future__ import annotations

from collections import Counter
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from devicemgr.core.devices.free_devices import FEW, FreeDevices
from devicemgr.core.devices.pod_devices import in_order
from devicemgr.model import Device, natural_order

IDS = [f"dev-{n}" for n in range(12)]
NODES = st.none() | st.lists(st.sampled_from([-1, 0, 1, 2]), max_size=2).map(tuple)


def split_by_affinity(devices, free, affinity, without):
    """ALLOC-15, ALLOC-16, literally."""
    left = [id for id in in_order(free) if id not in without]
    if affinity is None or not any(set(device.numa_nodes or ()) - {-1} for device in devices.values()):
        return [], [], left
    classes = [], [], []
    for id in left:
        nodes = set(devices[id].numa_nodes or ()) - {-1}
        classes[2 if not nodes else 0 if nodes & affinity else 1].append(id)
    return classes


class Free(RuleBasedStateMachine):
    @initialize(nodes=st.lists(NODES, min_size=1, max_size=len(IDS)), data=st.data())
    def begin(self, nodes, data):
        self.devices = {id: Device(id=id, numa_nodes=at) for id, at in zip(IDS, nodes, strict=False)}
        self.free = data.draw(st.sets(st.sampled_from(list(self.devices))))
        self.kept = FreeDevices(self.devices, self.free)

    @rule(ids=st.lists(st.sampled_from([*IDS, "gone"])), few=st.sampled_from([0, FEW]))
    def take(self, ids, few):
        self.free.difference_update(ids)
        with patch("devicemgr.core.devices.free_devices.FEW", few):
            self.kept.discard(ids)

    @rule(ids=st.lists(st.sampled_from(IDS)), few=st.sampled_from([0, FEW]))
    def give_back(self, ids, few):
        listed = [id for id in ids if id in self.devices]
        self.free.update(listed)
        with patch("devicemgr.core.devices.free_devices.FEW", few):
            self.kept.add(listed)

    @rule(id=st.sampled_from(IDS), nodes=NODES, free=st.booleans(), health=st.sampled_from(["Healthy", "Unhealthy"]))
    def move(self, id, nodes, free, health):
        if id in self.devices:
            self.devices[id] = Device(id=id, numa_nodes=nodes, health=health)
            (self.free.add if free else self.free.discard)(id)
            self.kept.update(self.devices[id], free=free)

    @rule(
        affinity=st.none() | st.frozensets(st.sampled_from([0, 1, 2])),
        without=st.frozensets(st.sampled_from([*IDS, "gone"])),
        also=st.frozensets(st.sampled_from([*IDS, "gone"])),
    )
    def look(self, affinity, without, also):
        expected = split_by_affinity(self.devices, self.free, affinity, without)
        for ids, wanted in zip(self.kept.split(affinity, without=without), expected, strict=True):
            assert (list(ids), len(ids)) == (wanted, len(wanted))
            assert {id for id in [*IDS, "gone"] if id in ids} == set(wanted)
            more = ids.also(also)
            assert len(more) == len(list(more)) == len({*wanted, *also})
            assert set(more) == {*wanted, *also}
            listed = [id for id in more if id in self.devices]
            assert listed == list(in_order(listed))

    @invariant()
    def as_many(self):
        if hasattr(self, "kept"):
            assert (len(self.kept), list(self.kept.all())) == (len(self.free), list(in_order(self.free)))

    @invariant()
    def as_many_everywhere(self):
        if hasattr(self, "kept"):
            at = {id: frozenset(device.numa_nodes or ()) - {-1} for id, device in self.devices.items()}
            assert self.kept.node_sets == set(at.values())
            assert self.kept.healthy_counts == Counter(
                at[id] for id, device in self.devices.items() if device.is_healthy
            )
            without = frozenset(IDS[::3])
            assert Counter(self.kept.free_counts(without=without)) == Counter(at[id] for id in self.free - without)


TestFree = Free.TestCase
TestFree.settings = settings(max_examples=100, stateful_step_count=20, deadline=None, derandomize=True)


@given(st.sets(st.text("a01-", max_size=5) | st.from_regex("dev-(0|[1-9][0-9]?[0-9]?)", fullmatch=True)))
def test_the_fast_path_to_the_natural_order_gives_the_same_order(ids):
    """ALLOC-8."""
    assert in_order(ids) == tuple(sorted(ids, key=natural_order))


@pytest.mark.parametrize("place", [lambda n: n * 7919 % 20_011, lambda n: n, lambda n: (n + 1) % 20_000])
@pytest.mark.parametrize("name", ["dev-{}", "dev-{}-x", "0{}"])
def test_sorting_a_long_list_in_runs_gives_the_same_order(name, place):
    ids = [name.format(place(n)) for n in range(20_000)]
    assert in_order(ids) == tuple(sorted(ids, key=natural_order))
