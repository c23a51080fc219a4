"""The status of a pod in each of its states."""

from __future__ import annotations

import copy

import pytest

from devicemgr.cluster.objects.metadata import pod_path
from devicemgr.cluster.objects.pod import (
    COMPLETE_AFTER,
    TERMINATE_AFTER,
    complete_after,
    grace_period,
    order_of_admission,
    pod_of,
    terminate_after,
)
from devicemgr.cluster.objects.pod_status import (
    Place,
    Running,
    Unstarted,
    ended_status,
    is_shown,
    pod_address,
    refused_status,
    running_status,
)
from devicemgr.model import ContainerKind

AT, LATER = 1795688049.0, 1795688109.0
T1, T2 = "2026-11-26T10:14:09Z", "2026-11-26T10:15:09Z"
PLACE = Place(host_ip="10.0.0.1")


def pod(status: dict | None = None, annotations: dict | None = None, **spec: object) -> dict:
    return {
        "metadata": {
            "name": "one",
            "namespace": "default",
            "uid": "uid-1",
            "generation": 1,
            "creationTimestamp": T1,
            "annotations": annotations or {},
        },
        "spec": {
            "initContainers": [
                {"name": "init", "image": "i", "resources": {"limits": {"vendor.com/gpu": "1"}}},
                {"name": "side", "image": "i", "restartPolicy": "Always"},
            ],
            "containers": [
                {"name": "main", "image": "m", "resources": {"limits": {"vendor.com/gpu": "2", "cpu": "1"}}}
            ],
            **spec,
        },
        "status": status or {"phase": "Pending", "qosClass": "Burstable"},
    }


def by_name(status: dict) -> dict:
    return {one["name"]: one for key in ("initContainerStatuses", "containerStatuses") for one in status[key]}


def conditions(status: dict) -> dict:
    return {one["type"]: (one["status"], one["reason"], one["lastTransitionTime"]) for one in status["conditions"]}


def test_the_pod_in_the_words_of_the_manager():
    found = pod_of(pod())
    assert (found.full_name, found.uid) == ("default/one", "uid-1")
    assert [(c.name, c.kind, dict(c.limits)) for c in found.containers] == [
        ("init", ContainerKind.INIT, {"vendor.com/gpu": 1}),
        ("side", ContainerKind.SIDECAR, {}),
        ("main", ContainerKind.MAIN, {"vendor.com/gpu": 2}),
    ]


def test_an_admitted_pod_runs_with_all_its_statuses():
    health = {
        "main": {"vendor.com/gpu": {"gpu-0": "Healthy", "gpu-1": "OnFire"}},
        "init": {"vendor.com/gpu": {"gpu-0": "Unknown"}},
    }
    patch = running_status(pod(), Running(place=PLACE, health=health), time=AT)
    assert patch["metadata"] == {"uid": "uid-1"}
    status = patch["status"]
    assert (status["phase"], status["startTime"], status["observedGeneration"]) == ("Running", T1, 1)
    assert (status["hostIP"], status["hostIPs"]) == ("10.0.0.1", [{"ip": "10.0.0.1"}])
    assert status["podIP"] == pod_address("uid-1") == status["podIPs"][0]["ip"]
    assert "qosClass" not in status
    assert conditions(status) == dict.fromkeys(
        ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"], ("True", None, T1)
    )
    init, side, main = by_name(status).values()
    assert (init["state"]["terminated"]["exitCode"], init["ready"], init["started"]) == (0, True, False)
    assert (side["state"], side["ready"], side["started"]) == ({"running": {"startedAt": T1}}, True, True)
    assert (main["state"], main["restartCount"], main["image"]) == ({"running": {"startedAt": T1}}, 0, "m")
    assert main["containerID"].startswith("devicemgr://")
    assert len({one["containerID"] for one in (init, side, main)}) == 3
    assert main["allocatedResourcesStatus"] == [
        {
            "name": "vendor.com/gpu",
            "resources": [
                {"resourceID": "gpu-0", "health": "Healthy"},
                {"resourceID": "gpu-1", "health": "Unhealthy"},
            ],
        }
    ]
    assert init["allocatedResourcesStatus"][0]["resources"] == [{"resourceID": "gpu-0", "health": "Unknown"}]
    assert "allocatedResourcesStatus" not in side


def test_what_was_written_before_is_kept():
    first = running_status(pod(), Running(place=PLACE), time=AT)["status"]
    before = copy.deepcopy(first)
    before["containerStatuses"][0] |= {"restartCount": 3, "lastState": {"terminated": {"exitCode": 1}}}
    again = running_status(pod(before), Running(place=Place(host_ip="10.0.0.2")), time=LATER)["status"]
    assert again == before
    assert is_shown(before, again)


def test_a_pod_of_the_machines_network_has_its_address():
    status = running_status(pod(hostNetwork=True), Running(place=PLACE), time=AT)["status"]
    assert status["podIP"] == "10.0.0.1"


