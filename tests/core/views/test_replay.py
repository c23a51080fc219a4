"""The state again, from events: a manager and the replay of its events show the same, step by step."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from devicemgr import Container, Device, open_device_manager
from devicemgr.concurrency.steps import run_steps
from devicemgr.core.views.overview import overview
from devicemgr.core.views.replay import Replay
from devicemgr.events import PodAdmissionCancelled
from devicemgr.input.trace_file import read_trace
from devicemgr.testing import open_simulated_plugin
from devicemgr.testing.scenario.runner import counts_text
from tests.helpers import GPU, NIC, pod

NOTHING = {"added": [], "removed": [], "changed": [], "unhealthy": []}
APPLIED = {"event": "DeviceListApplied", "resource": GPU, "generation": 1, **NOTHING}
DEVICES = [Device(id=f"gpu-{number}", numa_nodes=(number // 2,)) for number in range(4)]


def without_kinds(found):
    """A trace does not have the kinds of containers, nor those without devices."""
    pods = [replace(one, containers=()) for one in found.pods]
    return replace(found, pods=tuple(pods))


class Compared:
    """Every event goes through JSON, as in a file, and into a replay."""

    def __init__(self):
        self.replay, self.steps = Replay(), 0

    def note(self, recorded):
        run_steps(self.replay.applying(json.loads(json.dumps(recorded.as_json()))))

    def agree(self, manager):
        live, again = (without_kinds(run_steps(one)) for one in (manager.overview_steps(), overview(self.replay.store)))
        assert again == live
        self.steps += 1
        return live


async def test_a_replay_shows_what_the_manager_showed(root_dir):
    compared = Compared()
    async with open_device_manager(root_dir, sinks=[compared.note], restart_wait=0) as manager:
        async with open_simulated_plugin(manager.layout.plugins, NIC, devices=2) as nic:
            await nic.register()
            await manager.wait_for_resource(NIC, allocatable=2)
            async with open_simulated_plugin(manager.layout.plugins, GPU, devices=DEVICES, endpoint="a.sock") as gpu:
                await gpu.register()
                await manager.wait_for_resource(GPU, allocatable=4)
                compared.agree(manager)
                assert await manager.admit(pod("p", gpu=2, nic=1))
                assert not await manager.admit(pod("greedy", gpu=1, nic=9))
                compared.agree(manager)
                gpu.set_health("gpu-0", "Unhealthy")
                await manager.wait_for_resource(GPU, allocatable=3)
                assert "x" in compared.agree(manager).resources[0].groups[0].states
                newer = [*DEVICES, Device(id=""), Device(id="gpu-9"), Device(id="gpu-9", health="odd")]
                async with open_simulated_plugin(
                    manager.layout.plugins, GPU, devices=newer, endpoint="b.sock"
                ) as other:
                    await other.register()
                    await manager.wait_for_resource(GPU, capacity=5)
                    assert compared.agree(manager).resources[0].counts.standbys == ("a.sock",)
                await manager.wait_for_resource(GPU, capacity=4, allocatable=3)
                assert compared.agree(manager).resources[0].socket == "a.sock"
            await manager.wait_for_resource(GPU, capacity=4, allocatable=0)
            assert "?" in compared.agree(manager).resources[0].groups[0].states
            manager.faults.expire_grace()
            assert compared.agree(manager).resources[0].counts.endpoint == "removed"
            await manager.faults.restart()
            assert compared.agree(manager).pods[0].name == "p"
        async with open_simulated_plugin(manager.layout.plugins, NIC, devices=2) as nic:
            await nic.register()
            await manager.wait_for_resource(NIC, allocatable=2)
            compared.agree(manager)
            await manager.remove("default", "p")
            assert compared.agree(manager).pods == ()
    assert compared.steps == 10


async def test_a_second_run_begins_with_what_the_first_has_left(root_dir):
    compared = Compared()
    async with open_device_manager(root_dir, sinks=[compared.note]) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=DEVICES) as gpu:
            await gpu.register()
            await manager.wait_for_resource(GPU, allocatable=4)
            await manager.admit(pod("p", Container(name="main", limits={GPU: 3})))
    later = Compared()
    async with open_device_manager(root_dir, sinks=[compared.note, later.note]) as manager:
        (resource,) = compared.agree(manager).resources
        assert later.agree(manager).resources == (resource,)
        assert [(group.numa_nodes, group.states) for group in resource.groups] == [((0,), "??"), ((1,), "?")]
    (root_dir / "device-plugins" / "kubelet_internal_checkpoint").unlink()
    (root_dir / "device-plugins" / ".kubelet_internal_checkpoint.previous").unlink()
    async with open_device_manager(root_dir, sinks=[compared.note]) as manager:
        assert compared.agree(manager).resources == ()


async def hang(ids):
    await trio.sleep_forever()


async def test_an_admission_that_nobody_waits_for_leaves_nothing(root_dir):
    """Its first container has its devices already."""
    compared = Compared()
    containers = Container(name="first", limits={GPU: 1}), Container(name="second", limits={NIC: 1})
    async with open_device_manager(root_dir, sinks=[compared.note]) as manager:
        async with (
            open_simulated_plugin(manager.layout.plugins, GPU, devices=DEVICES) as gpu,
            open_simulated_plugin(manager.layout.plugins, NIC, devices=1) as nic,
        ):
            for plugin in (gpu, nic):
                await plugin.register()
            await manager.wait_for_resource(GPU, allocatable=4)
            await manager.wait_for_resource(NIC, allocatable=1)
            nic.on_allocate = hang
            async with trio.open_nursery() as waiting:
                waiting.start_soon(manager.admit, pod("p", *containers))
                await manager.log.wait_until(lambda: compared.replay.store.held(GPU))
                waiting.cancel_scope.cancel()
            assert compared.agree(manager).pods == ()
            assert compared.replay.store.held(GPU) == {}
            assert [one.event.uid for one in manager.log.after(0) if isinstance(one.event, PodAdmissionCancelled)] == [
                "p"
            ]


async def test_a_pod_that_is_admitted_again_in_vain_keeps_what_it_had(root_dir):
    compared = Compared()
    async with open_device_manager(root_dir, sinks=[compared.note]) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=DEVICES) as gpu:
            await gpu.register()
            await manager.wait_for_resource(GPU, allocatable=4)
            assert await manager.admit(pod("p", gpu=2))
            assert not await manager.admit(pod("p", gpu=3))
            assert len(compared.replay.store.held(GPU)) == 2
            compared.agree(manager)


@pytest.mark.parametrize(
    "event",
    [
        {"event": "NoSuchEvent"},
        {"event": "PluginRegistered"},
        {"event": "PluginRegistered", "resource": 7, "endpoint": [], "generation": {}},
        {"event": "DeviceListReceived", "resource": GPU, "generation": 1, "devices": [{"id": 1}]},
        {"event": "DeviceListReceived", "resource": GPU, "generation": 1, "devices": "nonsense"},
        {"event": "DevicesAllocated", "pod_uid": "u", "container": "c", "resource": GPU, "devices": 3},
        {"event": "AssignmentRestored", "pod_uid": "u", "container": "c", "resource": GPU, "devices": []},
        {"event": "PodAdmitted", "namespace": None, "name": 3, "uid": []},
        {"event": "EndpointStopped", "resource": GPU, "generation": 4},
        {"event": "ResourceRemoved", "resource": GPU},
        {"event": "StateRestored", "resources": 5},
    ],
)
def test_an_event_that_is_not_as_ours_changes_nothing(event):
    replay = Replay()
    for one in (event, event, {"event": "ManagerReady"}, event):
        run_steps(replay.applying(one))
    assert all(not one.groups for one in run_steps(overview(replay.store)).resources)


TRACES = Path(__file__).parents[2] / "traces"


@pytest.mark.parametrize("path", sorted(TRACES.glob("*.trace")), ids=lambda path: path.stem)
def test_of_a_golden_trace_all_devices_are_known(path):
    """They are those that its own steps ``capacity`` have written."""
    replay = Replay()
    for step in re.findall(r"^> .*\n(?: .*\n)*", path.read_text(), re.MULTILINE):
        for line in read_trace(step.splitlines(), file=path.name):
            if line.event is not None:
                run_steps(replay.applying(line.event))
        if step.startswith("> capacity"):
            known = [f"    {name} {counts_text(counts)}\n" for name, counts in replay.store.capacity().items()]
            assert step == "".join(["> capacity\n", *known])


def states_after(*events):
    """Of a golden trace, which has no lists."""
    replay = Replay()
    registered = {"event": "PluginRegistered", "resource": GPU, "endpoint": "a.sock", "generation": 1}
    for event in (registered, *events):
        run_steps(replay.applying(event))
    return "".join(group.states for one in run_steps(overview(replay.store)).resources for group in one.groups)


def test_without_lists_what_they_changed_is_applied():
    first = APPLIED | {"capacity": 3, "allocatable": 2, "added": ["a", "b", "c"], "unhealthy": ["c"]}
    ill = APPLIED | {"capacity": 3, "allocatable": 1, "changed": ["b"], "unhealthy": ["b"]}
    fewer = APPLIED | {"capacity": 2, "allocatable": 1, "removed": ["a"], "changed": ["c"]}
    assert [states_after(*(first, ill, fewer)[:count]) for count in range(4)] == ["", "ffu", "fuu", "uf"]


def test_without_lists_who_returns_has_the_devices_that_were_lost():
    """They counted as unhealthy, so the first list changes those that are not."""
    first = APPLIED | {"capacity": 2, "allocatable": 1, "added": ["a", "b"], "unhealthy": ["b"]}
    ended = {"event": "EndpointStopped", "resource": GPU, "generation": 1}
    again = {"event": "PluginRegistered", "resource": GPU, "endpoint": "a.sock", "generation": 2}
    back = APPLIED | {"generation": 2, "capacity": 2, "allocatable": 1, "changed": ["a"]}
    assert [states_after(*(first, ended, again, back)[:count]) for count in (1, 2, 3, 4)] == ["fu", "uu", "uu", "fu"]


def test_without_lists_who_serves_again_has_the_list_that_it_has_sent_meanwhile():
    """Nobody has noted that one. Its changes are to the list of the newer plug-in."""
    events = [
        APPLIED | {"capacity": 2, "allocatable": 2, "added": ["a", "b"]},
        {"event": "PluginRegistered", "resource": GPU, "endpoint": "b.sock", "generation": 2},
        APPLIED | {"generation": 2, "capacity": 2, "allocatable": 1, "changed": ["a"], "unhealthy": ["a"]},
        {"event": "PluginEnded", "resource": GPU, "generation": 2},
        APPLIED | {"capacity": 2, "allocatable": 1},
    ]
    assert [states_after(*events[:count]) for count in (3, 5)] == ["uf", "uf"]


@pytest.mark.parametrize("end", [[], [{"event": "ManagerStopping"}]], ids=["killed", "stopped"])
def test_a_manager_that_has_restored_nothing_begins_without_what_the_one_before_had(end):
    ready, listed = {"event": "ManagerReady"}, APPLIED | {"capacity": 1, "allocatable": 1, "added": ["a"]}
    restored = {"event": "StateRestored", "resources": [GPU], "removed": []}
    assert states_after(ready) == ""
    assert states_after(listed, *end, ready) == ("f" if not end else "")  # the first one that is seen
    replay = Replay()
    for event in (ready, {"event": "PluginRegistered", "resource": GPU, "endpoint": "a.sock", "generation": 1}, listed):
        run_steps(replay.applying(event))
    for event in (*end, restored, ready):
        run_steps(replay.applying(event))
    assert list(replay.store.capacity()) == [GPU]
    for event in (*end, ready):
        run_steps(replay.applying(event))
    assert replay.store.capacity() == {}


@pytest.mark.parametrize(
    "unclear",
    [
        {"capacity": 9, "allocatable": 9, "added": ["b"], "omitted": 7},
        {"capacity": 3, "allocatable": 2, "added": ["b", "c"]},
        {"capacity": 1, "allocatable": 0, "changed": ["a", "never-seen"]},
        {"capacity": 1, "allocatable": "x"},
    ],
)
def test_without_lists_nothing_is_made_up(unclear):
    assert states_after(APPLIED | {"capacity": 1, "allocatable": 1, "added": ["a"]}, APPLIED | unclear) == "f"


# --- a trace that begins later ----------------------------------------------------------------------------------------

HELD = {"pod_uid": "u", "container": "c", "resource": GPU, "devices": ["gpu-0"]}
TWO = [{"id": f"gpu-{number}", "health": "Healthy"} for number in range(2)]
ALLOCATED = {"event": "DevicesAllocated", **HELD}
LISTED = {"event": "DeviceListReceived", "resource": GPU, "generation": 7, "devices": TWO}
IN_FORCE = APPLIED | {"generation": 7, "capacity": 2, "allocatable": 2}
STOPPED = {"event": "EndpointStopped", "resource": GPU, "generation": 7}
RESTORED = {"event": "AssignmentRestored", **HELD, "devices": {"gpu-0": None}, "sequence": 1}
"""By the next manager, in the same file."""


def seen_after(*events):
    """The one resource after these events, the first of which is the tenth of its log."""
    replay = Replay()
    for number, event in enumerate(events, 10):
        run_steps(replay.applying({"sequence": number, **event}))
    (resource,) = run_steps(replay.overview()).resources
    known = "devices" if resource.knows_devices else "nothing"
    states = "".join(group.states for group in resource.groups)
    return replay.missing, resource.counts.endpoint, known, states, resource.counts.allocated


@pytest.mark.parametrize(
    ("events", "seen"),
    [
        ([ALLOCATED], (9, "unknown", "nothing", "?", 1)),
        ([ALLOCATED, LISTED], (9, "unknown", "nothing", "?", 1)),
        ([ALLOCATED, LISTED, IN_FORCE], (9, "serving", "devices", "hf", 1)),
        ([ALLOCATED, LISTED, IN_FORCE | {"generation": 8}], (9, "serving", "nothing", "?", 1)),
        ([ALLOCATED, STOPPED], (9, "stopped", "nothing", "?", 1)),
        ([LISTED, IN_FORCE, STOPPED], (9, "stopped", "devices", "uu", 0)),
        ([ALLOCATED, {"event": "ResourceRemoved", "resource": GPU}], (9, "removed", "devices", "?", 1)),
        ([ALLOCATED, {"event": "StateRestored", "resources": [GPU]}], (0, "stopped", "devices", "", 0)),
        ([LISTED, IN_FORCE, {**ALLOCATED, "sequence": 40}], (37, "serving", "devices", "hf", 1)),
        ([ALLOCATED, RESTORED], (0, "removed", "devices", "?", 1)),
    ],
)
def test_of_a_trace_that_begins_later_is_known_what_its_events_tell(events, seen):
    assert seen_after(*events) == seen


def test_who_is_promoted_and_was_not_seen_to_register_has_devices_that_are_not_known():
    ended = {"event": "PluginEnded", "resource": GPU, "generation": 7}
    promoted = {"event": "PluginPromoted", "resource": GPU, "generation": 3, "endpoint": "old.sock"}
    assert seen_after(LISTED, IN_FORCE, ended) == (9, "unknown", "nothing", "", 0)
    assert seen_after(LISTED, IN_FORCE, ended, promoted) == (9, "serving", "nothing", "", 0)
