"""The kubelet's limits in choosing, aligning, publishing and counting: LIM-12, 13, 17, 19, 21, 22, 23, 24, 29."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
import trio.testing

from devicemgr import Container, ContainerKind, Device, Pod, open_device_manager
from devicemgr.concurrency.steps import run_steps
from devicemgr.core.allocation.explanation import render
from devicemgr.core.allocation.plan import Request, plan_allocation
from devicemgr.core.checkpoint.kubelet_format import FILE_NAME
from devicemgr.core.devices.endpoint import Endpoint
from devicemgr.core.devices.store import DeviceStore
from devicemgr.core.topology.alignment import align
from devicemgr.core.topology.hints import Hint, resource_hints
from devicemgr.core.topology.numa import Numa
from devicemgr.core.topology.policy import Policy, Scope, Topology
from devicemgr.core.views.node_status import should_reset_extended_resources
from devicemgr.core.views.pod_resources import allocatable_devices
from devicemgr.daemon.pods.explanations import MAX_PAST
from devicemgr.daemon.serving.metrics import Metrics
from devicemgr.errors import RegistrationRefused
from devicemgr.model import Owner, Registration
from devicemgr.testing import open_simulated_plugin
from tests.helpers import apply_list

GPU = "vendor.com/gpu"
TWO_NODES = Numa(nodes=(0, 1))
AFFINITY = "TopologyAffinityError"


def pod(name, *counts, kinds=None):
    kinds = kinds or [ContainerKind.MAIN] * len(counts)
    made = tuple(
        Container(name=f"c{n}", kind=kind, limits={GPU: count})
        for n, (count, kind) in enumerate(zip(counts, kinds, strict=True))
    )
    return Pod(name=name, uid=name, containers=made)


def device(id, *nodes, health="Healthy"):
    return Device(id=id, health=health, numa_nodes=nodes or None)


def topology(policy, scope=Scope.CONTAINER, numa=TWO_NODES):
    return Topology(policy=Policy(policy), scope=scope, numa=numa)


@asynccontextmanager
async def node(root_dir, devices, configured, **settings):
    """A manager with one plug-in, open together."""
    async with open_device_manager(root_dir, topology=configured, **settings) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=devices) as plugin:
            await plugin.register()
            await manager.wait_for_resource(GPU, capacity=len(devices))
            yield manager, plugin


def held(manager, name):
    (found,) = [one for one in manager.pods() if one.name == name]
    return {c.name: c.devices.get(GPU, ()) for c in found.containers}


# --- topology ----------------------------------------------------------------------------------------


HINTS = {
    "no provider": [],
    "no preference": [None],
    "none of this resource": [{GPU: None}],
    "preferred": [{GPU: [Hint(1, True), Hint(3, False)]}],
    "two that agree": [{GPU: [Hint(1, True)], "vendor.com/nic": [Hint(1, True), Hint(2, True)]}],
    "not preferred": [{GPU: [Hint(3, False)]}],
    "two that differ": [{GPU: [Hint(1, True)], "vendor.com/nic": [Hint(2, True)]}],
}
NEEDS_PREFERRED = {Policy.RESTRICTED, Policy.SINGLE_NUMA_NODE}


@pytest.mark.parametrize("hints", HINTS)
@pytest.mark.parametrize("policy", Policy)
def test_only_the_strict_policies_refuse_and_only_what_is_not_preferred(policy, hints):
    """CC-136: the scope only says whose hints they are; the QoS class does not matter."""
    bad = hints in ("not preferred", "two that differ")
    assert align(topology(policy), HINTS[hints]).admit is not (bad and policy in NEEDS_PREFERRED)


@pytest.mark.parametrize("scope", [Scope.CONTAINER, Scope.POD])
@pytest.mark.parametrize(
    ("policy", "admitted"), [("best-effort", True), ("restricted", False), ("single-numa-node", False), ("none", True)]
)
async def test_a_pod_that_cannot_be_aligned_as_well_as_possible(root_dir, policy, scope, admitted):
    """ALLOC-3, CC-128, CC-136, CC-141, TM-13, TM-15: one device of each node is held; the next pod wants two."""
    devices = [device("a0", 0), device("a1", 0), device("b0", 1), device("b1", 1)]
    async with node(root_dir, devices, topology(policy, scope)) as (manager, plugin):
        for name, listed in (("x", ["a0"]), ("y", ["a0", "b0"])):
            plugin.set_devices([d for d in devices if d.id in listed])
            await manager.wait_for_resource(GPU, capacity=len(listed))
            assert (await manager.admit(pod(name, 1))).admitted
        plugin.set_devices(devices)
        await manager.wait_for_resource(GPU, capacity=4)
        answer = await manager.admit(pod("z", 2))
        assert answer.admitted is admitted
        if not admitted:
            assert answer.reason == AFFINITY
            assert answer.message == "Pod was rejected: Resources cannot be allocated with Topology locality"
            assert manager.capacity()[GPU].allocated == 2


async def test_devices_come_from_the_chosen_nodes(root_dir):
    """CC-082, ALLOC-7e: container by container, each on one node."""
    devices = [device(f"{name}{n}", node) for node, name in enumerate("ab") for n in range(3)]
    async with node(root_dir, devices, topology("single-numa-node")) as (manager, _):
        assert (await manager.admit(pod("p", 2, 3))).admitted
        assert held(manager, "p") == {"c0": ("a0", "a1"), "c1": ("b0", "b1", "b2")}


@pytest.mark.parametrize("scope", [Scope.CONTAINER, Scope.POD])
async def test_lim_15_a_limit_of_zero_has_no_preference_either(root_dir, scope):
    """A resource that the pod does not request has no influence on the nodes of another one."""
    async with node(root_dir, [device("a0", 0)], topology("single-numa-node", scope)) as (manager, _):
        nics = [device("n0", 1)]
        async with open_simulated_plugin(manager.layout.plugins, "vendor.com/nic", devices=nics) as nic:
            await nic.register()
            await manager.wait_for_resource("vendor.com/nic", allocatable=1)
            container = Container(name="main", limits={GPU: 0, "vendor.com/nic": 1})
            assert (await manager.admit(Pod(name="p", uid="p", containers=(container,)))).admitted


async def test_an_alignment_counts_when_its_devices_are_there(root_dir):
    """A pod whose plug-in fails later does not count as allocated within one node."""
    metrics = Metrics(Policy.SINGLE_NUMA_NODE)
    async with node(root_dir, [device("a0", 0)], topology("single-numa-node"), sinks=[metrics]) as (manager, _):
        manager.faults.fail_calls("allocate")
        assert not (await manager.admit(pod("p", 1))).admitted
        assert "aligned_compute_resources_count" in (await metrics.render(manager)).decode()
        assert not [
            line
            for line in (await metrics.render(manager)).decode().splitlines()
            if "aligned" in line and line.endswith(" 1.0")
        ]
        assert (await manager.admit(pod("q", 1))).admitted
        (line,) = [
            one
            for one in (await metrics.render(manager)).decode().splitlines()
            if "aligned" in one and one.endswith(" 1.0")
        ]
        assert line.startswith("kubelet_container_aligned_compute_resources_count{")


async def test_lim_21_in_pod_scope_devices_are_allocated_at_admission(root_dir):
    """TM-14: one merge for the pod, the same nodes for each container. The alpha gate delays it until the start."""
    devices = [device(f"{name}{n}", node) for node, name in enumerate("ab") for n in range(1 + 2 * node)]
    async with node(root_dir, devices, topology("single-numa-node", Scope.POD)) as (manager, plugin):
        assert (await manager.admit(pod("p", 1, 2), start=False)).admitted
        assert held(manager, "p") == {"c0": ("b0",), "c1": ("b1", "b2")}
        assert [ids for name, ids in plugin.calls if name == "Allocate"] == [("b0",), ("b1", "b2")]
        assert (await manager.admit(pod("q", 1, 1))).reason == AFFINITY


async def test_an_init_container_hands_its_devices_on_aligned(root_dir):
    """TM-8, step 2: hints know which devices can be taken over."""
    devices = [device("a0", 0), device("b0", 1), device("b1", 1)]
    kinds = [ContainerKind.INIT, ContainerKind.MAIN]
    async with node(root_dir, devices, topology("restricted")) as (manager, _):
        assert (await manager.admit(pod("p", 2, 2, kinds=kinds))).admitted
        assert held(manager, "p") == {"c0": ("b0", "b1"), "c1": ("b0", "b1")}


async def test_lim_13_devices_without_numa_data_count_where_they_are_needed(root_dir):
    """The kubelet calls the request impossible, though enough devices are free."""
    devices = [device("a0", 0), device("free0"), device("free1")]
    async with node(root_dir, devices, topology("restricted")) as (manager, _):
        assert (await manager.admit(pod("p", 3))).admitted


SOME_WITHOUT = [device("a0", 0), device("b0", 1), device("free0"), device("free1")]


@pytest.mark.parametrize("scope", [Scope.CONTAINER, Scope.POD])
async def test_lim_13_what_was_counted_is_taken_before_a_device_of_another_node(root_dir, scope):
    """All is on one node, as the policy promises."""
    async with node(root_dir, SOME_WITHOUT, topology("single-numa-node", scope)) as (manager, _):
        assert (await manager.admit(pod("p", 2, 1) if scope is Scope.POD else pod("p", 3))).admitted
        taken = [id for devices in held(manager, "p").values() for id in devices]
        assert taken == ["a0", "free0", "free1"]


def test_lim_13_not_even_a_plug_in_that_prefers_it_gives_a_device_of_another_node():
    store = DeviceStore()
    store.connect(Endpoint(resource=GPU, generation=1, socket="a.sock"))
    apply_list(store, GPU, 1, SOME_WITHOUT)
    request = Request(owner=Owner("p", "c"), resource=GPU, count=2, affinity=frozenset({0}), is_aligned=True)
    plan = plan_allocation(store, request, preferred=["a0", "b0"])
    assert plan.devices == ("a0", "free0")
    assert [*plan.preferred_request.available] == ["a0", "free0", "free1"]


MANY_NODES = Numa(nodes=tuple(range(34)))
STRICT = ["best-effort", "restricted", "single-numa-node"]


@pytest.mark.parametrize("scope", [Scope.CONTAINER, Scope.POD])
@pytest.mark.parametrize("policy", STRICT)
async def test_four_devices_that_each_name_all_of_34_nodes(root_dir, policy, scope):
    """Kubernetes #135541: the kubelet looks at 2^34 masks, until it is out of memory."""
    devices = [device(f"d{n}", *MANY_NODES.nodes) for n in range(4)]
    kinds = [ContainerKind.INIT, ContainerKind.MAIN, ContainerKind.MAIN]
    async with node(root_dir, devices, topology(policy, scope, MANY_NODES)) as (manager, _):
        with trio.fail_after(60):
            assert (await manager.admit(pod("p", 2, 1, 2, kinds=kinds))).admitted
            assert not (await manager.admit(pod("q", 2))).admitted
            assert (await manager.admit(pod("r", 1))).admitted
        told = manager.explain("default", "r")
        (alignment,) = filter(None, [told["alignment"], *(one["alignment"] for one in told["containers"])])
        assert (alignment["best_hint"], alignment["truncated"]) == ("nodes {0} (preferred)", [GPU])
        assert alignment["hints"][GPU][:2] == ["nodes {0} (preferred)", "nodes {1} (preferred)"]
        assert "nodes {8} (preferred); nodes {9} (preferred) and many more (TM-8)" in "\n".join(render(told))