def test_a_readiness_gate_that_is_closed_keeps_the_pod_unready():
    gated = pod(readinessGates=[{"conditionType": "example.com/gate"}])
    ready = running_status(gated, Running(place=PLACE), time=AT)["status"]["conditions"][2]
    assert (ready["type"], ready["status"], ready["reason"]) == ("Ready", "False", "ReadinessGatesNotReady")
    assert ready["message"] == 'corresponding condition of pod readiness gate "example.com/gate" does not exist.'
    gated["status"]["conditions"] = [{"type": "example.com/gate", "status": "False"}]
    ready = running_status(gated, Running(place=PLACE), time=AT)["status"]["conditions"][2]
    assert ready["message"] == 'the status of pod readiness gate "example.com/gate" is not "True", but False'
    gated["status"]["conditions"] = [
        {"type": "example.com/gate", "status": "True"},
        {**ready, "lastTransitionTime": T1},
    ]
    ready = running_status(gated, Running(place=PLACE), time=LATER)["status"]["conditions"][2]
    assert (ready["status"], ready["message"], ready["lastTransitionTime"]) == ("True", None, T2)


def test_a_container_that_cannot_start_keeps_the_pod_pending():
    unstarted = Unstarted(names=frozenset({"side", "main"}), failed="side", message="no")
    status = running_status(pod(), Running(place=PLACE, unstarted=unstarted), time=AT)["status"]
    init, side, main = by_name(status).values()
    assert status["phase"] == "Pending"
    assert "terminated" in init["state"]
    assert side["state"] == {"waiting": {"reason": "CreateContainerConfigError", "message": "no"}}
    assert main["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert "containerID" not in main
    assert conditions(status)["Initialized"][:2] == ("False", "ContainersNotInitialized")
    assert conditions(status)["Ready"][:2] == ("False", "ContainersNotReady")
    running = running_status(pod(status), Running(place=PLACE), time=LATER)["status"]
    assert running["phase"] == "Running"
    assert by_name(running)["main"]["state"] == {"running": {"startedAt": T2}}


def test_a_refused_pod_has_failed():
    patch = refused_status(pod(), reason="OutOfcpu", message="Pod was rejected: no", time=AT)
    assert patch == {
        "metadata": {"uid": "uid-1"},
        "status": {
            "phase": "Failed",
            "reason": "OutOfcpu",
            "message": "Pod was rejected: no",
            "startTime": T1,
            "observedGeneration": 1,
        },
    }


@pytest.mark.parametrize(("code", "phase", "reason"), [(0, "Succeeded", "PodCompleted"), (137, "Failed", "PodFailed")])
def test_a_pod_that_has_ended(code, phase, reason):
    before = running_status(pod(), Running(place=PLACE), time=AT)["status"]
    status = ended_status(pod(before), Running(place=PLACE), exit_code=code, time=LATER)["status"]
    assert (status["phase"], status["startTime"]) == (phase, T1)
    init, side, main = by_name(status).values()
    assert init == by_name(before)["init"]
    for one in (side, main):
        ended = one["state"]["terminated"]
        assert (ended["startedAt"], ended["finishedAt"], ended["exitCode"]) == (T1, T2, code)
        assert (one["ready"], one["started"]) == (False, False)
    assert conditions(status)["Ready"] == ("False", reason, T2)
    assert conditions(status)["PodScheduled"] == ("True", None, T1)


def test_what_the_api_server_adds_or_leaves_out_is_no_difference():
    assert is_shown({"a": 1, "b": 2}, {"a": 1, "c": None, "d": {}, "e": []})
    assert is_shown({"conditions": [{"type": "B"}, {"type": "A", "x": 1}]}, {"conditions": [{"type": "A"}]})
    assert not is_shown({"conditions": [{"type": "B"}]}, {"conditions": [{"type": "A", "status": "True"}]})
    assert not is_shown({"list": [{"name": "a"}, {"name": "b"}]}, {"list": [{"name": "a"}]})
    assert not is_shown({"a": 1}, {"a": 2})


def test_annotations_and_grace():
    assert complete_after(pod()) is None
    assert complete_after(pod(annotations={COMPLETE_AFTER: "1m5s"})) == 65
    with pytest.raises(ValueError, match=f"annotation {COMPLETE_AFTER}: '5 seconds' is not a duration"):
        complete_after(pod(annotations={COMPLETE_AFTER: "5 seconds"}))
    assert terminate_after(pod()) == 0
    assert terminate_after(pod(annotations={TERMINATE_AFTER: "2s"})) == 2
    assert grace_period(pod()) == 30
    asked = pod(terminationGracePeriodSeconds=60)
    assert grace_period(asked) == 60
    asked["metadata"]["deletionGracePeriodSeconds"] = 0
    assert grace_period(asked) == 0


def test_those_that_run_come_first_and_then_the_oldest():
    pods = [pod() for _ in range(4)]
    for number, one in enumerate(pods):
        one["metadata"] |= {"name": f"pod-{number}", "creationTimestamp": (T2, T1, T2, T1)[number]}
    pods[2]["status"]["phase"] = "Running"
    assert [one["metadata"]["name"] for one in sorted(pods, key=order_of_admission)] == [
        "pod-2",
        "pod-1",
        "pod-3",
        "pod-0",
    ]
    assert pod_path(pods[0]) == "/api/v1/namespaces/default/pods/pod-0"
