"""The Node and its Lease, as a watcher of the API sees them."""

from __future__ import annotations

import time

import pytest
import trio

from devicemgr import open_device_manager
from devicemgr.cluster.api.client import ApiClient
from devicemgr.cluster.node import host
from devicemgr.cluster.node.admission import Admission
from devicemgr.cluster.node.agent import open_node
from devicemgr.cluster.node.options import NodeOptions
from devicemgr.cluster.objects.lease import new_lease
from devicemgr.cluster.objects.metadata import LEASES
from devicemgr.cluster.objects.node import DECLARED_FEATURES
from devicemgr.cluster.objects.node_info import Machine
from devicemgr.cluster.objects.times import parse_timestamp
from devicemgr.errors import ApiError
from devicemgr.model import UNHEALTHY, Device
from devicemgr.testing import open_simulated_plugin
from tests.helpers import undescribed

from .conftest import GPU, PATIENCE

NIC = "vendor.com/nic"


def lease_path(kube) -> str:
    return f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{kube.node}"


def ready(node: dict) -> tuple[str, str]:
    (found,) = [one for one in node["status"]["conditions"] if one["type"] == "Ready"]
    return found["status"], found["reason"]


async def test_a_node_is_registered_as_a_kubelet_does_it(kube, join):
    async with join(devices=3, labels={"zone": "b"}, capacity={"cpu": "4"}) as joined:
        node = await kube.until_allocatable(3)
        labels = node["metadata"]["labels"]
        assert labels["kubernetes.io/hostname"] == kube.node
        assert (labels["kubernetes.io/os"], labels["zone"]) == ("linux", "b")
        taint = {"key": "devicemgr.dev/simulated", "value": "true", "effect": "NoSchedule"}
        assert taint in node["spec"]["taints"]
        assert node["status"]["capacity"]["cpu"] == "4"
        assert node["status"]["nodeInfo"]["kubeletVersion"] == "v1.37.2-devicemgr"
        assert node["status"]["features"] == {"supplementalGroupsPolicy": True}
        assert node["status"]["declaredFeatures"] == list(DECLARED_FEATURES["1.37"])
        assert ready(node) == ("True", "KubeletReady")
        lease = await kube.api.get(lease_path(kube))
        assert f":{joined.manager.layout.root}#" in lease["spec"]["holderIdentity"]
        (registered,) = joined.seen("NodeRegistered")
        assert (registered.node, registered.existed) == (kube.node, False)
    node = await kube.api.get(kube.node_path)
    assert ready(node) == ("False", "KubeletNotReady")
    with pytest.raises(ApiError, match="404 NotFound"):
        await kube.api.get(lease_path(kube))


async def test_the_lease_is_renewed_and_goes_with_its_node(kube, join, monkeypatch):
    monkeypatch.setattr("devicemgr.cluster.node.lease.RENEW_PERIOD", 0.1)
    async with join() as joined:
        node = await kube.until_allocatable(2)
        seen: list[dict] = []

        def look(lease: dict | None) -> bool:
            if lease and lease["spec"] not in [one["spec"] for one in seen]:
                seen.append(lease)
            return len(seen) >= 5

        await kube.until(lease_path(kube), look)
        times = [parse_timestamp(one["spec"]["renewTime"]) for one in seen]
        assert times == sorted(times)
        assert {(one["spec"]["holderIdentity"], one["spec"]["leaseDurationSeconds"]) for one in seen} == {
            (host.holder(joined.manager.layout.root), 40)
        }
        assert [one["uid"] for one in seen[-1]["metadata"]["ownerReferences"]] == [node["metadata"]["uid"]]
        assert len(joined.seen("NodeLeaseTaken")) == 1


async def test_a_node_may_be_deleted_at_the_end(kube, join):
    async with join(delete_on_exit=True, tainted=False, api=kube.api):
        node = await kube.until_allocatable(2)
        assert "devicemgr.dev/simulated" not in [one["key"] for one in node["spec"].get("taints", [])]
    await kube.until(kube.node_path, lambda node: node is None)


async def test_a_node_that_was_there_is_taken_over(kube, join):
    theirs = {"somebody": "else", "kubernetes.io/os": "windows"}
    await kube.api.create("/api/v1/nodes", {"metadata": {"name": kube.node, "labels": theirs}, "spec": {"taints": []}})
    async with join() as joined:
        node = await kube.until_allocatable(2)
        labels = node["metadata"]["labels"]
        assert (labels["somebody"], labels["kubernetes.io/os"]) == ("else", "linux")
        assert joined.seen("NodeRegistered")[0].existed


