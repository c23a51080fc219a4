"""Long work in steps: whatever happens between two of them, a half-done result is never visible."""

from __future__ import annotations

import pytest

from devicemgr.concurrency.steps import CHUNK, SharedSteps, in_chunks, run_steps
from devicemgr.core.devices.endpoint import Endpoint
from devicemgr.core.devices.pod_devices import Assignment
from devicemgr.core.devices.store import DeviceStore
from devicemgr.core.views.pod_resources import allocatable_devices
from devicemgr.core.views.pod_status import pod_statuses
from devicemgr.model import Container, Device, DeviceList, Owner, Pod, RunOptions
from tests.helpers import apply_list

R = "vendor.com/gpu"
COUNT = 3 * CHUNK
BEFORE = [Device(id=f"d{n}") for n in range(COUNT)]
AFTER = [Device(id=f"d{n}", health="Unhealthy" if n % 2 else "Healthy") for n in range(10, COUNT + 20)]
OWNER = Owner("pod", "main")


def connected(store, generation=1):
    store.connect(Endpoint(resource=R, generation=generation, socket="s"))
    return store


@pytest.fixture
def store():
    found = connected(DeviceStore())
    apply_list(found, R, 1, BEFORE)
    return found


def seen(store):
    """Everything that is visible of the resource."""
    return store.counts(R), dict(store.devices(R)), list(store.free_devices(R).all()), store.version, store.reports


def halfway(steps):
    for _ in range(3):
        next(steps)
    return steps


@pytest.mark.parametrize("looks", [True, False])
def test_a_long_list_is_taken_over_all_at_once(store, looks):
    expected = connected(DeviceStore())
    wanted = [apply_list(expected, R, 1, BEFORE), apply_list(expected, R, 1, AFTER)][1]
    before, count = seen(store) if looks else None, 0

    def watched():
        nonlocal count
        steps = store.applying(R, 1, DeviceList(devices=AFTER))
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value
            count += 1
            assert not looks or seen(store) == before
            yield

    assert run_steps(watched()) == wanted
    assert count >= 2 * COUNT // CHUNK
    assert seen(store)[:3] == seen(expected)[:3]


def test_so_is_one_that_differs_in_much(store):
    first = DeviceList(devices=BEFORE)
    run_steps(store.applying(R, 1, first))
    different = DeviceList(devices=AFTER, base=first.token, removed=BEFORE, added=AFTER)
    steps = halfway(store.applying(R, 1, different))
    assert store.counts(R).allocatable == COUNT
    run_steps(steps)
    assert dict(store.devices(R)) == {device.id: device for device in AFTER}
    run_steps(store.applying(R, 1, DeviceList(devices=AFTER[1:], base=different.token, removed=AFTER[:1])))
    assert store.counts(R).capacity == COUNT + 9


@pytest.mark.parametrize(
    "news",
    [
        lambda store: connected(store, 2),
        lambda store: store.stop_endpoint(R, 1, reason="gone", now=0.0),
        lambda store: [store.stop_endpoint(R, 1, reason="gone", now=0.0), store.sweep(now=1000.0)],
    ],
    ids=["replaced", "stopped", "swept"],
)
def test_a_list_that_is_outdated_by_then_changes_nothing(store, news):
    steps = halfway(store.applying(R, 1, DeviceList(devices=AFTER)))
    news(store)
    before = seen(store)
    assert run_steps(steps) == []
    assert seen(store) == before


def test_what_is_held_and_given_back_meanwhile_counts(store):
    steps = halfway(store.sorting([R]))
    store.reserve(OWNER, R, ["d1", "d2"])
    store.release(OWNER, R)
    store.reserve(OWNER, R, ["d3"])
    run_steps(steps)
    assert list(store.free_devices(R).all()) == [d.id for d in BEFORE if d.id != "d3"]


@pytest.mark.parametrize("change", ["whole", "difference", "end"])
def test_a_partly_sorted_outdated_list_is_not_used(store, change):
    first = DeviceList(devices=BEFORE)
    run_steps(store.applying(R, 1, first))
    mine, other = halfway(store.sorting([R])), halfway(store.sorting([R]))
    if change == "whole":
        apply_list(store, R, 1, AFTER)
    elif change == "difference":
        run_steps(store.applying(R, 1, DeviceList(devices=BEFORE[:-1], base=first.token, removed=BEFORE[-1:])))
    else:
        store.stop_endpoint(R, 1, reason="gone", now=0.0)
    run_steps(mine), run_steps(other)
    healthy = [device.id for device in store.devices(R).values() if device.id in (store.healthy(R) or ())]
    assert list(store.free_devices(R).all()) == healthy


