"""Admission on real sockets: whole or not at all, in a fixed order, and never stuck on one plug-in."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from devicemgr import Container, ContainerKind, Deadlines, Pod, open_device_manager
from devicemgr.core.checkpoint.kubelet_format import FILE_NAME, parse_checkpoint
from devicemgr.core.topology.numa import Numa
from devicemgr.core.topology.policy import Policy, Scope, Topology
from devicemgr.errors import AdmissionRefused, Refused, RpcFailed
from devicemgr.input.manifest import parse_pods
from devicemgr.model import Device, DeviceSpec, Mount, Owner, PluginOptions, RunOptions
from devicemgr.testing import open_simulated_plugin
from tests.helpers import pod

GPU, NIC = "vendor.com/gpu", "vendor.com/nic"
PREFIX = "Pod was rejected: Allocate failed due to "
LATE = "rpc error: code = DeadlineExceeded desc = "


@pytest.fixture
async def plugins(manager, open_plugin):
    async with open_plugin(GPU, devices=2) as gpu, open_plugin(NIC, devices=2) as nic:
        await gpu.register()
        await nic.register()
        await manager.wait_for_resource(GPU, allocatable=2)
        await manager.wait_for_resource(NIC, allocatable=2)
        yield gpu, nic


def available(manager):
    return {name: counts.available for name, counts in manager.capacity().items()}


async def test_a_pod_gets_its_devices_and_what_the_plugin_says(manager, plugins):
    """ALLOC-5f, CC-061, CC-023: the answer is passed on unchanged."""
    answer = RunOptions(
        envs={"A": "1"},
        mounts=(Mount(container_path="/c", host_path="/h", read_only=True),),
        device_specs=(DeviceSpec(container_path="/dev/x", host_path="/dev/null", permissions="r"),),
        annotations={"note": "x"},
        cdi_devices=("vendor.com/gpu=0",),
    )

    async def allocate(ids):
        return answer

    plugins[0].on_allocate = allocate
    admission = await manager.admit(pod(gpu=2))
    assert admission.containers[0].devices == {GPU: ("dev-0", "dev-1")}
    assert admission.containers[0].options == answer
    assert plugins[0].calls[-1] == ("Allocate", ("dev-0", "dev-1"))


async def test_a_refused_pod_gives_everything_back(manager, plugins):
    """CC-062, ALLOC-5, ALLOC-E6."""
    refused = await manager.admit(
        pod("p", Container(name="a", limits={NIC: 1}), Container(name="b", limits={GPU: 3, NIC: 1}))
    )
    assert (refused.admitted, refused.reason) == (False, "UnexpectedAdmissionError")
    assert refused.message == (
        PREFIX + "requested number of devices unavailable for vendor.com/gpu. Requested: 3, Available: 2, "
        "which is unexpected"
    )
    assert available(manager) == {GPU: 2, NIC: 2}
    assert (await manager.admit(pod(gpu=2, nic=2))).admitted


async def test_lim_31_an_unknown_resource_is_refused(manager, plugins):
    """ALLOC-5b, LIM-31: the kubelet would start the pod without its devices."""
    refused = await manager.admit(pod(**{"vendor.com/none": 1}))
    assert refused.message == (
        PREFIX + "resource vendor.com/none is not known to this node: no device plug-in has reported devices of it "
        "(if the node has it without one, declare it: --node-resource vendor.com/none=COUNT or, in a cluster, in the "
        "status of the Node), which is unexpected"
    )


async def test_lim_1_a_plugin_that_hangs_in_allocate_loses_only_its_own_pod(root_dir):
    """LIM-1."""
    async with open_device_manager(root_dir, deadlines=Deadlines(allocate=0.1)) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=2) as plugin:
            await plugin.register()
            await manager.wait_for_resource(GPU, allocatable=2)
            honest = plugin.on_allocate

            async def hang(ids):
                await trio.sleep_forever()

            plugin.on_allocate = hang
            refused = await manager.admit(pod("first", gpu=1))
            assert refused.message == PREFIX + LATE + "Allocate was not answered within 0.1 s, which is unexpected"
            assert available(manager) == {GPU: 2}
            plugin.on_allocate = honest
            assert (await manager.admit(pod("second", gpu=2))).admitted


async def test_no_container_response_and_rpc_errors_refuse_the_pod(manager, plugins):
    """ALLOC-5g, ALLOC-20, ALLOC-E9, ALLOC-E10."""

    async def nothing(ids):
        return None

    async def fail(ids):
        raise RpcFailed("the board is on fire")

    plugins[0].on_allocate = nothing
    refused = await manager.admit(pod(gpu=1))
    assert refused.message == (
        PREFIX + "no containers return in allocation response of vendor.com/gpu, which is unexpected"
    )
    plugins[0].on_allocate = fail
    refused = await manager.admit(pod(gpu=1))
    assert refused.message == PREFIX + "rpc error: code = Unknown desc = the board is on fire, which is unexpected"
    assert available(manager) == {GPU: 2, NIC: 2}


async def test_lim_6_a_device_that_goes_away_during_allocate_refuses_the_pod(manager, plugins):
    """ALLOC-19, LIM-6, LIM-22: the state is checked again after every await."""
    gpu, _ = plugins
    honest = gpu.on_allocate

    async def vanish(ids):
        answer = await honest(ids)
        gpu.set_devices([Device(id="dev-1")])
        await manager.wait_for_resource(GPU, capacity=1)
        return answer

    gpu.on_allocate = vanish
    refused = await manager.admit(pod(gpu=1))
    assert "devices of vendor.com/gpu went away while the plug-in was asked to allocate them: dev-0" in refused.message
    assert manager.capacity()[GPU].allocated == 0


async def test_a_plugin_that_dies_in_allocate_refuses_the_pod(manager, plugins, open_plugin):
    async with open_plugin("vendor.com/dying", devices=1) as dying:
        await dying.register()
        await manager.wait_for_resource("vendor.com/dying", allocatable=1)
        asked = trio.Event()

        async def hang(ids):
            asked.set()
            await trio.sleep_forever()

        dying.on_allocate = hang
        results = []
        async with trio.open_nursery() as nursery:

            async def admit():
                results.append(await manager.admit(pod(**{"vendor.com/dying": 1})))

            nursery.start_soon(admit)
            await asked.wait()
            dying.end_stream()
    assert not results[0].admitted
    assert manager.capacity()["vendor.com/dying"].allocated == 0


async def test_resources_of_one_container_are_allocated_side_by_side(manager, plugins):
    """ALLOC-5: each Allocate waits for the other one to have begun."""
    began = [trio.Event(), trio.Event()]

    def meeting(mine, other, honest):
        async def allocate(ids):
            began[mine].set()
            await began[other].wait()
            return await honest(ids)

        return allocate

    plugins[0].on_allocate = meeting(0, 1, plugins[0].on_allocate)
    plugins[1].on_allocate = meeting(1, 0, plugins[1].on_allocate)
    with trio.fail_after(60):
        assert (await manager.admit(pod(gpu=1, nic=1))).admitted


async def test_init_containers_hand_their_devices_on(manager, plugins):
    """ALLOC-2, ALLOC-12, CC-070, CC-072, ALLOC-13."""
    admission = await manager.admit(
        pod(
            "p",
            Container(name="init", kind=ContainerKind.INIT, limits={GPU: 1}),
            Container(name="side", kind=ContainerKind.SIDECAR, limits={GPU: 1}),
            Container(name="main", limits={GPU: 1}),
        )
    )
    held = {run.name: run.devices[GPU] for run in admission.containers}
    assert held == {"init": ("dev-0",), "side": ("dev-0",), "main": ("dev-1",)}


async def test_preferred_allocation_and_pre_start_are_asked_for(manager, open_plugin):
    """CC-074, CC-089, ALLOC-18, RUN-2."""
    options = PluginOptions(pre_start_required=True, get_preferred_allocation_available=True)
    async with open_plugin(devices=4, options=options) as plugin:

        async def prefer(available, must_include, size):
            return ["dev-3", "unknown"]

        plugin.on_preferred = prefer
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=4)
        admission = await manager.admit(pod(gpu=2))
        assert admission.containers[0].devices == {GPU: ("dev-0", "dev-3")}
        assert plugin.calls[2:] == [
            ("GetPreferredAllocation", (("dev-0", "dev-1", "dev-2", "dev-3"), (), 2)),
            ("Allocate", ("dev-3", "dev-0")),
            ("PreStartContainer", ("dev-0", "dev-3")),
        ]


async def test_a_failing_pre_start_keeps_the_pod_but_not_the_container(manager, open_plugin):
    """RUN-E1."""
    async with open_plugin(devices=1, options=PluginOptions(pre_start_required=True)) as plugin:

        async def fail(ids):
            raise RpcFailed("cannot reset")

        plugin.on_pre_start = fail
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=1)
        admission = await manager.admit(pod(gpu=1))
        assert (admission.admitted, admission.failed_container) == (True, "main")
        assert (
            admission.message
            == "device plugin PreStartContainer rpc failed with err: rpc error: code = Unknown desc = cannot reset"
        )
        assert manager.capacity()[GPU].allocated == 1


async def test_a_pod_admitted_twice_keeps_its_devices(manager, plugins):
    """CC-094. ALLOC-6f, RUN-8."""
    first = await manager.admit(pod(gpu=1))
    assert await manager.admit(pod(gpu=1)) == first
    assert [name for name, _ in plugins[0].calls].count("Allocate") == 1


async def test_a_refused_re_admission_leaves_the_running_pod_alone(manager, plugins):
    """ALLOC-E1."""
    await manager.admit(pod(gpu=1))
    refused = await manager.admit(pod(gpu=2))
    assert refused.message == (
        'Pod was rejected: Allocate failed due to pod "p" container "main" changed request for resource '
        '"vendor.com/gpu" from 1 to 2, which is unexpected'
    )
    assert manager.capacity()[GPU].allocated == 1


async def test_lim_33_removal_frees_devices_at_once(manager, plugins):
    """GC-2, LIM-33."""
    await manager.admit(pod(gpu=2))
    assert await manager.remove("default", "p")
    assert available(manager) == {GPU: 2, NIC: 2}
    assert not await manager.remove("default", "p")


async def test_a_stopped_plugin_refuses_new_pods_and_keeps_old_ones(manager, plugins):
    """RHS-6, CC-046, CC-052, ALLOC-E4."""
    await manager.admit(pod("old", gpu=1))
    plugins[0].end_stream()
    await manager.wait_for_resource(GPU, capacity=2, allocatable=0)
    refused = await manager.admit(pod("new", gpu=1))
    assert "no healthy devices present; cannot allocate unhealthy devices vendor.com/gpu" in refused.message
    assert manager.capacity()[GPU].allocated == 1


RESIZABLE = """
kind: Pod
metadata: {{name: p, uid: p}}
spec:
  containers:
  - name: main
    resources: {{limits: {{cpu: {}, vendor.com/gpu: 2}}}}