async def test_capacity_and_allocatable_follow_the_devices(kube, join):
    async with join() as joined:
        await kube.until_allocatable(2)
        joined.plugin.set_devices([Device(id="dev-0", health=UNHEALTHY), Device(id="dev-1"), Device(id="dev-2")])
        node = await kube.until_allocatable(2)
        await kube.until(kube.node_path, lambda node: node["status"]["capacity"][GPU] == "3")
        async with open_simulated_plugin(joined.manager.layout.plugins, NIC, devices=1) as nic:
            await nic.register()
            await kube.until_allocatable(1, NIC)
        node = await kube.until_allocatable(0, NIC)
        assert node["status"]["capacity"][NIC] == "1"
        assert joined.seen("NodeStatusPublished")[-1].allocatable == {GPU: 2, NIC: 0}


async def test_a_resource_that_is_removed_is_zero_on_the_node_and_then_forgotten(kube, join):
    async with join(grace=0.2) as joined:
        async with open_simulated_plugin(joined.manager.layout.plugins, NIC, devices=1) as nic:
            await nic.register()
            await kube.until_allocatable(1, NIC)
        with trio.fail_after(PATIENCE):
            await joined.manager.log.wait_until(lambda: NIC not in joined.manager.capacity())
        node = await kube.api.get(kube.node_path)
        assert (node["status"]["capacity"][NIC], node["status"]["allocatable"][NIC]) == ("0", "0")
        pod = kube.pod("one")
        pod["spec"]["containers"][0]["resources"] = {"limits": {NIC: "1"}}
        await kube.api.create(kube.pods, pod)
        assert (await kube.until_phase("one", "Failed"))["status"]["reason"] == f"OutOf{NIC}"


async def test_the_manager_may_restart(kube, join):
    async with join() as joined:
        await kube.create_pod("one", gpus=1)
        before = await kube.until_phase("one", "Running")
        await joined.manager.faults.restart()
        joined.plugin.restore_socket()
        await joined.plugin.register()
        await kube.create_pod("two", gpus=1)
        await kube.until_phase("two", "Running")
        # The health of its device was unknown meanwhile, and is written by a task of its own.
        await kube.until(f"{kube.pods}/one", lambda pod: pod["status"] == before["status"])
        assert joined.available() == 0


async def test_what_the_api_server_says_in_its_own_way_is_not_written_again_and_again(kube, join, monkeypatch):
    """It rounds up the processor to a thousandth of one."""
    written = []
    patch = ApiClient.patch

    async def counted(self, path, *args, **kwargs):
        if path == f"{kube.node_path}/status":
            written.append(path)
        return await patch(self, path, *args, **kwargs)

    async with join(capacity={"cpu": "0.0000000001"}) as joined:
        await kube.until_allocatable(2)
        monkeypatch.setattr(ApiClient, "patch", counted)
        for _ in range(50):
            assert (await kube.api.get(kube.node_path))["status"]["capacity"]["cpu"] == "1m"
        assert len(written) <= 2
        joined.plugin.set_devices([Device(id="dev-0")])
        await kube.until_allocatable(1)


async def test_without_a_checkpoint_extended_resources_are_void_once(kube, join):
    """CAP-6: what an earlier life of the node has published is reset, and what comes later is somebody else's."""
    await kube.api.create("/api/v1/nodes", {"metadata": {"name": kube.node}})
    old = {"capacity": {NIC: "9"}, "allocatable": {NIC: "9"}}
    await kube.api.patch(f"{kube.node_path}/status", {"status": old})
    async with join() as joined:
        await kube.until_allocatable(2)
        await kube.until_allocatable(0, NIC)
        with trio.fail_after(PATIENCE):
            await joined.manager.log.wait_until(lambda: not joined.manager.node_status().reset)
        await kube.api.patch(f"{kube.node_path}/status", {"status": old})
        joined.plugin.set_devices([Device(id="dev-0")])
        node = await kube.until_allocatable(1)
        assert node["status"]["allocatable"][NIC] == "9"


