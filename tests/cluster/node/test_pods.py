"""Pods that are bound to the node, as a watcher of the API sees them."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager

import pytest
import trio

from devicemgr import Numa, Policy, Topology
from devicemgr.cluster.node.admission import Admission
from devicemgr.cluster.objects.pod_status import running_status
from devicemgr.errors import RpcFailed
from devicemgr.model import HEALTHY, UNHEALTHY, Device, PluginOptions
from devicemgr.testing import open_simulated_plugin

from .conftest import GPU, PATIENCE

LIMITS = {"resources": {"limits": {GPU: "1"}}}
NIC = "vendor.com/nic"


@asynccontextmanager
async def open_nic(joined):
    """A plug-in that wants to be asked before each start."""
    options = PluginOptions(pre_start_required=True)
    async with open_simulated_plugin(joined.manager.layout.plugins, NIC, devices=1, options=options) as nic:
        await nic.register()
        yield nic


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


async def test_what_the_watch_repeats_of_an_answer_is_not_looked_at_again(kube, join, monkeypatch):
    seen: list[tuple[str, str]] = []

    def noted(pod, *args, **kwargs):
        seen.append((pod["metadata"]["name"], pod["metadata"]["resourceVersion"]))
        return running_status(pod, *args, **kwargs)

    monkeypatch.setattr("devicemgr.cluster.node.pod_worker.running_status", noted)
    async with join(devices=10):
        for number in range(10):
            await kube.create_pod(f"pod-{number}", gpus=1)
            await kube.until_phase(f"pod-{number}", "Running")
    assert len(seen) == len(set(seen)) >= 10


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


def cpu(pod: dict) -> tuple[str, str]:
    """What the pod's container was given, and what of it counts."""
    (main,) = pod["status"]["containerStatuses"]
    return main["resources"]["requests"]["cpu"], main["allocatedResources"]["cpu"]


async def resize(kube, name: str, **requests: str) -> None:
    patch = {"spec": {"containers": [{"name": "main", "resources": {"requests": requests}}]}}
    await kube.api.patch(f"{kube.pods}/{name}/resize", patch, strategic=True)


async def test_a_pod_is_given_more_if_there_is_more(kube, join):
    async with join(capacity={"cpu": "2"}):
        await kube.create_pod("one", gpus=1, requests={"cpu": "500m"})
        await kube.until_phase("one", "Running")
        await resize(kube, "one", cpu="1500m")
        pod = await kube.until(f"{kube.pods}/one", lambda pod: cpu(pod) == ("1500m", "1500m"))
        assert "PodResizePending" not in conditions(pod)
        for reason in ("ResizeStarted", "ResizeCompleted"):
            event = await kube.until_event("one", reason)
            resources = '{"limits":{"vendor.com/gpu":"1"},"requests":{"cpu":"1500m","vendor.com/gpu":"1"}}'
            summary = f'{{"containers":[{{"name":"main","resources":{resources}}}],"generation":2}}'
            assert event["message"] == f"Pod resize {reason.removeprefix('Resize').lower()}: {summary}"
        await kube.create_pod("two", requests={"cpu": "1"})
        assert (await kube.until_phase("two", "Failed"))["status"]["reason"] == "OutOfcpu"
        await resize(kube, "one", cpu="1")
        await kube.until(f"{kube.pods}/one", lambda pod: cpu(pod) == ("1", "1"))
        await kube.create_pod("three", requests={"cpu": "1"})
        await kube.until_phase("three", "Running")


