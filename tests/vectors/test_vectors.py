"""The kubelet's answers as data, group by group: ``pytest tests/vectors [--vectors FILE]``.

Two files are run by default: what v1.36 answers, and what v1.37 answers where that changed, or is new.

A group is a function here. One that has no function yet is reported as skipped, by its name.
"""

from __future__ import annotations

import json
from collections import Counter

import pytest

from devicemgr.core.allocation.container_options import merge_run_options
from devicemgr.core.allocation.plan import DevicesToReuse, Request, plan_allocation
from devicemgr.core.checkpoint.kubelet_format import Checkpoint, parse_checkpoint, render
from devicemgr.core.checkpoint.own_section import SavedCheckpoint, load_snapshot
from devicemgr.core.devices.endpoint import Endpoint
from devicemgr.core.devices.free_devices import FreeDevices
from devicemgr.core.devices.store import DeviceStore
from devicemgr.errors import AllocationRefused
from devicemgr.model import Container, ContainerKind, Device, DeviceSpec, Mount, Owner, RunOptions
from devicemgr.resource_names import why_not_extended
from tests.helpers import apply_list

from . import checkpoint, lifecycle, names, node, pod_resources, registration, topology
from .better import better

R = "vendor.com/res"
ME = Owner("pod", "container")
OTHER = Owner("other-pod", "container")


def devices_of(mapping, healthy=None):
    """``id -> NUMA nodes`` as devices; those not in ``healthy`` are unhealthy."""
    return [
        Device(
            id=id,
            numa_nodes=None if nodes is None else tuple(nodes),
            health="Healthy" if healthy is None or id in healthy else "Unhealthy",
        )
        for id, nodes in mapping.items()
    ]


def store_with(resource, devices):
    store = DeviceStore()
    store.connect(Endpoint(resource=resource, generation=1, socket="a.sock"))
    apply_list(store, resource, 1, devices)
    return store


def extended_resource_name(case):
    """CC-060."""
    assert (why_not_extended(case["name"]) is None) == case["expect"]


ERRORS = {
    "insufficient_devices": "ALLOC-E6",
    "no_healthy_devices": "ALLOC-E4",
    "unregistered_resource": "ALLOC-E3",
    "previously_allocated_unhealthy": "ALLOC-E5",
    "request_changed": "ALLOC-E1",
}


def allocation_prechecks(case):
    """ALLOC-6a, ALLOC-6c…6e, CC-064…CC-066."""
    store, held = DeviceStore(), case["already_allocated"] or []
    resource = case["resource"]
    for name, healthy in case["registered_healthy"].items():
        store.connect(Endpoint(resource=name, generation=1, socket="a.sock"))
        before = dict.fromkeys((*healthy, *(held if name == resource else ())))
        apply_list(store, name, 1, devices_of(before))
    if held:
        if resource not in case["registered_healthy"]:
            store.connect(Endpoint(resource=resource, generation=1, socket="a.sock"))
            apply_list(store, resource, 1, devices_of(dict.fromkeys(held)))
        store.reserve(ME, resource, held)
        store.commit(ME, resource, tuple(held), RunOptions())
    if resource in case["registered_healthy"]:
        apply_list(store, resource, 1, devices_of(dict.fromkeys(case["registered_healthy"][resource])))
    elif held:
        store.stop_endpoint(resource, 1, reason="gone", now=0)
        store.sweep(now=301)
    running = case["container_running"] and not case["sources_ready"]
    request = Request(owner=ME, resource=resource, count=case["required"], is_running=running)
    expect = case["expect"]
    if case["required"] == 0 and not case["registered_healthy"].get(resource):
        # LIM-15: a limit of 0 asks for nothing, so it needs no healthy device.
        expect = better(expect, kubelet={"error": "no_healthy_devices"}, ours={"result": "nothing_to_do"})
    if "error" in expect:
        with pytest.raises(AllocationRefused) as caught:
            plan_allocation(store, request)
        assert caught.value.rule == ERRORS[expect["error"]]
    else:
        devices = plan_allocation(store, request).devices
        assert len(devices) == (0 if expect["result"] == "nothing_to_do" else case["required"])


def _selection(case):
    healthy = case.get("healthy", list(case["devices"]))
    store = store_with(R, devices_of(case["devices"], healthy))
    store.reserve(OTHER, R, case["allocated"])
    affinity = case["affinity"]
    request = Request(
        owner=ME,
        resource=R,
        count=case["request"],
        reusable=frozenset(case["reusable"]),
        affinity=None if affinity is None else frozenset(affinity),
    )
    return store, request