"""


def entries_of(root_dir):
    return parse_checkpoint((root_dir / "device-plugins" / FILE_NAME).read_text()).entries


@pytest.mark.parametrize("scope", [Scope.CONTAINER, Scope.POD])
@pytest.mark.parametrize("health", ["Healthy", "Unhealthy"])
async def test_a_resize_changes_nothing_about_devices(root_dir, scope, health):
    """CC-161, CC-162, CC-163, D37-10, ALLOC-2: to us it is the admission of a pod that is running.

    D37-11: no hints are made, so the policy does not refuse it, although one node would do by now. LIM-34: it does not
    matter that a held device is unhealthy by now.
    """
    small, large = (parse_pods(RESIZABLE.format(cpu), file="p.yaml")[0] for cpu in (1, 2))
    topology = Topology(policy=Policy.RESTRICTED, scope=scope, numa=Numa(nodes=(0, 1)))
    before = [Device(id="g0", numa_nodes=(0,)), Device(id="g1", numa_nodes=(1,))]
    after = [Device(id="g0", health=health, numa_nodes=(0,)), *before[1:], Device(id="g2", numa_nodes=(0,))]
    async with open_device_manager(root_dir, topology=topology) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=before) as plugin:
            await plugin.register()
            await manager.wait_for_resource(GPU, allocatable=2)
            first = await manager.admit(small)
            assert first.admitted
            plugin.set_devices(after)
            await manager.wait_for_resource(GPU, capacity=3)
            calls, entries = list(plugin.calls), entries_of(root_dir)
            again = await manager.admit(large, start=False)
            assert (again.admitted, again.containers[0].devices) == (True, first.containers[0].devices)
            assert (plugin.calls, entries_of(root_dir)) == (calls, entries)
            assert [entry.owner for entry in entries] == [Owner("p", "main")], "and nothing is the pod's own"


async def test_a_pod_that_waits_for_its_own_admission_uses_up_no_room(root_dir):
    """CAP-9, D37-13."""
    async with open_device_manager(root_dir, node_resources={NIC: 3}) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=1) as plugin:
            await plugin.register()
            await manager.wait_for_resource(GPU, allocatable=1)
            assert (await manager.admit(pod("here", nic=1))).admitted
            is_asked, may_answer = trio.Event(), trio.Event()

            async def wait(ids):
                is_asked.set()
                await may_answer.wait()
                return RunOptions()

            plugin.on_allocate = wait
            results = {}

            async def admit(one):
                results[one.name] = await manager.admit(one)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(admit, pod("waits", gpu=1, nic=2))
                await is_asked.wait()
                await admit(pod("comes", nic=2))
                may_answer.set()
            assert results["comes"].admitted
            assert results["waits"].message.endswith("requested: 2, used: 3, capacity: 3")
            assert manager.capacity()[GPU].allocated == 0


async def test_a_containers_kind_does_not_change(manager, plugins):
    one = pod(gpu=1)
    await manager.admit(one)
    (container,) = one.containers
    other = replace(one, containers=(replace(container, kind=ContainerKind.INIT),))
    refused = await manager.admit(other)
    assert (refused.admitted, "is main, not init" in refused.message) == (False, True)


async def test_lim_15_a_limit_of_zero_asks_for_nothing(manager, plugins):
    """CC-075, LIM-15."""
    plugins[0].end_stream()
    await manager.wait_for_resource(GPU, allocatable=0)
    assert (await manager.admit(pod(gpu=0))).admitted


async def test_lim_1_a_plugin_that_hangs_does_not_delay_the_pods_of_others(manager, plugins):
    """LIM-1: the kubelet admits no pod while one plug-in hangs."""
    asked = trio.Event()

    async def hang(ids):
        asked.set()
        await trio.sleep_forever()

    plugins[0].on_allocate = hang
    async with trio.open_nursery() as nursery:
        nursery.start_soon(manager.admit, pod("stuck", gpu=1))
        await asked.wait()
        with trio.fail_after(60):
            assert (await manager.admit(pod("free", nic=1))).admitted
        assert manager.capacity()[GPU].allocated == 1
        nursery.cancel_scope.cancel()
    assert manager.capacity()[GPU].allocated == 0


async def test_lim_6_pods_that_are_admitted_at_once_never_share_a_device(manager, open_plugin):
    """GC-5, LIM-6, kubernetes #137534."""
    options = PluginOptions(get_preferred_allocation_available=True)
    async with open_plugin(devices=8, options=options) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=8)
        admissions = []

        async def admit(number):
            admissions.append(await manager.admit(pod(f"pod-{number}", gpu=1)))

        async with trio.open_nursery() as nursery:
            for number in range(12):
                nursery.start_soon(admit, number)
        held = [id for one in admissions if one.admitted for id in one.containers[0].devices[GPU]]
        assert sorted(held) == [f"dev-{number}" for number in range(8)]