async def test_a_pod_waits_for_more_until_there_is_more(kube, join):
    """Also over a restart of the agent, which does not forget what the pod has."""

    def pending(pod: dict) -> dict | None:
        found = [one for one in pod["status"]["conditions"] if one["type"] == "PodResizePending"]
        return found[0] if found else None

    async with join(capacity={"cpu": "2"}):
        for name in ("one", "two", "three"):
            await kube.create_pod(name, requests={"cpu": "500m"})
            await kube.until_phase(name, "Running")
        await resize(kube, "one", cpu="1500m")
        pod = await kube.until(f"{kube.pods}/one", pending)
        text = "Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000"
        found = pending(pod)
        assert (found["status"], found["reason"], found["message"]) == ("True", "Deferred", text)
        assert found["observedGeneration"] == 2
        assert cpu(pod) == ("500m", "500m")
        event = await kube.until_event("one", "ResizeDeferred")
        assert event["message"].startswith("Pod resize Deferred: {")
        assert event["message"].endswith(f'"generation":2,"error":"{text}"}}')
    async with join(capacity={"cpu": "2"}) as joined:
        await kube.create_pod("four", requests={"cpu": "500m"})
        await kube.until_phase("four", "Running")
        await kube.api.delete(f"{kube.pods}/four")
        await kube.until_gone("four")
        await kube.api.delete(f"{kube.pods}/two")
        await kube.until_gone("two")
        pod = await kube.until(f"{kube.pods}/one", lambda pod: cpu(pod) == ("1500m", "1500m"))
        assert pending(await kube.until(f"{kube.pods}/one", lambda pod: pending(pod) is None)) is None
        (deferred,) = [one for one in await kube.events("one") if one["reason"] == "ResizeDeferred"]
        assert deferred["count"] == 1
        assert joined.seen("ApiRequestRefused") == []


async def test_others_make_room_for_a_critical_pod(kube, join):
    """As few as possible; and not if that would not be enough, or if it is devices that it lacks."""
    critical = kube.pod("critical", requests={"cpu": "1200m"}, priorityClassName="system-node-critical")
    async with join(capacity={"cpu": "2"}, devices=1) as joined:
        for name, gpus, asked in (("small", 0, "500m"), ("large", 1, "1")):
            await kube.create_pod(name, gpus=gpus, requests={"cpu": asked}, terminationGracePeriodSeconds=0)
            await kube.until_phase(name, "Running")
        huge = kube.pod("huge", requests={"cpu": "3"}, priorityClassName="system-node-critical")
        await kube.api.create(kube.pods, huge)
        refused = (await kube.until_phase("huge", "Failed"))["status"]
        assert refused["reason"] == "UnexpectedAdmissionError"
        assert refused["message"].endswith("no set of running pods found to reclaim resources: [(res: cpu, q: 1000), ]")
        both = kube.pod("both", gpus=1, requests={"cpu": "1200m"}, priorityClassName="system-node-critical")
        await kube.api.create(kube.pods, both)
        refused = (await kube.until_phase("both", "Failed"))["status"]
        assert refused["reason"] == "UnexpectedAdmissionError"
        assert "requested number of devices unavailable for vendor.com/gpu" in refused["message"]
        await kube.api.create(kube.pods, critical)
        await kube.until_phase("critical", "Running")
        large = (await kube.until_phase("large", "Failed"))["status"]
        assert (large["reason"], large["message"]) == ("Preempting", "Preempted in order to admit critical pod")
        (target,) = [one for one in large["conditions"] if one["type"] == "DisruptionTarget"]
        assert (target["status"], target["reason"]) == ("True", "TerminationByKubelet")
        assert (await kube.until_event("large", "Preempting"))["type"] == "Warning"
        assert (await kube.api.get(f"{kube.pods}/small"))["status"]["phase"] == "Running"
        assert joined.available() == 1


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


@pytest.mark.parametrize(
    ("annotations", "exit_code"),
    [({}, 0), ({"devicemgr.dev/terminate-after": "1h"}, 137), ({"devicemgr.dev/complete-after": "1h"}, 0)],
)
async def test_a_pod_that_is_past_its_deadline_has_failed(kube, join, annotations, exit_code):
    async with join(devices=1) as joined:
        await kube.create_pod(
            "one", gpus=1, annotations=annotations, activeDeadlineSeconds=1, terminationGracePeriodSeconds=1
        )
        status = (await kube.until_phase("one", "Failed"))["status"]
        text = "Pod was active on the node longer than the specified deadline"
        assert (status["reason"], status["message"]) == ("DeadlineExceeded", text)
        assert status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == exit_code
        event = await kube.until_event("one", "DeadlineExceeded")
        assert (event["message"], event["type"]) == (text, "Normal")
        assert joined.available() == 1


async def test_a_deadline_that_is_set_while_the_pod_runs(kube, join):
    async with join():
        await kube.create_pod("one", activeDeadlineSeconds=3600)
        await kube.until_phase("one", "Running")
        await kube.api.patch(f"{kube.pods}/one", {"spec": {"activeDeadlineSeconds": 1}})
        assert (await kube.until_phase("one", "Failed"))["status"]["reason"] == "DeadlineExceeded"


