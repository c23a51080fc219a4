"""Pods that are bound to the node, as a watcher of the API sees them."""

from __future__ import annotations

import pytest
import trio

from devicemgr.cluster.node.admission import Admission
from devicemgr.errors import RpcFailed
from devicemgr.model import UNHEALTHY, Device, PluginOptions
from devicemgr.testing import open_simulated_plugin

from .conftest import GPU, PATIENCE

LIMITS = {"resources": {"limits": {GPU: "1"}}}


def conditions(pod: dict) -> dict:
    return {one["type"]: one["status"] for one in pod["status"]["conditions"]}


def health(status: dict) -> dict:
    return {
        one["resourceID"]: one["health"]
        for resource in status.get("allocatedResourcesStatus", [])
        for one in resource["resources"]
    }


async def test_a_pod_runs_with_its_devices(kube, join):
    async with join() as joined:
        await kube.create_pod("one", gpus=1)
        pod = await kube.until_phase("one", "Running")
        (main,) = pod["status"]["containerStatuses"]
        assert (main["ready"], main["started"], main["restartCount"]) == (True, True, 0)
        assert main["allocatedResourcesStatus"] == [
            {"name": GPU, "resources": [{"resourceID": "dev-0", "health": "Healthy"}]}
        ]
        assert pod["status"]["startTime"] == main["state"]["running"]["startedAt"]
        assert pod["status"]["podIPs"] == [{"ip": pod["status"]["podIP"]}]
        assert pod["status"]["hostIP"] == "127.0.0.1"
        assert pod["status"]["qosClass"] == "BestEffort"
        assert pod["status"]["observedGeneration"] == pod["metadata"]["generation"]
        assert set(conditions(pod).values()) == {"True"}
        assert joined.available() == 1


async def test_a_pod_is_deleted_when_it_has_ended_and_its_devices_are_free_by_then(kube, join):
    async with join(devices=1) as joined:
        await kube.create_pod("one", gpus=1)
        await kube.until_phase("one", "Running")
        await kube.api.delete(f"{kube.pods}/one")
        await kube.until_gone("one")
        assert joined.available() == 1
        await kube.create_pod("one", gpus=1)
        await kube.until_phase("one", "Running")
        await joined.manager.log.wait_until(lambda: len(joined.seen("PodDeleted")) == 1)


async def test_all_kinds_of_containers_have_their_statuses(kube, join):
    async with join(devices=3) as joined:
        init = [
            {"name": "init", "image": "i", **LIMITS},
            {"name": "side", "image": "i", "restartPolicy": "Always", **LIMITS},
        ]
        await kube.create_pod("one", gpus=1, initContainers=init)
        pod = await kube.until_phase("one", "Running")
        init, side = pod["status"]["initContainerStatuses"]
        (main,) = pod["status"]["containerStatuses"]
        assert init["state"]["terminated"]["reason"] == "Completed"
        assert (init["ready"], init["started"]) == (True, False)
        assert "running" in side["state"]
        assert len({*health(side), *health(main)}) == 2
        assert health(init).keys() < {*health(side), *health(main)}  # it has handed its own on
        assert joined.available() == 1


async def test_the_health_of_held_devices_is_published_at_once(kube, join):
    async with join() as joined:
        await kube.create_pod("one", gpus=1)
        await kube.until_phase("one", "Running")

        async def until_health(expected: str) -> dict:
            return await kube.until(
                f"{kube.pods}/one",
                lambda pod: set(health(pod["status"]["containerStatuses"][0]).values()) == {expected},
            )

        joined.plugin.set_devices([Device(id="dev-0", health=UNHEALTHY), Device(id="dev-1")])
        pod = await until_health("Unhealthy")
        assert pod["status"]["phase"] == "Running"
        assert (await kube.until_allocatable(1))["status"]["capacity"][GPU] == "2"
        joined.plugin.set_devices([Device(id="dev-0"), Device(id="dev-1")])
        await until_health("Healthy")


async def test_a_pod_that_is_refused_has_failed_with_the_kubelets_words_and_an_event(kube, join):
    async with join(devices=1) as joined:
        await kube.create_pod("one", gpus=1)
        await kube.until_phase("one", "Running")
        await kube.create_pod("two", gpus=1)
        pod = await kube.until_phase("two", "Failed")
        text = (
            "Allocate failed due to requested number of devices unavailable for vendor.com/gpu. "
            "Requested: 1, Available: 0, which is unexpected"
        )
        assert pod["status"]["reason"] == "UnexpectedAdmissionError"
        assert pod["status"]["message"] == f"Pod was rejected: {text}"
        assert "startTime" in pod["status"]
        event = await kube.until_event("two", "UnexpectedAdmissionError")
        assert (event["message"], event["type"], event["count"]) == (text, "Warning", 1)
        assert event["involvedObject"]["uid"] == pod["metadata"]["uid"]
        assert event["source"]["host"] == kube.node
        await kube.api.delete(f"{kube.pods}/two")
        await kube.until_gone("two")
        assert joined.available() == 0