@pytest.mark.parametrize("policy", STRICT)
@pytest.mark.parametrize("resources", [2, 3])
async def test_several_resources_on_64_nodes(root_dir, policy, resources):
    """One device on each node, one on all, and one without any."""
    many = Numa(nodes=tuple(range(64)))
    devices = [*(device(f"d{n}", n) for n in many.nodes), device("all", *many.nodes), device("none")]
    names = [f"vendor.com/r{n}" for n in range(resources)]
    async with open_device_manager(root_dir, topology=topology(policy, Scope.POD, many)) as manager:
        async with AsyncExitStack() as stack:
            for name in names:
                opened = open_simulated_plugin(manager.layout.plugins, name, devices=devices)
                await (await stack.enter_async_context(opened)).register()
                await manager.wait_for_resource(name, capacity=66)
            asked = [Container(name=f"c{n}", limits=dict.fromkeys(names, 1)) for n in range(2)]
            with trio.fail_after(60):
                answer = await manager.admit(Pod(name="p", uid="p", containers=tuple(asked)))
            assert answer.admitted
            (found,) = manager.pods()
            taken = [sorted(one.devices[name][0] for one in found.containers) for name in names]
            assert taken == [["all", "d0"]] * resources


@pytest.mark.parametrize("scope", [Scope.CONTAINER, Scope.POD])
async def test_a_pod_whose_best_nodes_take_too_long_to_find_is_refused(root_dir, scope):
    """Touching 60 devices on two nodes each with the fewest nodes: the search gives up, and others are served."""
    devices = [device(f"d{n}-{k}", n, (n * 7 + k) % 34) for n in range(34) for k in (1, 4)]
    async with node(root_dir, devices, topology("best-effort", scope, MANY_NODES)) as (manager, _):
        with trio.fail_after(60):
            answer = await manager.admit(pod("p", 60))
            assert (await manager.admit(pod("q", 1))).admitted
        assert answer.reason == AFFINITY
        assert "Resources cannot be allocated with Topology locality: devices on 34 NUMA nodes" in answer.message
        assert manager.capacity()[GPU].allocated == 1
        told = manager.explain("default", "p")
        assert told["rule"] == "TM-4"
        assert "no nodes were found: devices on 34 NUMA nodes can be combined" in "\n".join(render(told))