async def test_a_deadline_that_has_passed_while_no_agent_was_here(kube, join):
    async with join():
        await kube.create_pod("one", activeDeadlineSeconds=3600)
        await kube.create_pod("complete", activeDeadlineSeconds=60, annotations={"devicemgr.dev/complete-after": "50s"})
        await kube.create_pod("stays", activeDeadlineSeconds=7200)
        for name in ("one", "complete", "stays"):
            await kube.until_phase(name, "Running")
    async with join(clock=lambda: time.time() + 5000):
        assert (await kube.until_phase("one", "Failed"))["status"]["reason"] == "DeadlineExceeded"
        await kube.until_phase("complete", "Succeeded")
        await kube.until_phase("stays", "Running")


async def test_an_ephemeral_container_has_a_status_and_no_devices(kube, join):
    """As ``kubectl debug`` adds one."""
    async with join(devices=1):
        await kube.create_pod("one", gpus=1)
        await kube.until_phase("one", "Running")
        debugger = {"name": "debugger", "image": "image"}
        await kube.api.patch(
            f"{kube.pods}/one/ephemeralcontainers", {"spec": {"ephemeralContainers": [debugger]}}, strategic=True
        )
        pod = await kube.until(f"{kube.pods}/one", lambda pod: pod["status"].get("ephemeralContainerStatuses"))
        (status,) = pod["status"]["ephemeralContainerStatuses"]
        assert "running" in status["state"]
        assert not status["ready"]
        assert "allocatedResourcesStatus" not in status
        assert conditions(pod)["Ready"] == "True"
        await kube.api.delete(f"{kube.pods}/one")
        await kube.until_gone("one")


async def test_a_wrong_annotation_is_an_event(kube, join):
    async with join():
        await kube.create_pod("one", gpus=1, annotations={"devicemgr.dev/complete-after": "soon"})
        await kube.until_phase("one", "Running")
        event = await kube.until_event("one", "FailedValidation")
        assert "annotation devicemgr.dev/complete-after: 'soon' is not a duration" in event["message"]


async def test_an_annotation_that_becomes_wrong_is_an_event_once(kube, join):
    async with join():
        await kube.create_pod("one", gpus=1, annotations={"devicemgr.dev/complete-after": "2h"})
        await kube.until_phase("one", "Running")
        for value in ("later", "5s"):
            await kube.api.patch(
                f"{kube.pods}/one",
                {"metadata": {"annotations": {"devicemgr.dev/terminate-after": value, "example.com/other": value}}},
            )
            event = await kube.until_event("one", "FailedValidation")
            assert "annotation devicemgr.dev/terminate-after: 'later' is not a duration" in event["message"]
        await kube.api.patch(
            f"{kube.pods}/one", {"metadata": {"annotations": {"devicemgr.dev/complete-after": "0.1s"}}}
        )
        await kube.until_phase("one", "Succeeded")
        assert [event["reason"] for event in await kube.events("one")] == ["FailedValidation"]


EVICTED = {"phase": "Failed", "reason": "Evicted", "message": "for a test"}


def ended_as_told(pod: dict) -> None:
    status = pod["status"]
    assert {key: status[key] for key in EVICTED} == EVICTED
    assert conditions(pod)["Ready"] == "False"


async def test_a_pod_whose_end_somebody_else_declares(kube, join):
    """As those do that remove pods of a lost node. Its containers have their time to end; then its device is free."""
    async with join(devices=1) as joined:
        await kube.create_pod("one", gpus=1, annotations={"devicemgr.dev/terminate-after": "1s"})
        await kube.until_phase("one", "Running")
        await kube.api.patch(f"{kube.pods}/one/status", {"status": EVICTED})
        await kube.create_pod("two", gpus=1)
        await kube.until_phase("two", "Running")
        one = await kube.api.get(f"{kube.pods}/one")
        ended_as_told(one)
        (main,) = one["status"]["containerStatuses"]
        assert (main["state"]["terminated"]["exitCode"], main["ready"]) == (0, False)
        assert not joined.seen("PodRefused")
        await kube.api.delete(f"{kube.pods}/one")
        await kube.until_gone("one")
        assert joined.available() == 0


