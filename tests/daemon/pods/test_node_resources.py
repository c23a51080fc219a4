"""Resources that the node has without a device plug-in: counted, shown, and not allocated (LIM-31, CAP-5, CAP-9)."""

from __future__ import annotations

import pytest
import trio

from devicemgr import Container, ContainerKind, Pod, open_device_manager
from devicemgr.core.allocation.explanation import render
from devicemgr.core.topology.numa import Numa
from devicemgr.core.topology.policy import Policy, Scope, Topology
from devicemgr.model import NodeStatus
from devicemgr.node_resources import node_resources
from devicemgr.quantity import LARGEST
from devicemgr.testing import open_simulated_plugin

GPU, MEMORY, ENI = "nvidia.com/gpu", "nvidia.com/gpumem", "vpc.amazonaws.com/pod-eni"
INIT, SIDECAR, MAIN = ContainerKind.INIT, ContainerKind.SIDECAR, ContainerKind.MAIN


def pod(name, *containers, **limits):
    """A pod with containers given as (kind, count of MEMORY), or with one that has these limits."""
    made = [Container(name=f"c{n}", kind=kind, limits={MEMORY: count}) for n, (kind, count) in enumerate(containers)]
    names = {"gpu": GPU, "memory": MEMORY, "eni": ENI}
    if limits:
        made = [Container(name="main", limits={names[key]: count for key, count in limits.items()})]
    return Pod(name=name, uid=name, containers=tuple(made))


def of(manager, resource=MEMORY):
    counts = manager.capacity()[resource]
    return counts.capacity, counts.allocated, counts.available, counts.endpoint


async def refusal(manager, one):
    admission = await manager.admit(one)
    assert not admission.admitted
    return admission.reason, admission.message


@pytest.fixture
async def manager(root_dir):
    async with open_device_manager(root_dir, node_resources={MEMORY: "10", ENI: 1}) as running:
        yield running


async def test_what_the_node_has_is_counted_until_it_is_used_up(manager):
    assert of(manager) == (10, 0, 10, "node")
    admission = await manager.admit(pod("p", memory=6, eni=1))
    assert (admission.admitted, admission.containers[0].devices) == (True, {})
    assert of(manager) == (10, 6, 4, "node")
    assert await refusal(manager, pod("q", memory=5)) == (
        f"OutOf{MEMORY}",
        f"Pod was rejected: Node didn't have enough resource: {MEMORY}, requested: 5, used: 6, capacity: 10",
    )
    assert of(manager) == (10, 6, 4, "node"), "a refused pod takes nothing"
    assert (await manager.admit(pod("p", memory=6, eni=1))).admitted, "what it uses itself is not in its way"
    assert await manager.remove("default", "p")
    assert of(manager) == (10, 0, 10, "node")
    assert (await manager.admit(pod("q", memory=10))).admitted


@pytest.mark.parametrize(
    ("containers", "used"),
    [
        ([(MAIN, 3), (MAIN, 4)], 7),
        ([(INIT, 9), (MAIN, 4)], 9),
        ([(INIT, 3), (INIT, 2), (MAIN, 4)], 4),
        ([(SIDECAR, 3), (MAIN, 4)], 7),
        ([(SIDECAR, 3), (INIT, 6), (MAIN, 1)], 9),
        ([(INIT, 6), (SIDECAR, 3), (MAIN, 1)], 6),
        ([(MAIN, 0)], 0),
    ],
)
async def test_a_pod_uses_what_it_needs_at_its_widest_moment(manager, containers, used):
    """TM-9: an init container ends before the main ones begin, a sidecar does not."""
    assert (await manager.admit(pod("p", *containers))).admitted
    assert of(manager) == (10, used, 10 - used, "node")
    assert (await manager.admit(pod("q", memory=10 - used))).admitted
    assert (await refusal(manager, pod("r", memory=1)))[0] == f"OutOf{MEMORY}"