def test_lim_13_unhealthy_devices_do_not_count_for_what_would_be_possible():
    """Two on node 0, one of them broken: two nodes are the best that is possible, and so preferred."""
    store = DeviceStore()
    store.connect(Endpoint(resource=GPU, generation=1, socket="a.sock"))
    apply_list(store, GPU, 1, [device("a0", 0), device("a1", 0, health="Unhealthy"), device("b0", 1)])
    (hint,) = resource_hints(store, GPU, 2, held=frozenset(), reusable=frozenset(), numa=TWO_NODES)
    assert (hint.affinity, hint.preferred) == (0b11, True)


async def test_lim_19_pods_that_were_refused_leave_nothing_behind(root_dir):
    """CC-138, CC-139, TM-16: the kubelet keeps their hints for ever. Here it is the last hundred explanations."""
    devices = [device("a0", 0), device("b0", 1)]
    async with node(root_dir, devices, topology("single-numa-node")) as (manager, _):
        for n in range(MAX_PAST + 20):
            assert not (await manager.admit(pod(f"r{n}", 2))).admitted
        assert manager.explain("default", "r0") is None
        assert manager.explain("default", f"r{MAX_PAST + 19}")["reason"] == AFFINITY
        assert (manager.pods(), manager.capacity()[GPU].allocated) == ([], 0)


