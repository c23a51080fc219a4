"""PodResources: what monitoring agents see (PR). tests/interop makes the same calls with grpcio."""

from __future__ import annotations

import pytest
import trio

from devicemgr import Container, ContainerKind, Device, Pod
from devicemgr.daemon.access.rate_limit import TokenBucket
from devicemgr.errors import NoSuchPod, RateLimited
from devicemgr.events import DeviceListApplied
from devicemgr.rpc.pod_resources.service import PodResourcesService
from devicemgr.rpc.stubs import v1
from tests.helpers import until

GPU = "vendor.com/gpu"


@pytest.fixture
async def pods(manager, open_plugin):
    """A pod with one container of each kind, and one that requests nothing."""
    devices = [Device(id="d0", numa_nodes=(0,)), Device(id="d1", numa_nodes=(0, 1)), Device(id="d2")]
    async with open_plugin(GPU, devices=devices) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=3)
        containers = [Container(name=kind.value, kind=kind, limits={GPU: 1}) for kind in ContainerKind]
        assert (await manager.admit(Pod(name="p", uid="p", containers=tuple(containers)))).admitted
        assert (await manager.admit(Pod(name="idle", uid="i", containers=(Container(name="main"),)))).admitted
        yield plugin


async def test_no_pods(manager):
    """CC-142."""
    assert await manager.pod_resources.list_pods() == ()


async def test_v1_lists_sidecars_then_main_containers_with_one_entry_per_node(manager, pods):
    """CC-142…CC-145, CC-072, PR-3, PR-4: init containers are left out, containers without devices are not."""
    one, idle = await manager.pod_resources.list_pods()
    assert (one.namespace, one.name, [name for name, _ in one.containers]) == ("default", "p", ["sidecar", "main"])
    assert [[(d.device, d.node) for d in held] for _, held in one.containers] == [
        [("d0", 0)],
        [("d1", 0), ("d1", 1)],
    ]
    assert idle.containers == (("main", ()),)


async def test_get_is_one_element_of_list(manager, pods):
    """CC-144, CC-145, PR-6."""
    assert await manager.pod_resources.get_pod("default", "p") == (await manager.pod_resources.list_pods())[0]


@pytest.mark.parametrize(("namespace", "name"), [("default", "nobody"), ("other", "p"), ("", "p"), ("default", "")])
async def test_get_of_an_unknown_pod_is_an_error(manager, pods, namespace, name):
    """CC-147."""
    with pytest.raises(NoSuchPod, match=f"pod {name} in namespace {namespace} not found"):
        await manager.pod_resources.get_pod(namespace, name)


async def test_a_pod_has_no_cpus_and_no_memory_on_the_wire(manager, pods):
    """CC-165, D37-17, API-5: only a kubelet with the gate PodLevelResourceManagers fills them."""
    service = PodResourcesService(manager.pod_resources)
    listed = await service.list(v1.ListPodResourcesRequest())
    got = await service.get(v1.GetPodResourcesRequest(pod_name="p", pod_namespace="default"))
    answer = v1.ListPodResourcesResponse.parse(listed.SerializeToString())
    one = v1.GetPodResourcesResponse.parse(got.SerializeToString()).pod_resources
    assert [pod.name for pod in answer.pod_resources] == ["p", "idle"]
    for pod in (one, *answer.pod_resources):
        assert [(it.cpu_ids, it.memory) for it in (pod, *pod.containers)] == [([], [])] * (1 + len(pod.containers))


async def test_v1alpha1_lists_main_containers_only(manager, pods):
    """CC-148, PR-7."""
    one, _ = await manager.pod_resources.list_pods_v1alpha1()
    assert [name for name, _ in one.containers] == ["main"]


async def test_a_pod_that_was_refused_or_removed_is_not_listed(manager, pods):
    """CC-143. CC-108, PR-3."""
    greedy = Pod(name="greedy", uid="g", containers=(Container(name="main", limits={GPU: 9}),))
    assert not (await manager.admit(greedy)).admitted
    await manager.remove("default", "p")
    assert [pod.name for pod in await manager.pod_resources.list_pods()] == ["idle"]