async def test_they_stand_in_the_nodes_status(manager):
    """CAP-5: without a checkpoint what the node published before is reset (CAP-6), but not what the option says."""
    status = manager.node_status(
        NodeStatus(capacity={MEMORY: 99, "a.com/b": 2}, allocatable={MEMORY: 99, "a.com/b": 2})
    )
    assert status.capacity == status.allocatable == {MEMORY: 10, ENI: 1, "a.com/b": 0}
    assert status.reset


async def test_no_plugin_is_asked_and_none_is_waited_for(root_dir):
    """Together with a plug-in's resource and a topology policy: only the plug-in's has hints."""
    topology = Topology(policy=Policy.SINGLE_NUMA_NODE, scope=Scope.POD, numa=Numa(nodes=(0, 1)))
    async with open_device_manager(root_dir, topology=topology, node_resources={MEMORY: "16Gi"}) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=1) as plugin:
            await plugin.register()
            await manager.wait_for_resource(GPU, allocatable=1)
            admission = await manager.admit(pod("p", gpu=1, memory=2**34))
            assert admission.containers[0].devices == {GPU: ("dev-0",)}
            assert [call for call, _ in plugin.calls if call == "Allocate"] == ["Allocate"]
            refused = await refusal(manager, pod("q", gpu=1, memory=1))
            assert "requested number of devices unavailable" in refused[1], "first its devices (ALLOC-1)"
            await manager.remove("default", "p")
            refused = await refusal(manager, pod("q", gpu=1, memory=2**34 + 1))
            assert refused[0] == f"OutOf{MEMORY}"
            assert manager.capacity()[GPU].allocated == 0, "and its devices are given back"


async def test_a_pods_explanation_says_that_it_was_counted(manager):
    await manager.admit(pod("p", memory=6))
    line = "      Counted only (CAP-9): the node has 10, by --node-resource, and no plug-in was asked."
    assert list(render(manager.explain("default", "p")))[-2:] == [f"    {MEMORY}: requests 6.", line]
    await manager.faults.restart()
    assert list(render(manager.explain("default", "p")))[-1] == line


async def test_what_pods_use_is_known_after_a_restart(root_dir):
    """They are counted from the pods on disk, also without a new admission, and even if the node now has fewer."""
    async with open_device_manager(root_dir, node_resources={MEMORY: 10}) as manager:
        assert (await manager.admit(pod("p", (INIT, 6), (MAIN, 4)))).admitted
        assert (await manager.admit(pod("q", memory=2))).admitted
        await manager.faults.restart()
        assert of(manager) == (10, 8, 2, "node")
    async with open_device_manager(root_dir, node_resources={MEMORY: 7}) as manager:
        assert of(manager) == (7, 8, 0, "node")
        reason, _ = await refusal(manager, pod("p", (INIT, 6), (MAIN, 4)))
        assert reason == f"OutOf{MEMORY}", "as the kubelet does when it looks at its pods again"
        assert of(manager) == (7, 8, 0, "node"), "and the pod goes on"
        assert [one.uid for one in await manager.retain(["q"])] == ["p"]
        assert of(manager) == (7, 2, 5, "node")
    async with open_device_manager(root_dir) as manager:
        assert MEMORY not in manager.capacity()
        assert f"--node-resource {MEMORY}=COUNT" in (await refusal(manager, pod("r", memory=1)))[1]


async def test_what_a_plugin_reports_counts_instead(manager, autojump_clock):
    """CAP-5: its list overrides the node's number; after its end, and without a list, that is 0 until acknowledged."""
    async with open_simulated_plugin(manager.layout.plugins, MEMORY, devices=2) as plugin:
        await plugin.register()
        await manager.wait_for_resource(MEMORY, capacity=2)
        assert of(manager) == (2, 0, 2, "serving")
        admission = await manager.admit(pod("p", memory=2))
        assert admission.containers[0].devices == {MEMORY: ("dev-0", "dev-1")}
        assert (await refusal(manager, pod("q", memory=1)))[0] == "UnexpectedAdmissionError"
        await manager.remove("default", "p")
    await manager.wait_for_resource(MEMORY, allocatable=0)
    assert of(manager) == (2, 0, 0, "stopped")
    await manager.faults.restart()
    assert of(manager)[0] == 0, "it is expected back (REG-19)"
    await trio.sleep(302)
    assert of(manager) == (0, 0, 0, "removed")
    assert manager.node_status().removed == (MEMORY,)
    await manager.acknowledge_removed(MEMORY)
    assert of(manager) == (10, 0, 10, "node")
    assert (await manager.admit(pod("q", memory=10))).admitted