async def test_the_next_pod_of_a_name_comes_while_the_one_before_is_still_ending(manager, plugins):
    """GC-3: a pod of a StatefulSet was deleted by force. As in the kubelet, a uid means one pod with its devices."""
    first, second = pod(gpu=1), replace(pod(gpu=1), uid="next")
    held = (await manager.admit(first)).containers[0].devices[GPU]
    admission = await manager.admit(second)
    assert admission.admitted, admission.message
    assert not set(held) & set(admission.containers[0].devices[GPU])
    assert manager.explain("default", "p")["uid"] == "next"
    with pytest.raises(Refused, match="there are 2 pods default/p; say which by its uid: p, next"):
        await manager.remove("default", "p")
    assert manager.capacity()[GPU].allocated == 2
    assert await manager.remove("", "p")
    assert [one.uid for one in manager.pods()] == ["next"]
    assert await manager.remove("default", "p")
    assert manager.capacity()[GPU].allocated == 0


async def test_a_uid_means_one_pod(manager, plugins):
    await manager.admit(pod(gpu=1))
    refused = await manager.admit(Pod(name="another", uid="p", containers=(Container(name="main"),)))
    assert "pod default/p with uid p is admitted already" in refused.message


async def test_the_containers_of_an_admitted_pod_do_not_change(manager, plugins):
    await manager.admit(pod(gpu=1))
    refused = await manager.admit(pod("p", Container(name="other", limits={GPU: 1})))
    assert "is admitted already with other containers; remove it first" in refused.message
    assert manager.capacity()[GPU].allocated == 1