async def test_allocatable_are_the_healthy_devices_held_or_not(manager, pods):
    """CC-048, CC-049, CC-146, PR-5; none when the plug-in is away."""
    pods.set_health("d2", "Unhealthy")
    await manager.wait_for_resource(GPU, allocatable=2)
    found = await manager.pod_resources.allocatable()
    assert [(one.device, one.node) for one in found] == [("d0", 0), ("d1", 0), ("d1", 1)]
    pods.set_health("d2")
    await manager.wait_for_resource(GPU, allocatable=3)
    assert ("d2", None) in [(one.device, one.node) for one in await manager.pod_resources.allocatable()]
    pods.end_stream()
    await manager.wait_for_resource(GPU, allocatable=0)
    assert await manager.pod_resources.allocatable() == ()


async def move_d0_to_node_1(manager, plugin):
    plugin.set_devices([Device(id="d0", numa_nodes=(1,)), *plugin.devices[1:]])
    with trio.fail_after(60):
        await until(manager, lambda: "d0" in changes(manager)[-1].changed)


def changes(manager):
    return [recorded.event for recorded in manager.events() if isinstance(recorded.event, DeviceListApplied)]


async def test_the_numa_nodes_are_those_of_the_time_of_allocation(manager, pods):
    """LW-6."""
    await move_d0_to_node_1(manager, pods)
    one, _ = await manager.pod_resources.list_pods()
    assert [(d.device, d.node) for d in one.containers[0][1]] == [("d0", 0)]


async def test_as_long_as_nothing_changes_everybody_gets_the_same(manager, pods, autojump_clock):
    """It is computed and encoded once. A device that moves to another node changes nothing that is recorded."""
    api = manager.pod_resources

    async def ask():
        return [await method() for method in (api.list_pods, api.list_pods_v1alpha1, api.allocatable)]

    first = await ask()
    assert all(one is other for one, other in zip(first, await ask(), strict=True))
    await move_d0_to_node_1(manager, pods)
    listed, _, allocatable = second = await ask()
    assert (listed, [one.node for one in allocatable if one.device == "d0"]) == (first[0], [1])
    await manager.remove("default", "idle")
    assert [pod.name for pod in (await ask())[0]] == ["p"]
    await trio.sleep(1)
    assert all(one is not other for one, other in zip(second, await ask(), strict=True))


async def test_too_many_calls_are_turned_away(manager, autojump_clock):
    """CC-149, PR-2: one bucket for all methods and both versions; a moment later it has tokens again."""
    methods = [manager.pod_resources.list_pods, manager.pod_resources.allocatable] * 5
    for method in methods:
        await method()
    with pytest.raises(RateLimited, match="rejected by rate limit"):
        await manager.pod_resources.list_pods_v1alpha1()
    await trio.sleep(0.011)
    await manager.pod_resources.list_pods_v1alpha1()


def test_a_bucket_never_holds_more_than_its_burst():
    bucket = TokenBucket(rate=100, burst=10)
    assert all(bucket.take(now=1000) for _ in range(10))
    assert not bucket.take(now=1000)
    assert bucket.take(now=1000.011)
    assert sum(bucket.take(now=5000) for _ in range(50)) == 10


async def test_what_a_status_tells_is_worked_out_once_for_all_who_ask_while_nothing_changes(manager, pods):
    told = await manager.pods_in_turns()
    assert told == manager.pods()
    assert await manager.pods_in_turns() is told
    pods.set_devices([Device(id="d0", health="Unhealthy"), Device(id="d1")])
    await manager.wait_for_resource(GPU, allocatable=1)
    assert await manager.pods_in_turns() == manager.pods() != told
    await manager.remove("default", "p")
    assert await manager.pods_in_turns() == manager.pods()
    assert [pod.name for pod in manager.pods()] == ["idle"]


async def test_a_status_of_one_pod_is_that_of_the_same_among_all(manager, pods):
    assert [await manager.pod_in_turns(one.uid) for one in manager.pods()] == manager.pods() != []
    assert await manager.pod_in_turns("somebody else") is None