async def test_resources_of_somebody_else_are_counted_and_left_alone(kube, join):
    theirs = "example.com/dongle"

    async def publish(count: int) -> None:
        counts = {theirs: str(count)}
        await kube.api.patch(f"{kube.node_path}/status", {"status": {"capacity": counts, "allocatable": counts}})
        with trio.fail_after(PATIENCE):
            await joined.manager.log.wait_until(
                lambda: joined.seen("NodeStatusPublished")[-1].allocatable.get(theirs) == count
            )

    async def phase_of(name: str, count: int) -> dict:
        pod = kube.pod(name)
        pod["spec"]["containers"][0]["resources"] = {"limits": {theirs: str(count)}}
        await kube.api.create(kube.pods, pod)
        found = await kube.until(f"{kube.pods}/{name}", lambda pod: pod["status"]["phase"] != "Pending")
        return found["status"]

    async with join() as joined:
        await kube.until_allocatable(2)
        await publish(2)
        assert (await phase_of("one", 2))["phase"] == "Running"
        refused = await phase_of("two", 1)
        assert refused["reason"] == f"OutOf{theirs}"
        assert refused["message"].endswith(f"{theirs}, requested: 1, used: 2, capacity: 2")
        await publish(3)
        assert (await phase_of("three", 1))["phase"] == "Running"
        joined.plugin.set_devices([Device(id="dev-0")])
        node = await kube.until_allocatable(1)
        assert node["status"]["allocatable"][theirs] == "3"


async def test_a_node_that_somebody_deletes_is_registered_again(kube, join):
    async with join() as joined:
        await kube.create_pod("one", gpus=1)
        before = await kube.until_allocatable(2)
        await kube.until_phase("one", "Running")
        await kube.api.delete(kube.node_path)
        after = await kube.until(
            kube.node_path, lambda node: node and node["metadata"]["uid"] != before["metadata"]["uid"]
        )
        assert after["metadata"]["labels"] == before["metadata"]["labels"]
        await kube.until_allocatable(2)
        assert len(joined.seen("NodeRegistered")) == 2
        assert (await kube.api.get(f"{kube.pods}/one"))["status"]["phase"] == "Running"
        assert joined.available() == 1


async def test_of_two_agents_with_one_name_the_newer_one_stands_by(kube, join, tmp_path_factory):
    async with join(devices=1) as first, kube.cluster.client(f"system:node:{kube.node}") as api:
        other_root = tmp_path_factory.mktemp("n")
        async with open_device_manager(other_root) as manager, trio.open_nursery() as nursery:
            joined = trio.Event()

            async def second() -> None:
                async with open_node(api, manager, NodeOptions(name=kube.node)):
                    joined.set()
                    await trio.sleep_forever()

            def seen(name: str) -> list:
                return [one.event for one in manager.events() if type(one.event).__name__ == name]

            nursery.start_soon(second)
            with trio.fail_after(PATIENCE):
                await manager.log.wait_until(lambda: bool(seen("NodeStandsBy")))
            (event,) = seen("NodeStandsBy")
            assert f":{first.manager.layout.root}#" in event.holder
            await kube.create_pod("one", gpus=1)
            await kube.until_phase("one", "Running")
            assert not joined.is_set()
            assert manager.pods() == []
            nursery.cancel_scope.cancel()
        assert ready(await kube.api.get(kube.node_path)) == ("True", "KubeletReady")
        assert f":{first.manager.layout.root}#" in (await kube.api.get(lease_path(kube)))["spec"]["holderIdentity"]


async def test_who_stands_by_takes_over_when_the_other_one_has_ended(kube, join, tmp_path_factory):
    other_root = tmp_path_factory.mktemp("n")
    async with kube.cluster.client(f"system:node:{kube.node}") as api, open_device_manager(other_root) as manager:
        async with trio.open_nursery() as nursery:
            taken = trio.Event()

            async def second() -> None:
                async with open_node(api, manager, NodeOptions(name=kube.node)):
                    taken.set()

            async with join():
                nursery.start_soon(second)
                with trio.fail_after(PATIENCE):
                    await manager.log.wait_until(
                        lambda: any(type(one.event).__name__ == "NodeStandsBy" for one in manager.events())
                    )
                assert not taken.is_set()
            with trio.fail_after(PATIENCE):
                await taken.wait()