@pytest.mark.parametrize(
    ("pod", "reason", "message"),
    [
        (
            {"requests": {"cpu": "4001m"}},
            "OutOfcpu",
            "Node didn't have enough resource: cpu, requested: 4001, used: 0, capacity: 4000",
        ),
        (
            {"requests": {"memory": "2Gi"}},
            "OutOfmemory",
            "Node didn't have enough resource: memory, requested: 2147483648, used: 0, capacity: 1073741824",
        ),
        (
            {"nodeSelector": {"disk": "ssd"}},
            "NodeAffinity",
            "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
        ),
    ],
)
async def test_what_does_not_fit_beside_devices(kube, join, pod, reason, message):
    async with join(capacity={"cpu": "4", "memory": "1Gi"}) as joined:
        await kube.create_pod("one", gpus=1, **pod)
        found = await kube.until_phase("one", "Failed")
        assert (found["status"]["reason"], found["status"]["message"]) == (reason, f"Pod was rejected: {message}")
        assert joined.available() == 2
        (event,) = joined.seen("PodRefused")
        assert (event.reason, event.rule) == (reason, "CAP-9")


async def test_what_pods_request_adds_up_until_they_have_ended(kube, join):
    async with join(capacity={"cpu": "2", "pods": "2"}):
        await kube.create_pod("a", requests={"cpu": "1"})
        await kube.until_phase("a", "Running")
        await kube.create_pod("b", requests={"cpu": "1500m"})
        assert (await kube.until_phase("b", "Failed"))["status"]["reason"] == "OutOfcpu"
        await kube.create_pod("c", requests={"cpu": "1"})
        await kube.until_phase("c", "Running")
        await kube.create_pod("d")
        pod = await kube.until_phase("d", "Failed")
        assert pod["status"]["message"].endswith("enough resource: pods, requested: 1, used: 2, capacity: 2")
        await kube.api.delete(f"{kube.pods}/a")
        await kube.until_gone("a")
        await kube.create_pod("e", requests={"cpu": "1"})
        await kube.until_phase("e", "Running")


async def test_a_pod_ends_by_itself_when_it_is_told_to(kube, join):
    async with join(devices=1) as joined:
        await kube.create_pod("one", gpus=1, annotations={"devicemgr.dev/complete-after": "1s"}, restartPolicy="Never")
        pod = await kube.until_phase("one", "Succeeded")
        assert joined.available() == 1
        assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 0
        assert conditions(pod)["Ready"] == "False"
        await kube.create_pod("two", gpus=1)
        await kube.until_phase("two", "Running")
        await kube.api.delete(f"{kube.pods}/one")
        await kube.until_gone("one")
        assert joined.available() == 0


async def test_a_wrong_annotation_is_an_event(kube, join):
    async with join():
        await kube.create_pod("one", gpus=1, annotations={"devicemgr.dev/complete-after": "soon"})
        await kube.until_phase("one", "Running")
        event = await kube.until_event("one", "FailedValidation")
        assert "annotation devicemgr.dev/complete-after: 'soon' is not a duration" in event["message"]


async def test_containers_have_the_grace_period_to_end(kube, join):
    async with join() as joined:
        slow = {"devicemgr.dev/terminate-after": "1s"}
        await kube.create_pod("one", gpus=1, annotations=slow)
        await kube.create_pod("two", gpus=1, annotations={"devicemgr.dev/terminate-after": "1h"})
        await kube.until_phase("one", "Running")
        await kube.until_phase("two", "Running")
        ended: dict[str, dict] = {}

        async def watch(name: str) -> None:
            def look(pod: dict | None) -> bool:
                if pod:
                    ended[name] = pod
                return pod is None

            await kube.until(f"{kube.pods}/{name}", look)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, "one")
            nursery.start_soon(watch, "two")
            await kube.api.delete(f"{kube.pods}/one")
            await kube.api.delete(f"{kube.pods}/two", grace=1)
        assert ended["one"]["status"]["phase"] == "Succeeded"
        assert ended["two"]["status"]["phase"] == "Failed"
        (main,) = ended["two"]["status"]["containerStatuses"]
        assert (main["state"]["terminated"]["exitCode"], main["state"]["terminated"]["reason"]) == (137, "Error")
        assert joined.available() == 2


async def test_a_pod_that_is_deleted_by_force_is_gone_at_once(kube, join):
    async with join(devices=1) as joined:
        await kube.create_pod("one", gpus=1, annotations={"devicemgr.dev/terminate-after": "1h"})
        await kube.until_phase("one", "Running")
        await kube.api.delete(f"{kube.pods}/one", grace=0)
        await kube.until_gone("one")
        with trio.fail_after(PATIENCE):
            await joined.manager.log.wait_until(lambda: joined.available() == 1)


async def test_an_end_waits_for_the_admission_before_it(kube, join):
    async with join(devices=1) as joined:
        asked, may_answer = trio.Event(), trio.Event()

        async def allocate(ids):
            asked.set()
            await may_answer.wait()
            return joined.plugin.default_answer(ids)

        joined.plugin.on_allocate = allocate
        await kube.create_pod("one", gpus=1)
        await asked.wait()
        await kube.api.delete(f"{kube.pods}/one")
        await kube.until(f"{kube.pods}/one", lambda pod: pod["metadata"].get("deletionTimestamp"))
        may_answer.set()
        await kube.until_gone("one")
        assert joined.available() == 1