def select_devices(case):
    """ALLOC-5d, ALLOC-7b, CC-080…CC-088."""
    store, request = _selection(case)
    expect = case["expect"]
    if "error" in expect:
        with pytest.raises(AllocationRefused) as caught:
            plan_allocation(store, request)
        assert caught.value.rule == ERRORS[expect["error"]]
        numbers = f"Requested: {expect['requested_remaining']}, Available: {expect['available']}"
        assert numbers in str(caught.value)
        return
    plan = plan_allocation(store, request)
    answer = case["plugin_preferred_response"]
    if answer is not None:  # this plug-in would be asked
        if expect["preferred_call"] is None:
            assert plan.preferred_request is None
        else:
            _same_question(plan.preferred_request, expect["preferred_call"])
        plan = plan_allocation(store, request, preferred=answer)
    assert len(set(plan.devices)) == len(plan.devices) == expect["count"]
    assert set(expect["must_contain"]) <= set(plan.devices)
    firsts = Counter(str(case["devices"][id][0]) for id in plan.devices if case["devices"][id])
    assert {node: firsts[node] for node in expect["first_numa_node_histogram"]} == expect["first_numa_node_histogram"]


def _same_question(question, expect):
    assert set(question.available) == set(expect["available"])
    assert set(question.must_include) == set(expect["must_include"])
    assert question.size == expect["size"]


def preferred_call_parameters(case):
    """CC-089…CC-093."""
    _same_question(plan_allocation(*_selection(case)).preferred_request, case["expect"])


def filter_by_affinity(case):
    """ALLOC-7c, CC-078, CC-079."""
    devices = {device.id: device for device in devices_of(case["devices"])}
    affinity = case["affinity"]
    free = FreeDevices(devices, case["available"])
    split = free.split(None if affinity is None else frozenset(affinity), without=frozenset())
    for name, ids in zip(("aligned", "unaligned", "no_affinity"), split, strict=True):
        assert set(ids) == set(case["expect"][name])


def init_container_reuse(case):
    """CC-070, CC-071."""
    store = store_with(R, devices_of({f"dev{n}": None for n in range(case["device_count"])}))
    reusable, got = DevicesToReuse(), {}
    for step in case["sequence"]:
        container = Container(name=step["name"], kind=ContainerKind(step["kind"]), limits={R: step["request"]})
        owner = Owner("pod", step["name"])
        request = Request(owner=owner, resource=R, count=step["request"], reusable=frozenset(reusable.of(R)))
        plan = plan_allocation(store, request)
        store.reserve(owner, R, plan.devices)
        store.commit(owner, R, plan.devices, RunOptions())
        reusable.update_after(container, R, plan.devices)
        got[step["name"]] = set(plan.devices)
    for expected in case["expect"]["containers"]:
        assert len(got[expected["name"]]) == expected["count"]
    assert len(set().union(*got.values())) == case["expect"]["total_devices_in_use"]
    lasting = [got[s["name"]] for s in case["sequence"] if s["kind"] != "init"]
    assert sum(map(len, lasting)) == len(set().union(*lasting)) if lasting else True


def run_container_options(case):
    """CC-112…CC-114."""
    answers = {name: _answer(answer) for name, answer in case["responses"].items()}
    merged, _ = merge_run_options(answers)
    expect = case["expect"]
    assert not expect.get("conflict_is_error", False), "a conflict is reported, and does not fail a start (RUN-6)"
    if "env_names" in expect:
        assert sorted(merged.envs) == expect["env_names"]
        assert sorted(merged.annotations) == expect["annotation_names"]
        assert [spec.container_path for spec in merged.device_specs] == expect["device_container_paths"]
        assert [mount.container_path for mount in merged.mounts] == expect["mount_container_paths"]
        return
    assert sorted(merged.cdi_devices) == sorted(expect["cdi_devices"])
    assert (dict(merged.envs), dict(merged.annotations)) == (dict(expect["envs"]), dict(expect["annotations"]))
    assert (list(merged.mounts), list(merged.device_specs)) == (expect["mounts"], expect["devices"])


def _answer(answer):
    return RunOptions(
        envs=dict(answer.get("envs", {})),
        annotations=dict(answer.get("annotations", {})),
        mounts=tuple(Mount(container_path=m["container"], host_path=m["host"]) for m in answer.get("mounts", ())),
        device_specs=tuple(
            DeviceSpec(container_path=d["container"], host_path=d["host"]) for d in answer.get("devices", ())
        ),
        cdi_devices=tuple(answer.get("cdi", ())),
    )