async def test_after_a_reboot_the_lease_of_before_is_taken_at_once(kube, join, root_dir, monkeypatch):
    """But not by an agent that has lost it to such a one: they are on two machines that take themselves for one."""
    monkeypatch.setattr("devicemgr.cluster.node.lease.RENEW_PERIOD", 0.2)

    def holder_after(boot: str) -> str:
        machine = Machine(architecture="amd64", machine_id="0" * 32, boot_id=boot)
        monkeypatch.setattr(host, "read_machine", lambda: machine)
        return host.holder(root_dir)

    before, other = holder_after("11111111"), holder_after("33333333")
    await kube.api.create(LEASES, new_lease(kube.node, before, time=time.time(), node_uid=None))
    holder_after("22222222")
    async with join() as joined:
        await kube.until_allocatable(2)
        assert joined.seen("NodeStandsBy") == []
        await kube.api.patch(lease_path(kube), {"spec": {"holderIdentity": other}})
        with trio.fail_after(PATIENCE):
            await joined.manager.log.wait_until(lambda: bool(joined.seen("NodeStandsBy")))


async def test_a_node_whose_lease_is_taken_admits_no_more_pods(kube, join, monkeypatch):
    monkeypatch.setattr("devicemgr.cluster.node.lease.RENEW_PERIOD", 0.2)
    async with join() as joined:
        await kube.until_allocatable(2)
        lease = await kube.api.get(lease_path(kube))
        taken = {"spec": {"holderIdentity": "somebody else", "renewTime": "2026-11-26T10:14:09.000000Z"}}
        await kube.api.patch(lease_path(kube), taken)
        with trio.fail_after(PATIENCE):
            await joined.manager.log.wait_until(lambda: bool(joined.seen("NodeStandsBy")))
        await kube.create_pod("one", gpus=1)
        await kube.api.delete(lease_path(kube))
        pod = await kube.until_phase("one", "Running")
        took = [type(one).__name__ for one in joined.seen("NodeLeaseTaken", "NodeStandsBy", "PodAdmitted")]
        assert took == ["NodeLeaseTaken", "NodeStandsBy", "NodeLeaseTaken", "PodAdmitted"]
        assert pod["metadata"]["uid"]
        assert lease["metadata"]["uid"] != (await kube.api.get(lease_path(kube)))["metadata"]["uid"]


async def test_pods_keep_their_devices_over_a_restart(kube, join):
    async with join(devices=3):
        for name in ("a", "b", "c"):
            await kube.create_pod(name, gpus=1)
        before = {name: await kube.until_phase(name, "Running") for name in ("a", "b", "c")}
    await kube.api.delete(f"{kube.pods}/b", grace=0)
    await kube.create_pod("d", gpus=1)
    async with join(devices=3) as joined:
        await kube.until_phase("d", "Running")
        for name in ("a", "c"):
            pod = await kube.api.get(f"{kube.pods}/{name}")
            assert pod["status"] == before[name]["status"]
        assert joined.available() == 0
        assert {pod.name for pod in joined.manager.pods()} == {"a", "c", "d"}


async def test_after_a_restart_the_oldest_pods_come_first(kube, join):
    async with join(devices=1):
        await kube.create_pod("runs", gpus=1)
        await kube.until_phase("runs", "Running")
    for name in ("z", "m", "a"):
        await kube.create_pod(name, gpus=1)
        await trio.sleep(1.1)  # times of creation are in whole seconds
    await kube.api.delete(f"{kube.pods}/runs", grace=0)
    async with join(devices=1) as joined:
        await kube.until_phase("z", "Running")
        await kube.until_phase("m", "Failed")
        await kube.until_phase("a", "Failed")
        assert [event.name for event in joined.seen("PodAdmitted")] == ["z"]


async def test_after_a_restart_the_oldest_pods_come_first_for_the_processor_too(kube, join):
    """Also when an older one takes longer, since it waits for a plug-in's answer."""
    two = {"requests": {"cpu": "2"}}
    await kube.create_pod("older", gpus=1, **two)
    await trio.sleep(1.1)  # times of creation are in whole seconds
    await kube.create_pod("younger", **two)
    await kube.create_pod("z-small", requests={"cpu": "1"})
    async with join(devices=1, capacity={"cpu": "3"}):
        await kube.until_phase("older", "Running")
        await kube.until_phase("z-small", "Running")
        refused = await kube.until_phase("younger", "Failed")
        assert refused["status"]["message"].endswith("cpu, requested: 2000, used: 2000, capacity: 3000")


async def test_a_place_that_was_kept_for_a_pod_that_is_refused_is_free_for_those_after_it(kube, join):
    await kube.create_pod("older", gpus=2, requests={"cpu": "2"})
    await trio.sleep(1.1)  # times of creation are in whole seconds
    await kube.create_pod("younger", requests={"cpu": "2"})
    async with join(devices=1, capacity={"cpu": "2"}):
        await kube.until_phase("younger", "Running")
        await kube.until_phase("older", "Failed")