async def test_who_needs_nothing_of_a_pod_that_takes_its_time_to_end_does_not_wait_for_it(kube, join):
    async with join(devices=1):
        slow = {"devicemgr.dev/terminate-after": "1h"}
        await kube.create_pod("one", gpus=1, annotations=slow, terminationGracePeriodSeconds=3600)
        await kube.until_phase("one", "Running")
        await kube.api.patch(f"{kube.pods}/one/status", {"status": EVICTED})
        await kube.create_pod("two")
        await kube.until_phase("two", "Running")
        assert "running" in (await kube.api.get(f"{kube.pods}/one"))["status"]["containerStatuses"][0]["state"]
        await kube.api.delete(f"{kube.pods}/one", grace=0)


async def test_nor_does_a_pod_that_runs_when_the_agent_starts_again(kube, join):
    async with join(devices=2):
        slow = {"devicemgr.dev/terminate-after": "1h"}
        await kube.create_pod("one", gpus=1, annotations=slow, terminationGracePeriodSeconds=3600)
        await kube.create_pod("two", gpus=1)
        await kube.until_phase("one", "Running")
        await kube.until_phase("two", "Running")
    await kube.api.patch(f"{kube.pods}/one/status", {"status": EVICTED})
    async with join(devices=2) as joined:
        with trio.fail_after(PATIENCE):
            await joined.manager.log.wait_until(lambda: bool(joined.seen("PodAdmitted")))
        assert joined.available() == 0
        await kube.api.delete(f"{kube.pods}/one", grace=0)


async def test_a_pod_whose_end_somebody_else_has_declared_while_no_agent_was_here(kube, join):
    """The scheduler has given its device to another one."""
    async with join(devices=1):
        await kube.create_pod("one", gpus=1, annotations={"devicemgr.dev/terminate-after": "1s"})
        await kube.until_phase("one", "Running")
    await kube.api.patch(f"{kube.pods}/one/status", {"status": EVICTED})
    await kube.create_pod("two", gpus=1)
    async with join(devices=1) as joined:
        one = await kube.until(
            f"{kube.pods}/one", lambda pod: "terminated" in pod["status"]["containerStatuses"][0]["state"]
        )
        ended_as_told(one)
        await kube.until_phase("two", "Running")
        assert not joined.seen("PodRefused")


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


async def test_whoever_deletes_a_pod_again_may_give_it_less_time(kube, join):
    async with join() as joined:
        slow = {"devicemgr.dev/terminate-after": "2h"}
        await kube.create_pod("one", gpus=1, annotations=slow, finalizers=["example.com/seen"])
        await kube.until_phase("one", "Running")
        await kube.api.delete(f"{kube.pods}/one", grace=3600)
        await kube.until(f"{kube.pods}/one", lambda pod: pod["metadata"].get("deletionTimestamp"))
        assert joined.available() == 1
        await kube.api.delete(f"{kube.pods}/one", grace=1)
        pod = await kube.until_phase("one", "Failed")
        assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 137
        assert joined.available() == 2
        await kube.finalize("one")
        await kube.until_gone("one")


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


async def test_a_container_that_cannot_start_keeps_no_other_one_from_it(kube, join, monkeypatch):
    """However often there is other news of the pod, it is tried again."""
    monkeypatch.setattr("devicemgr.cluster.node.container_starts.RETRY_PERIOD", 1.0)
    async with join() as joined, open_nic(joined) as nic:
        tries = 0

        async def pre_start(ids):
            nonlocal tries
            tries += 1
            if tries < 3:
                raise RpcFailed("not yet")

        nic.on_pre_start = pre_start
        await kube.until_allocatable(1, NIC)
        pod = kube.pod("one")
        pod["spec"]["containers"] = [
            {"name": "first", "image": "i", "resources": {"limits": {NIC: "1"}}},
            {"name": "second", "image": "i", **LIMITS},
        ]
        await kube.api.create(kube.pods, pod)
        pod = await kube.until(f"{kube.pods}/one", lambda pod: pod["status"].get("containerStatuses"))
        first, second = pod["status"]["containerStatuses"]
        assert (pod["status"]["phase"], "waiting" in first["state"], "running" in second["state"]) == (
            "Pending",
            True,
            True,
        )
        assert conditions(pod)["Initialized"] == "True"
        assert conditions(pod)["Ready"] == conditions(pod)["ContainersReady"] == "False"
        while tries < 3:
            for each in (UNHEALTHY, HEALTHY):
                joined.plugin.set_devices([Device(id="dev-0", health=each), Device(id="dev-1", health=each)])
                await kube.until(
                    f"{kube.pods}/one",
                    lambda pod: each in health(pod["status"]["containerStatuses"][1]).values(),  # noqa: B023
                )
        await kube.until_phase("one", "Running")


