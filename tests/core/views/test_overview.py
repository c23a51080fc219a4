"""Everything at a glance: each device once, in its group, with one letter; and who holds it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devicemgr.concurrency.steps import SMALL_CHUNK, run_steps
from devicemgr.core.devices.endpoint import Endpoint
from devicemgr.core.devices.store import DeviceStore
from devicemgr.core.views.overview import DeviceGroup, PodOverview, overview
from devicemgr.model import Device, Owner, RunOptions
from tests.helpers import GPU, apply_list, pod

A, B = Owner("a", "main"), Owner("b", "main")


def device(id, *numa_nodes, health="Healthy"):
    return Device(id=id, health=health, numa_nodes=numa_nodes or None)


@pytest.fixture
def store():
    made = DeviceStore()
    made.connect(Endpoint(resource=GPU, generation=1, socket="gpu.sock"))
    apply_list(made, GPU, 1, [device("g10", 0), device("g9", 0), device("g2", 1, health="Unhealthy"), device("g3")])
    return made


def look(store):
    return run_steps(overview(store))


def letters(store):
    (resource,) = look(store).resources
    return {id: state for group in resource.groups for id, state in zip(group.devices, group.states, strict=True)}


def test_devices_are_grouped_by_their_numa_nodes_in_natural_order(store):
    (resource,) = look(store).resources
    assert resource.groups == (
        DeviceGroup(numa_nodes=(0,), devices=("g9", "g10"), states="ff"),
        DeviceGroup(numa_nodes=(1,), devices=("g2",), states="u"),
        DeviceGroup(numa_nodes=None, devices=("g3",), states="f"),
    )
    assert (resource.name, resource.socket, resource.counts.allocatable) == (GPU, "gpu.sock", 3)


def test_what_is_held_is_so_from_the_reservation_on(store):
    store.reserve(A, GPU, ["g9"])
    assert letters(store)["g9"] == "h"
    assert look(store).resources[0].held == {A: ("g9",)}
    assert look(store).pods == ()
    store.commit(A, GPU, ("g9",), RunOptions())
    store.add_pod(pod("a"))
    assert look(store).pods == (PodOverview(namespace="default", name="a", uid="a", containers=(("main", "main"),)),)
    store.remove_pod("a")
    assert letters(store)["g9"] == "f"


def test_a_held_device_may_be_unhealthy_or_gone(store):
    store.commit(A, GPU, ("g9", "g10", "g3"), RunOptions())
    apply_list(store, GPU, 1, [device("g9", 0, health="Unhealthy"), device("g3")])
    assert letters(store) == {"g9": "x", "g10": "?", "g3": "h"}
    assert look(store).resources[0].groups[0].numa_nodes == (0,)  # where it was when it was allocated


def test_after_its_plug_in_has_stopped_nobody_knows_what_a_held_device_is(store):
    store.commit(A, GPU, ("g9",), RunOptions())
    store.stop_endpoint(GPU, 1, reason="gone", now=0.0)
    assert letters(store) == {"g9": "?", "g10": "u", "g2": "u", "g3": "u"}
    store.sweep(now=1000.0)
    assert letters(store) == {"g9": "?"}
    assert look(store).resources[0].counts.endpoint == "removed"


def test_it_is_true_of_the_moment_of_its_first_step(store):
    steps = overview(store)
    next(steps)
    apply_list(store, GPU, 1, [])
    store.commit(A, GPU, (), RunOptions())
    assert sum(len(group.devices) for group in run_steps(steps).resources[0].groups) == 4


def test_each_of_very_many_resources_is_true_of_one_moment():
    store = DeviceStore()
    names = [f"vendor.com/r{number:03}" for number in range(SMALL_CHUNK + 1)]
    for generation, name in enumerate(names):
        store.connect(Endpoint(resource=name, generation=generation, socket="a.sock"))
        apply_list(store, name, generation, [device("d0"), device("d1")])
    steps = overview(store)
    next(steps)
    for generation, name in enumerate(names):
        apply_list(store, name, generation, [device("d1")])
    seen = run_steps(steps).resources
    assert [one.name for one in seen] == names
    assert [one.counts.capacity for one in seen] == [2] * SMALL_CHUNK + [1]
    assert [len(group.devices) for one in seen for group in one.groups] == [2] * SMALL_CHUNK + [1]


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=3),
        st.tuples(st.booleans(), st.booleans(), st.sampled_from([None, (0,), (1,), (0, 1)])),
        max_size=20,
    )
)
def test_every_device_is_there_once_and_the_letters_add_up(devices):
    store = DeviceStore()
    store.connect(Endpoint(resource=GPU, generation=1, socket="gpu.sock"))
    listed = [
        Device(id=id, health="Healthy" if healthy else "Unhealthy", numa_nodes=nodes)
        for id, (healthy, _, nodes) in devices.items()
    ]
    apply_list(store, GPU, 1, listed)
    store.reserve(B, GPU, [id for id, (_, held, _) in devices.items() if held])
    found = letters(store)
    assert found == {
        id: {(True, True): "h", (True, False): "f", (False, True): "x", (False, False): "u"}[healthy, held]
        for id, (healthy, held, _) in devices.items()
    }
    counts = store.counts(GPU)
    assert (counts.capacity, counts.available) == (len(found), [*found.values()].count("f"))