async def test_a_pod_that_is_deleted_does_not_wait_for_its_turn(kube, join, monkeypatch):
    admit, may_go_on = Admission.admit, trio.Event()

    async def admit_slowly(self, pod):
        if pod["metadata"]["name"] == "older":
            await may_go_on.wait()
        return await admit(self, pod)

    monkeypatch.setattr(Admission, "admit", admit_slowly)
    await kube.create_pod("older", requests={"cpu": "2"})
    await trio.sleep(1.1)  # times of creation are in whole seconds
    await kube.create_pod("younger", requests={"cpu": "2"})
    async with join(capacity={"cpu": "2"}) as joined:
        await kube.api.delete(f"{kube.pods}/younger")
        await kube.until_gone("younger")
        assert joined.seen("PodAdmitted", "PodRefused") == []
        may_go_on.set()
        await kube.until_phase("older", "Running")


async def test_no_pod_keeps_a_node_from_starting_again(kube, join):
    """The API server lets a pod ask for more devices than there can be."""

    def pod(name: str) -> dict:
        resources = {"limits": {GPU: "1e30"}, "requests": {GPU: "1e30"}}
        return kube.pod(name) | {
            "spec": {"nodeName": kube.node, "containers": [{"name": "main", "image": "i", "resources": resources}]}
        }

    async with join():
        await kube.api.create(kube.pods, pod("before"))
        refused = await kube.until_phase("before", "Failed")
        assert refused["status"]["reason"] == "UnexpectedAdmissionError"
    await kube.api.create(kube.pods, pod("meanwhile"))
    async with join():
        await kube.until_phase("meanwhile", "Failed")


async def test_a_pod_whose_end_was_missed_ends_after_a_restart(kube, join):
    timed = {"devicemgr.dev/complete-after": "1h"}
    async with join(devices=2):
        await kube.create_pod("timed", gpus=1, annotations=timed)
        await kube.create_pod("deleted", gpus=1, annotations={"devicemgr.dev/terminate-after": "1h"})
        await kube.until_phase("timed", "Running")
        await kube.until_phase("deleted", "Running")
        await kube.api.delete(f"{kube.pods}/deleted", grace=60)
    async with join(devices=2, clock=lambda: time.time() + 5000) as joined:
        await kube.until_phase("timed", "Succeeded")
        await kube.until_gone("deleted")
        assert joined.available() == 2
        assert joined.seen("PodAdmitted") == []


async def test_who_may_not_join_is_told_at_once(kube, join):
    async with kube.cluster.client("system:node:node-59") as other:
        with pytest.raises(ApiError, match="403 Forbidden"):
            async with join(api=other):
                pass


async def test_options_that_cannot_be_used(kube, join):
    with pytest.raises(ValueError, match="vendor.com/gpu=4: an extended resource"):
        async with join(capacity={GPU: "4"}):
            pass


async def test_a_node_that_is_refused_leaves_the_name_free(kube, join):
    with pytest.raises(ApiError, match=r"422 Invalid: .*pods: Invalid value"):
        async with join(capacity={"pods": "0.5"}):
            pass
    assert await kube.get_or_none(lease_path(kube)) is None


@pytest.mark.parametrize("delete_on_exit", [False, True])
async def test_a_node_that_it_may_not_take_over_is_left_alone(kube, join, delete_on_exit):
    ready = {"type": "Ready", "status": "True", "reason": "Theirs", "message": "a node of somebody else"}
    await kube.api.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": kube.node}})
    await kube.api.patch(f"{kube.node_path}/status", {"status": {"conditions": [ready]}})
    before = await kube.api.get(kube.node_path)
    with pytest.raises(ApiError, match="403 Forbidden"):
        async with join(labels={"node-restriction.kubernetes.io/x": "y"}, delete_on_exit=delete_on_exit):
            pass
    assert await kube.api.get(kube.node_path) == before
    assert await kube.get_or_none(lease_path(kube)) is None


async def test_every_task_in_the_tree_of_its_manager_has_a_name_of_ours(kube, join, task_names):
    async with join(devices=1) as joined:
        await kube.until_allocatable(1)
        await kube.create_pod("a", gpus=1)
        await kube.until_phase("a", "Running")
        await kube.api.delete(f"{kube.pods}/a")
        await kube.until_gone("a")
        assert joined.available() == 1
    assert task_names
    assert undescribed(task_names) == set()