async def test_the_next_pod_of_a_name_is_another_pod(kube, join):
    """A status that belongs to the pod before it does not become its own."""
    async with join(devices=1) as joined:
        asked, may_answer = trio.Event(), trio.Event()

        async def allocate(ids):
            asked.set()
            await may_answer.wait()
            return joined.plugin.default_answer(ids)

        joined.plugin.on_allocate = allocate
        first = await kube.create_pod("one", gpus=1)
        await asked.wait()
        await kube.api.delete(f"{kube.pods}/one", grace=0)
        second = await kube.create_pod("one", gpus=0)
        await kube.until_phase("one", "Running")
        may_answer.set()
        pod = await kube.until_phase("one", "Running")
        assert pod["metadata"]["uid"] == second["metadata"]["uid"] != first["metadata"]["uid"]
        assert health(pod["status"]["containerStatuses"][0]) == {}
        assert joined.available() == 1
        assert [event.uid for event in joined.seen("PodAdmitted")] == [second["metadata"]["uid"]]


async def test_what_is_free_is_free_for_the_next_pod(kube, join, monkeypatch):
    """Whoever is bound after a pod has gone finds its devices, however long it takes to free them."""
    free = Admission.free

    async def free_slowly(*arguments) -> None:
        await trio.sleep(0.3)
        await free(*arguments)

    monkeypatch.setattr(Admission, "free", free_slowly)
    async with join(devices=1) as joined:
        await kube.create_pod("first", gpus=1)
        await kube.until_phase("first", "Running")
        await kube.api.delete(f"{kube.pods}/first", grace=0)
        await kube.create_pod("second", gpus=1)
        await kube.until_phase("second", "Running")
        await kube.api.patch(f"{kube.pods}/second/status", {"status": {"phase": "Failed"}})
        await kube.create_pod("third", gpus=1)
        await kube.until_phase("third", "Running")
        assert joined.seen("PodRefused") == []


async def test_conditions_of_others_survive(kube, join):
    async with join() as joined:
        gate = {"conditionType": "example.com/gate"}
        await kube.create_pod("one", gpus=1, readinessGates=[gate])
        pod = await kube.until_phase("one", "Running")
        assert conditions(pod)["Ready"] == "False"
        path = f"{kube.pods}/one/status"
        theirs = {"type": "example.com/gate", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        await kube.api.patch(path, {"status": {"conditions": [theirs]}}, strategic=True)
        await kube.until(f"{kube.pods}/one", lambda pod: conditions(pod)["Ready"] == "True")
        joined.plugin.set_devices([Device(id="dev-0", health=UNHEALTHY), Device(id="dev-1")])
        pod = await kube.until(
            f"{kube.pods}/one",
            lambda pod: "Unhealthy" in health(pod["status"]["containerStatuses"][0]).values(),
        )
        assert any(one.items() >= theirs.items() for one in pod["status"]["conditions"])


async def test_a_mirror_pod_is_left_alone(kube, join):
    async with join():
        await kube.api.create(
            kube.pods,
            kube.pod("static", annotations={"kubernetes.io/config.mirror": "x", "kubernetes.io/config.source": "file"}),
        )
        await kube.create_pod("one", gpus=1)
        await kube.until_phase("one", "Running")
        assert (await kube.api.get(f"{kube.pods}/static"))["status"]["phase"] == "Pending"


async def test_a_container_that_cannot_start_is_tried_again(kube, join, monkeypatch):
    monkeypatch.setattr("devicemgr.cluster.node.pod_worker.START_RETRY_PERIOD", 0.2)
    async with join() as joined:
        may_start = trio.Event()

        async def pre_start(ids):
            if not may_start.is_set():
                raise RpcFailed("not yet")

        nic = "vendor.com/nic"
        async with open_simulated_plugin(
            joined.manager.layout.plugins, nic, devices=1, options=PluginOptions(pre_start_required=True)
        ) as plugin:
            plugin.on_pre_start = pre_start
            await plugin.register()
            await kube.until_allocatable(1, nic)
            pod = kube.pod("one")
            pod["spec"]["containers"][0]["resources"] = {"limits": {nic: "1"}}
            await kube.api.create(kube.pods, pod)
            pod = await kube.until(f"{kube.pods}/one", lambda pod: pod["status"].get("containerStatuses"))
            waiting = pod["status"]["containerStatuses"][0]["state"]["waiting"]
            assert (pod["status"]["phase"], waiting["reason"]) == ("Pending", "CreateContainerConfigError")
            assert "PreStartContainer rpc failed" in waiting["message"]
            with trio.fail_after(PATIENCE):
                while (await kube.until_event("one", "Failed"))["count"] < 3:  # noqa: ASYNC110 - of another program
                    await trio.sleep(0.05)
            assert len([one for one in await kube.events("one") if one["reason"] == "Failed"]) == 1
            may_start.set()
            await kube.until_phase("one", "Running")