async def test_a_plugin_without_a_list_changes_nothing_yet(manager):
    """REG-13: the node does not publish what has not been reported."""
    async with open_simulated_plugin(manager.layout.plugins, MEMORY, devices=1) as plugin:
        asked = trio.Event()

        async def never(seen):
            asked.set()
            await trio.sleep_forever()

        plugin.next_report = never
        await plugin.register()
        await asked.wait()
        assert of(manager) == (10, 0, 10, "node")
        assert (await manager.admit(pod("p", memory=10))).admitted


async def test_a_plugin_that_comes_while_a_pod_is_admitted_refuses_it(manager):
    """LIM-6: it was only counted, because there was no plug-in to ask for devices; now there is one."""
    async with (
        open_simulated_plugin(manager.layout.plugins, GPU, devices=1) as gpu,
        open_simulated_plugin(manager.layout.plugins, MEMORY, devices=5) as memory,
    ):
        await gpu.register()
        await manager.wait_for_resource(GPU, allocatable=1)
        honest = gpu.on_allocate

        async def slow(ids):
            await memory.register()
            await manager.wait_for_resource(MEMORY, capacity=5)
            return await honest(ids)

        gpu.on_allocate = slow
        _, message = await refusal(manager, pod("p", gpu=1, memory=1))
        assert f"a device plug-in registered {MEMORY} while the pod was admitted without one" in message
        assert manager.capacity()[GPU].allocated == 0
        gpu.on_allocate = honest
        assert (await manager.admit(pod("p", gpu=1, memory=1))).containers[0].devices[MEMORY] == ("dev-0",)


async def test_two_pods_at_once_do_not_both_get_the_last_one(manager):
    answers = []

    async def admit(name):
        answers.append((await manager.admit(pod(name, eni=1))).admitted)

    async with trio.open_nursery() as nursery:
        for name in "abcd":
            nursery.start_soon(admit, name)
    assert sorted(answers) == [False, False, False, True]


async def test_its_container_starts_again(manager):
    """RUN-3: a resource that is only counted has no record that could be missing."""
    one = pod("p", memory=1)
    await manager.admit(one)
    assert (await manager.start_container(one, one.containers[0])).devices == {}


@pytest.mark.parametrize(
    ("count", "number"), [(3, 3), ("16Gi", 2**34), ("2k", 2000), ("1.5k", 1500), ("2000m", 2), ("1e3", 1000), ("0", 0)]
)
def test_a_count_is_a_quantity(count, number):
    assert node_resources({MEMORY: count}) == {MEMORY: number}


@pytest.mark.parametrize(
    ("name", "count", "problem"),
    [
        ("gpumem", 1, "'gpumem' is not an extended resource name: it has no domain"),
        ("cpu.kubernetes.io/x", 1, "reserved for native resources"),
        (MEMORY, "1.5", f"{MEMORY}: 1.5 is not a whole number"),
        (MEMORY, -1, f"{MEMORY}: -1 is negative"),
        (MEMORY, "many", f"{MEMORY}: 'many' is not a quantity"),
        (MEMORY, "", f"{MEMORY}: '' is not a quantity"),
        (MEMORY, LARGEST + 1, "is larger than any node"),
        (MEMORY, "9" * 5000, "more digits than any node has devices"),
    ],
)
async def test_a_name_or_count_that_cannot_be_is_refused_at_the_call(root_dir, name, count, problem):
    with pytest.raises(ValueError, match=problem):
        async with open_device_manager(root_dir, node_resources={name: count}):
            pass
