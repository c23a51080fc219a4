"""The groups about what the node publishes, the health in a pod's status, and what PodResources lists."""

from __future__ import annotations

import pytest

from devicemgr.concurrency.steps import run_steps
from devicemgr.core.checkpoint.kubelet_format import FILE_NAME
from devicemgr.core.devices.endpoint import Endpoint
from devicemgr.core.devices.store import DeviceStore
from devicemgr.core.views import node_status as views
from devicemgr.core.views.pod_resources import allocatable_devices, on_nodes
from devicemgr.events import DeviceHealthChanged
from devicemgr.model import Device, NodeStatus, Owner, RunOptions
from tests.helpers import apply_list

from .better import better

R = "vendor.com/res"


def node_status(case):
    """CC-053…CC-055."""
    found = views.node_status(
        NodeStatus(capacity=case["node_capacity"], allocatable=case["node_allocatable"]),
        capacity=case["dm_capacity"],
        allocatable=case["dm_allocatable"],
        removed=case["dm_deleted"],
        reserved=case.get("reserved"),
    )
    assert {"capacity": found.capacity, "allocatable": found.allocatable} == case["expect"]


def reset_extended_resources(case):
    """CC-058, CC-059."""
    given = case["capacity_and_allocatable"]
    assert (views.reset_extended_resources(given) if case["should_reset"] else given) == case["expect"]


def should_reset(case):
    """LIM-17: a file that only the kubelet takes for a checkpoint does not count."""
    entries = case["directory_entries"]
    if entries is None:
        pytest.skip("a directory that cannot be listed ends our start with DirectoryUnusable")
    expect = case["expect"]
    if FILE_NAME not in entries and any(not name.startswith(".") for name in entries):
        expect = better(expect, kubelet=False, ours=True)
    assert views.should_reset_extended_resources(entries) == expect


def remove_missing_extended_resources(case):
    """CC-157."""
    requests = case["requests"]
    assert views.remove_missing_extended_resources(requests, case["node_allocatable"]) == case["expect_requests"]


def sanitize_allocatable(case):
    """CC-073."""
    held = case["allocated_counts"] if case["pod_known"] else {}
    assert views.sanitize_node_allocatable(case["node_allocatable"], held) == case["expect"]


def holding(listed, owners):
    """A store that lists devices with their health, some of them held (whether they are listed or not)."""
    store = DeviceStore()
    store.connect(Endpoint(resource=R, generation=1, socket="a.sock"))
    apply_list(store, R, 1, [Device(id=id) for id in {**listed, **owners}])
    for id, owner in owners.items():
        store.reserve(Owner(owner, "main"), R, [id])
        store.commit(Owner(owner, "main"), R, (id,), RunOptions())
    apply_list(store, R, 1, devices_of(listed))
    return store


def devices_of(health):
    return [Device(id=id, health=value) for id, value in health.items()]


def resource_health(case):
    """LIM-7: a held device that is no longer listed is Unknown; the kubelet says Healthy."""
    store = holding(case["listed"], dict.fromkeys(case["allocated"], "pod"))
    expect = {
        id: health if id in case["listed"] else better(health, kubelet="Healthy", ours="Unknown")
        for id, health in case["expect"].items()
    }
    assert store.health_of(R, case["allocated"]) == expect


def health_update_events(case):
    """LIM-7: the owners of devices that vanish get an event as well, which the kubelet omits."""
    store = holding(case["old_list"], case["device_owner"])
    events = apply_list(store, R, 1, devices_of(case["new_list"]))
    told = {event.pod_uid for event in events if isinstance(event, DeviceHealthChanged)}
    vanished = {case["device_owner"].get(id) for id in case["old_list"].keys() - case["new_list"].keys()} - {None}
    assert told == set(case["expect_pods"]) | vanished


def held_by(records, lists):
    """A store with these lists of healthy devices by resource, and these records."""
    store = DeviceStore()
    for resource in dict.fromkeys([*lists, *(record["resource"] for record in records)]):
        held = [id for record in records if record["resource"] == resource for id in record["devices"]]
        store.connect(Endpoint(resource=resource, generation=1, socket="a.sock"))
        apply_list(store, resource, 1, [Device(id=id) for id in {**dict.fromkeys(held), **lists.get(resource, {})}])
    for record in records:
        owner, ids = Owner(record["pod"], record["container"]), tuple(record["devices"])
        store.reserve(owner, record["resource"], ids)
        store.commit(owner, record["resource"], ids, RunOptions())
    return store


def device_owner(case):
    """RHS-4, D37-20."""
    expect = case["expect"]
    owners = {Owner(expect["pod"], expect["container"])} if expect["pod"] else set()
    assert held_by(case["records"], {}).holders(case["resource"], case["device"]) == owners


def health_update_events_by_resource(case):
    """CC-164, D37-20; LIM-7 as above."""
    resource, before, after = case["resource"], case["old_list"], case["new_list"]
    store = held_by(case["owners"], {resource: before, **case["other_lists"]})
    events = apply_list(store, resource, 1, devices_of(after))
    told = {event.pod_uid for event in events if isinstance(event, DeviceHealthChanged)}
    gone = before.keys() - after.keys()
    vanished = {one["pod"] for one in case["owners"] if one["resource"] == resource and gone & {*one["devices"]}}
    assert told == set(case["expect_pods"]) | vanished


def podresources_devices(case):
    devices = {}
    for node, ids in case["numa_map"].items():
        for id in ids:
            devices.setdefault(id, []).append(int(node))
    found = [one for id, nodes in devices.items() for one in on_nodes(R, id, nodes)]
    rows = [{"device_ids": [one.device], "numa": one.node} for one in found]
    assert sorted(rows, key=str) == sorted(case["expect"], key=str)


def filter_healthy_devices(case):
    """CC-111: the condition lists the healthy devices; a resource that is only there has no devices."""
    store = DeviceStore()
    for resource, ids in case["all_devices"].items():
        if resource in case["condition"]:
            healthy = case["condition"][resource]
            store.connect(Endpoint(resource=resource, generation=1, socket="a.sock"))
            listed = [Device(id=id, health="Healthy" if id in healthy else "Unhealthy") for id in ids]
            apply_list(store, resource, 1, listed)
    found = {}
    for one in run_steps(allocatable_devices(store)):
        found.setdefault(one.resource, []).append(one.device)
    assert found == {resource: ids for resource, ids in case["expect"].items() if ids}


RUNNERS = (
    podresources_devices,
    filter_healthy_devices,
    node_status,
    reset_extended_resources,
    should_reset,
    remove_missing_extended_resources,
    sanitize_allocatable,
    resource_health,
    health_update_events,
    device_owner,
    health_update_events_by_resource,
)
