"""Hints from counts by place, compared with the rule itself: every mask, every device (TM-8)."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from devicemgr.core.devices.endpoint import Endpoint
from devicemgr.core.devices.store import DeviceStore
from devicemgr.core.topology.hints import Hint, container_hints, resource_hints
from devicemgr.core.topology.numa import Numa
from devicemgr.model import Container, Device, DeviceList, Owner, RunOptions
from tests.helpers import apply_list

MACHINE = (0, 1, 2)
PLACES = st.none() | st.lists(st.sampled_from([0, 1, 2, 7]), max_size=2, unique=True).map(tuple)


def by_the_rule(devices, available, must, request):
    """Steps 1 to 4 of TM-8; the devices that could serve are the healthy ones (LIM-13)."""
    placed = {device.id: set(device.numa_nodes or ()) for device in devices}
    candidates = sorted({node for nodes in placed.values() for node in nodes} & set(MACHINE)) or list(MACHINE)
    narrowest, found = len(candidates), []
    for size in range(1, len(candidates) + 1):
        for mask in map(set, combinations(candidates, size)):
            if sum(bool(placed[d.id] & mask) for d in devices if d.is_healthy) >= request:
                narrowest = min(narrowest, size)
            if any(placed[id] and not placed[id] & mask for id in must):
                continue
            reached = [id for id in must if placed[id]]
            if len(reached) + sum(bool(placed[id] & mask) for id in available) >= request:
                found.append(mask)
    return [(mask, len(mask) == narrowest) for mask in found]


@given(
    places=st.lists(st.tuples(PLACES, st.booleans()), min_size=1, max_size=7),
    request=st.integers(1, 4),
    data=st.data(),
)
@settings(max_examples=400, deadline=None, derandomize=True)
def test_counts_by_place_give_the_hints_of_the_rule(places, request, data):
    devices = [
        Device(id=f"d{n}", health="Healthy" if is_healthy else "Unhealthy", numa_nodes=at)
        for n, (at, is_healthy) in enumerate(places)
    ]
    store = DeviceStore()
    store.connect(Endpoint(resource="r", generation=1, socket="s"))
    moved = data.draw(st.lists(PLACES, min_size=len(devices), max_size=len(devices)))
    earlier = [Device(id=device.id, numa_nodes=at) for device, at in zip(devices, moved, strict=True)]
    before, after = DeviceList(devices=earlier), DeviceList(devices=devices, removed=earlier, added=devices)
    if data.draw(st.booleans()):  # the counts are updated, not computed again
        apply_list(store, "r", 1, before)
        store.free_devices("r")
        after = replace(after, base=before.token)
    apply_list(store, "r", 1, after)
    ids = [device.id for device in devices]
    busy = data.draw(st.sets(st.sampled_from(ids)))
    reusable = data.draw(st.sets(st.sampled_from(sorted(busy)))) if busy else set()
    store.reserve(Owner("pod", "main"), "r", busy)
    available = {device.id for device in devices if device.is_healthy} - busy

    found = resource_hints(store, "r", request, held=frozenset(), reusable=reusable, numa=Numa(nodes=MACHINE))

    if not any(at for at, _ in places):
        assert found is None
        return
    expected = []
    if len(available) + len(reusable) >= request:
        expected = by_the_rule(devices, available, reusable, request)
        if not expected:
            unplaced = sum(not devices[ids.index(id)].numa_nodes for id in available | reusable)
            expected = by_the_rule(devices, available, reusable, max(request - unplaced, 0)) if unplaced else []
    assert [({n for n in range(8) if h.affinity >> n & 1}, h.preferred) for h in found] == expected


def test_what_a_container_holds_already_is_its_only_choice():
    """TM-7: the hints come from the devices that it holds; there are none when it requests another number."""
    store = DeviceStore()
    store.connect(Endpoint(resource="r", generation=1, socket="s"))
    apply_list(store, "r", 1, [Device(id=f"d{n}", numa_nodes=(n,)) for n in range(3)])

    def hints(request, held):
        found = resource_hints(store, "r", request, held=held, reusable=frozenset(), numa=Numa(nodes=MACHINE))
        return [(hint.affinity, hint.preferred) for hint in found]

    assert hints(1, {"d1"}) == [(0b010, True), (0b011, False), (0b110, False), (0b111, False)]
    assert hints(2, {"d1"}) == []
    assert hints(1, {"d1", "d2"}) == []
    owner = Owner("pod", "main")
    store.reserve(owner, "r", ["d2"])
    store.commit(owner, "r", ("d2",), RunOptions())
    container = Container(name="main", limits={"r": 1})
    (found,) = container_hints(store, owner, container, {}, Numa(nodes=MACHINE)).values()
    assert next(iter(found)) == Hint(0b100, True)
    (others,) = container_hints(store, Owner("pod", "other"), container, {"r": {"d2"}}, Numa(nodes=MACHINE)).values()
    assert [hint.affinity for hint in others] == [0b100, 0b101, 0b110, 0b111]