async def test_a_pod_whose_container_has_never_started_has_failed_when_it_is_deleted(kube, join):
    """A Job takes one that has succeeded for done. It holds its pods back with a finalizer until it has seen that."""
    async with join() as joined, open_nic(joined) as nic:

        async def pre_start(ids):
            raise RpcFailed("never")

        nic.on_pre_start = pre_start
        await kube.until_allocatable(1, NIC)
        pod = kube.pod("one", finalizers=["example.com/seen"])
        pod["spec"]["containers"][0]["resources"] = {"limits": {NIC: "1"}}
        await kube.api.create(kube.pods, pod)
        await kube.until(f"{kube.pods}/one", lambda pod: pod["status"].get("containerStatuses"))
        await kube.api.delete(f"{kube.pods}/one")
        await kube.until_phase("one", "Failed")
        assert joined.manager.capacity()[NIC].available == 1
        await kube.finalize("one")
        await kube.until_gone("one")


async def test_a_pod_that_was_deleted_before_its_admission_has_failed(kube, join):
    await kube.create_pod("one", gpus=1, finalizers=["example.com/seen"])
    await kube.api.delete(f"{kube.pods}/one")
    async with join() as joined:
        await kube.until_phase("one", "Failed")
        await kube.finalize("one")
        await kube.until_gone("one")
        assert joined.seen("PodAdmitted") == []


async def test_a_pod_that_topology_refuses(kube, join):
    topology = Topology(policy=Policy.SINGLE_NUMA_NODE, numa=Numa(nodes=(0, 1)))
    async with join(topology=topology) as joined:
        joined.plugin.set_devices([Device(id="a", numa_nodes=(0,)), Device(id="b", numa_nodes=(1,))])
        await joined.manager.wait_for_resource(GPU, allocatable=2)
        await kube.create_pod("one", gpus=2)
        pod = await kube.until_phase("one", "Failed")
        text = "Resources cannot be allocated with Topology locality"
        assert (pod["status"]["reason"], pod["status"]["message"]) == (
            "TopologyAffinityError",
            f"Pod was rejected: {text}",
        )
        assert (await kube.until_event("one", "TopologyAffinityError"))["message"] == text
        assert joined.available() == 2


async def test_a_container_that_cannot_start_is_tried_again(kube, join, monkeypatch):
    monkeypatch.setattr("devicemgr.cluster.node.container_starts.RETRY_PERIOD", 0.2)
    async with join() as joined:
        may_start = trio.Event()

        async def pre_start(ids):
            if not may_start.is_set():
                raise RpcFailed("not yet")

        async with open_nic(joined) as plugin:
            plugin.on_pre_start = pre_start
            await kube.until_allocatable(1, NIC)
            pod = kube.pod("one")
            pod["spec"]["containers"][0]["resources"] = {"limits": {NIC: "1"}}
            await kube.api.create(kube.pods, pod)
            pod = await kube.until(f"{kube.pods}/one", lambda pod: pod["status"].get("containerStatuses"))
            waiting = pod["status"]["containerStatuses"][0]["state"]["waiting"]
            assert (pod["status"]["phase"], waiting["reason"]) == ("Pending", "CreateContainerConfigError")
            assert "PreStartContainer rpc failed" in waiting["message"]
            with trio.fail_after(PATIENCE):
                while (await kube.until_event("one", "Failed"))["count"] < 3:  # noqa: ASYNC110 - of another program
                    await trio.sleep(0.05)
            (event,) = [one for one in await kube.events("one") if one["reason"] == "Failed"]
            assert event["message"] == f"Error: {waiting['message']}"
            assert event["involvedObject"]["fieldPath"] == "spec.containers{main}"
            may_start.set()
            await kube.until_phase("one", "Running")