def test_lim_22_a_held_device_that_is_no_longer_listed_is_no_crash():
    """The kubelet crashes by a nil pointer. Here it counts as a device without NUMA data."""
    store = DeviceStore()
    store.connect(Endpoint(resource=GPU, generation=1, socket="a.sock"))
    apply_list(store, GPU, 1, [device("b0", 1)])
    hints = resource_hints(store, GPU, 1, held={"gone"}, reusable=frozenset(), numa=TWO_NODES)
    assert [(hint.affinity, hint.preferred) for hint in hints] == [(0b10, True)]
    assert resource_hints(store, GPU, 2, held=frozenset(), reusable={"gone"}, numa=TWO_NODES) is not None


async def test_lim_23_admissions_that_interleave_keep_what_their_init_containers_leave(root_dir):
    """CC-070: the kubelet drops all other pods' maps at every call, and crashed by it (kubernetes #130050)."""
    kinds = [ContainerKind.INIT, ContainerKind.MAIN]
    async with node(root_dir, [device(f"d{n}") for n in range(4)], Topology()) as (manager, plugin):
        slow = trio.Event()
        plain = plugin.on_allocate

        async def allocate(ids):
            if "d0" in ids:
                await slow.wait()
            return await plain(ids)

        plugin.on_allocate = allocate
        async with trio.open_nursery() as nursery:
            nursery.start_soon(manager.admit, pod("a", 2, 2, kinds=kinds))
            while "Allocate" not in dict(plugin.calls):
                await trio.testing.wait_all_tasks_blocked()
            assert (await manager.admit(pod("b", 2, 2, kinds=kinds))).admitted
            slow.set()
        assert held(manager, "a") == {"c0": ("d0", "d1"), "c1": ("d0", "d1")}
        assert held(manager, "b") == {"c0": ("d2", "d3"), "c1": ("d2", "d3")}