@pytest.mark.parametrize("shared", [False, True])
def test_a_list_that_comes_meanwhile_is_sorted_in_steps_as_well(store, shared):
    alone = len(list(store.sorting([R])))
    apply_list(store, R, 1, AFTER)
    steps, other = halfway(store.sorting([R])), store.sorting([R])
    if shared:
        halfway(other)
    apply_list(store, R, 1, BEFORE)
    assert sum(1 for _ in steps) >= alone - 1
    if shared:
        run_steps(other)
    assert list(store.free_devices(R).all()) == [device.id for device in BEFORE]


def test_sorting_ends_though_a_plug_in_always_sends_new_lists(store):
    count = 0
    for count, _ in enumerate(store.sorting([R]), 1):
        apply_list(store, R, 1, (AFTER, BEFORE)[count % 2])
    assert 5 <= count <= 100


def test_the_available_are_as_many_whether_they_are_sorted_or_not(store):
    store.reserve(OWNER, R, ["d1", "d2", "gone"])
    assert store.counts(R).available == COUNT - 2
    run_steps(store.sorting([R]))
    assert store.counts(R).available == COUNT - 2
    store.release(OWNER, R)
    assert store.counts(R).available == COUNT


def test_tasks_that_want_the_same_list_sorted_share_the_work(store):
    alone = len(list(store.sorting([R])))
    apply_list(store, R, 1, AFTER)
    one, other, count = store.sorting([R]), store.sorting([R]), 0
    for _ in one:
        count += 1 + (next(other, "end") != "end")
    assert count <= alone + 3, "nearly twice as many if each did all of it"


def test_an_answer_of_the_pod_resources_api_is_a_snapshot(store):
    steps = halfway(allocatable_devices(store))
    apply_list(store, R, 1, AFTER)
    assert [one.device for one in run_steps(steps)] == [device.id for device in BEFORE]


@pytest.mark.parametrize(
    "news",
    [
        lambda store, token: run_steps(
            store.applying(R, 1, DeviceList(devices=BEFORE[:-9], base=token, removed=BEFORE[-9:]))
        ),
        lambda store, token: apply_list(store, R, 1, AFTER),
        lambda store, token: store.stop_endpoint(R, 1, reason="gone", now=0.0),
        lambda store, token: store.release(OWNER, R),
    ],
    ids=["difference", "whole", "stopped", "released"],
)
def test_so_is_the_status_of_the_pods(store, news):
    first = DeviceList(devices=BEFORE)
    run_steps(store.applying(R, 1, first))
    store.add_pod(Pod(name="p", uid=OWNER.pod_uid, containers=(Container(name=OWNER.container),)))
    store.record(OWNER, R, Assignment(devices={device.id: None for device in BEFORE}, answer=RunOptions()))
    steps = halfway(pod_statuses(store))
    news(store, first.token)
    (status,) = run_steps(steps)
    assert status.containers[0].health == {R: {device.id: "Healthy" for device in BEFORE}}


def test_tasks_that_share_work_all_get_its_result_and_do_it_once():
    did = []

    def work():
        for n in range(4):
            did.append(n)
            yield
        return "result"

    shared = SharedSteps(work())
    one, other = shared.steps(), shared.steps()
    next(one), next(other), next(one)
    assert (run_steps(other), run_steps(one), run_steps(shared.steps())) == ("result",) * 3
    assert did == [0, 1, 2, 3]


def test_work_that_fails_fails_for_all_tasks_that_share_it():
    def work():
        yield
        raise MemoryError("no room")

    shared = SharedSteps(work())
    one, other, late = shared.steps(), shared.steps(), shared.steps()
    next(one)
    for steps in (one, other, late):
        with pytest.raises(MemoryError):
            run_steps(steps)


def test_a_cancelled_task_leaves_the_work_to_the_others():
    def work():
        for _ in range(3):
            yield
        return "result"

    shared = SharedSteps(work())
    one, other = shared.steps(), shared.steps()
    next(one), next(other)
    one.close()
    assert run_steps(other) == "result"


def test_chunks_are_the_items_in_order():
    assert list(in_chunks(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(in_chunks([])) == []
    assert list(map(len, in_chunks(range(CHUNK + 1)))) == [CHUNK, 1]


def test_the_healthy_ones_are_chosen_in_steps():
    """In one step that took longer than any other; the first step only records which there are."""
    store = connected(DeviceStore())
    apply_list(store, R, 1, AFTER)
    steps, chosen = allocatable_devices(store), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Device, "is_healthy", property(lambda device: chosen.append(device) or device.health == "Healthy")
        )
        next(steps)
        assert 0 < len(chosen) <= CHUNK
        assert [one.device for one in run_steps(steps)] == [d.id for d in AFTER if d.health == "Healthy"]