async def test_removal_waits_for_the_start_of_its_own_pod(manager, open_plugin):
    """A pod is never admitted with devices that were given to another one meanwhile."""
    async with open_plugin(devices=1, options=PluginOptions(pre_start_required=True)) as plugin:
        starting, go_on = trio.Event(), trio.Event()

        async def pre_start(ids):
            starting.set()
            await go_on.wait()

        plugin.on_pre_start = pre_start
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=1)
        results = []
        async with trio.open_nursery() as nursery:

            async def admit():
                results.append(await manager.admit(pod(gpu=1)))

            nursery.start_soon(admit)
            await starting.wait()
            nursery.start_soon(manager.remove, "default", "p")
            await trio.testing.wait_all_tasks_blocked()
            assert manager.capacity()[GPU].allocated == 1
            go_on.set()
        assert results[0].containers[0].devices == {GPU: ("dev-0",)}
        assert manager.capacity()[GPU].allocated == 0


async def test_who_knows_what_else_a_pod_needs_may_refuse_it(manager, plugins):
    """CAP-9: at the place of the fit check, and nothing is kept of it."""
    asked = []

    def check() -> None:
        asked.append(available(manager)[GPU])
        raise AdmissionRefused("Node didn't have enough resource: cpu", rule="CAP-9", reason="OutOfcpu")

    refused = await manager.admit_if(check, pod("greedy", gpu=2))
    assert (refused.admitted, refused.reason) == (False, "OutOfcpu")
    assert refused.message == "Pod was rejected: Node didn't have enough resource: cpu"
    assert asked == [0]
    assert available(manager)[GPU] == 2
    assert await manager.admit_if(lambda: None, pod("modest", gpu=2))