async def test_lim_24_a_question_in_the_middle_of_an_admission_is_answered(root_dir):
    """In the kubelet a reader inside a reader, with a writer between them, stops the node."""
    async with node(root_dir, [device("d0")], Topology()) as (manager, plugin):
        seen = []

        async def allocate(ids):
            seen.append((manager.capacity()[GPU].allocated, await manager.pod_resources.list_pods()))

        plugin.on_allocate = allocate
        with trio.fail_after(60):
            refused = await manager.admit(pod("p", 1))
        assert "no containers return" in refused.message
        assert seen == [(1, ())]


# --- what is published -------------------------------------------------------------------------------


def test_lim_12_a_device_with_an_empty_topology_is_a_device():
    """CC-048, CC-049, PR-5: the kubelet leaves it out of GetAllocatableResources. Two nodes are two entries (PR-4)."""
    store = DeviceStore()
    store.connect(Endpoint(resource=GPU, generation=1, socket="a.sock"))
    apply_list(
        store,
        GPU,
        1,
        [Device(id="empty", numa_nodes=()), device("none"), device("both", 0, 1), device("bad", 0, health="Unhealthy")],
    )
    found = [(one.device, one.node) for one in run_steps(allocatable_devices(store))]
    assert found == [("both", 0), ("both", 1), ("empty", None), ("none", None)]


def test_lim_17_only_a_checkpoint_counts_as_a_checkpoint():
    """CC-056, CC-057: the kubelet takes a plug-in's early socket for a checkpoint, and stale numbers stay."""
    assert should_reset_extended_resources([])
    assert should_reset_extended_resources(["kubelet.sock", "gpu.sock", "DEPRECATION", ".hidden"])
    assert not should_reset_extended_resources(["gpu.sock", FILE_NAME])


async def test_lim_29_only_a_valid_name_becomes_a_label(root_dir):
    """CC-014: any local caller can make the kubelet keep any number of series."""
    metrics = Metrics(Policy.NONE)
    async with open_device_manager(root_dir, sinks=[metrics]) as manager:
        for n in range(3):
            with pytest.raises(RegistrationRefused):
                await manager.register(Registration(version="v1beta1", endpoint="a.sock", resource=f"nonsense{n}"))
        for refused in (Registration(version="v1alpha1", endpoint="a.sock", resource=GPU),
                        Registration(version="v1beta1", endpoint="/a.sock", resource=GPU)):  # fmt: skip
            with pytest.raises(RegistrationRefused):
                await manager.register(refused)
        async with open_simulated_plugin(manager.layout.plugins, GPU) as plugin:
            await plugin.register()
        text = (await metrics.render(manager)).decode()
        assert 'kubelet_device_plugin_registration_total{resource_name="vendor.com/gpu"} 3.0' in text
        assert "nonsense" not in text
        assert 'devicemgr_registrations_refused_total{rule="API-12"} 3.0' in text
