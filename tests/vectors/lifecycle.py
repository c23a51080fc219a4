"""The groups about the operations on a pod: what a resize does to devices, and who counts while a pod is admitted.

devicemgr has one operation, ``add``. A resize changes CPU and memory only, which it does not know, so nobody needs to
tell it; if somebody does, that is the admission of a pod that is running, in which nothing is decided again (ALLOC-2).
"""

from __future__ import annotations

import pytest

from devicemgr.core.allocation.plan import Request, plan_allocation
from devicemgr.core.devices.endpoint import Endpoint
from devicemgr.core.devices.store import DeviceStore
from devicemgr.core.topology.alignment import align
from devicemgr.core.topology.hints import container_hints
from devicemgr.core.topology.numa import Numa, nodes_of
from devicemgr.core.topology.policy import Policy, Topology
from devicemgr.errors import AllocationRefused
from devicemgr.model import Container, Device, Owner, Pod, RunOptions
from tests.helpers import apply_list

from .better import better

R = "vendor.com/res"
ME = Owner("pod", "main")
RULES = {"previously_allocated_unhealthy": "ALLOC-E5", "request_changed": "ALLOC-E1"}


def holding(resource, held, devices):
    store = DeviceStore()
    store.connect(Endpoint(resource=resource, generation=1, socket="a.sock"))
    apply_list(store, resource, 1, devices)
    store.reserve(ME, resource, held)
    store.commit(ME, resource, tuple(held), RunOptions())
    return store


def allocate_operation(case):
    """CC-161, ALLOC-2, D37-10."""
    resource, held, healthy = case["resource"], case["held"], case["healthy"]
    store = DeviceStore()
    if held:
        store = holding(resource, held, [Device(id=id) for id in held])
    else:
        store.connect(Endpoint(resource=resource, generation=1, socket="a.sock"))
    apply_list(store, resource, 1, [Device(id=id) for id in healthy])
    is_running = case["operation"] == "resize"
    request = Request(owner=ME, resource=resource, count=case["required"], is_running=is_running)
    expect = case["expect"]
    if is_running and held and len(held) != case["required"]:
        # ALLOC-4: the API server lets no such change through, and here it is refused.
        expect = better(expect, kubelet="nothing", ours={"error": "request_changed"})
    if isinstance(expect, dict):
        with pytest.raises(AllocationRefused) as caught:
            plan_allocation(store, request)
        assert caught.value.rule == RULES[expect["error"]]
    else:
        count = {"nothing": 0, "allocated": case["required"]}[expect]
        assert len(plan_allocation(store, request).devices) == count


def resize_hints(case):
    """CC-163, TM-7, D37-11: the hints of a resize are those of ``add``, which is what can be asked for here. That no
    resize is refused because of them is in tests/daemon/pods."""
    devices = [Device(id=id, numa_nodes=tuple(nodes)) for id, nodes in case["devices"].items()]
    store, numa = holding(R, case["held"], devices), Numa(nodes=tuple(case["numa_nodes"]))
    container = Container(name=ME.container, limits={R: case["requested"]})
    hints = container_hints(store, ME, container, {}, numa)
    found = [{"affinity": list(nodes_of(hint.affinity)), "preferred": hint.preferred} for hint in hints[R]]
    assert found == case["expect_hints"]
    assert align(Topology(policy=Policy.RESTRICTED, numa=numa), [hints]).admit == case["restricted_admits"]


def fit_other_pods(case):
    """CAP-9, D37-13: a pod counts from its admission on, and what it has reserved before does not make it count."""
    store, weights = DeviceStore(), {name: 2**number for number, name in enumerate(case["active_pods"])}
    store.connect(Endpoint(resource=R, generation=1, socket="a.sock"))
    apply_list(store, R, 1, [Device(id=str(number)) for number in range(2 ** len(weights))])
    for name, count in weights.items():
        store.reserve(Owner(name, "main"), R, list(store.free_devices(R).all(without=frozenset()))[:count])
        if name in case["pods_with_stored_allocation"]:
            store.add_pod(Pod(name=name, uid=name, containers=(Container(name="main", limits={R: count}),)))
    used = store.requested[R] - store.request_of(case["evaluated"]).get(R, 0)
    assert used == sum(weights[name] for name in case["expect_other_pods"])


RUNNERS = (allocate_operation, resize_hints, fit_other_pods)