class CapacityScript:
    """CAP-1, LW: a method for each step of a script, on a store with its own clock."""

    def __init__(self, case):
        self.case = case
        self.store, self.now, self.generation = DeviceStore(grace=case["grace_period_s"]), 1000.0, 0
        self.stopped_at = {}
        self.duplicates = Counter()

    def connect(self, resource):
        self.generation += 1
        self.store.connect(Endpoint(resource=resource, generation=self.generation, socket="a.sock"))

    def list(self, resource, devices):
        self.list_raw(resource, devices.items())

    def list_raw(self, resource, devices):
        entries = [Device(id=id, health=health) for id, health in devices]
        self.duplicates = Counter({resource: twice} if (twice := len(entries) - len({e.id for e in entries})) else {})
        apply_list(self.store, resource, self.store.endpoint(resource).generation, entries)

    def disconnect(self, resource):
        generation = self.store.endpoint(resource).generation
        self.store.stop_endpoint(resource, generation, reason="gone", now=self.now)
        self.stopped_at[resource] = self.now

    def set_stop_time_age_s(self, resource, value):
        if resource not in self.stopped_at:
            self.disconnect(resource)
        self.now = self.stopped_at[resource] + value

    def capacity(self, expect):
        deleted = [event.resource for event in self.store.sweep(now=self.now)]
        for name in deleted:
            self.store.acknowledge_removed(name)
        counts = self.store.capacity()
        for name, twice in self.duplicates.items():
            # LIM-16: a duplicate id counts once, and one bad health makes it unhealthy.
            expect = {
                "capacity": expect["capacity"] | {name: expect["capacity"][name] - twice},
                "allocatable": expect["allocatable"] | {name: expect["allocatable"][name] - twice},
                "deleted": expect["deleted"],
            }
        assert {name: c.capacity for name, c in counts.items()} == expect["capacity"]
        allocatable = {**dict.fromkeys(expect["capacity"], 0), **expect["allocatable"]}
        assert {name: c.allocatable for name, c in counts.items()} == allocatable
        assert sorted(deleted) == sorted(expect["deleted"])

    def sets(self, resource, expect):
        counts = self.store.counts(resource)
        assert (counts.allocatable, counts.capacity - counts.allocatable) == (expect["healthy"], expect["unhealthy"])

    def tracked_resources(self, expect):
        assert sorted(self.store.capacity()) == expect

    def allocate_rpc(self, resource, expect):
        assert self.store.endpoint(resource).state.value == "stopped"

    prestart_rpc = allocate_rpc

    def is_device_plugin_resource(self, resource, expect):
        assert self.store.is_known(resource) == expect

    def restart_from_checkpoint(self):
        """Through the text of the file, into a new store (REG-19)."""
        before = self.store.snapshot()
        text = render(
            Checkpoint(registered={name: tuple(sorted(healthy)) for name, healthy in before.registered.items()})
        )
        self.store = DeviceStore(grace=self.case["grace_period_s"])
        restored = load_snapshot(SavedCheckpoint(checkpoint=parse_checkpoint(text), section=None), lambda answer: None)
        self.store.restore(restored.snapshot, now=self.now)
        self.stopped_at = dict.fromkeys(before.registered, self.now)


def capacity_script(case):
    """LW-4, CC-040…CC-047."""
    script = CapacityScript(case)
    for step in case["steps"]:
        arguments = {key: value for key, value in step.items() if key != "op"}
        getattr(script, step["op"])(**arguments)


RUNNERS = {
    function.__name__: function
    for function in (
        extended_resource_name,
        allocation_prechecks,
        select_devices,
        preferred_call_parameters,
        filter_by_affinity,
        init_container_reuse,
        run_container_options,
        capacity_script,
        *topology.RUNNERS,
        *node.RUNNERS,
        *checkpoint.RUNNERS,
        *lifecycle.RUNNERS,
        *pod_resources.RUNNERS,
        *names.RUNNERS,
        *registration.RUNNERS,
    )
}


def test_case(vector_group, vector_case):
    if vector_group not in RUNNERS:
        pytest.skip(f"group {vector_group} has no runner yet: {vector_case} cases")
    RUNNERS[vector_group](vector_case)


def test_a_file_that_says_how_many_cases_it_has_has_as_many(vector_file):
    data = json.loads(vector_file.read_text())
    counts = data.get("meta", {}).get("counts", {})
    assert {name: len(data["groups"].get(name, ())) for name in counts} == counts
