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
    PAST_DEADLINE,
    PREEMPTED,
    Place,
    Running,
    Unstarted,
    abandoned_status,
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


def test_a_pod_whose_containers_may_all_start_again_says_that_they_do_not():
    rule = {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [1]}}
    one = pod(containers=[{"name": "main", "image": "i", "restartPolicyRules": [rule]}])
    running, unstarted = Running(place=PLACE), Unstarted(problems={"main": "no"})
    for status, reason in (
        (running_status(one, running, time=AT), None),
        (running_status(one, Running(place=PLACE, unstarted=unstarted), time=AT), None),
        (ended_status(one, running, exit_code=0, time=AT), "PodCompleted"),
        (ended_status(one, running, exit_code=137, time=AT), "PodFailed"),
    ):
        assert conditions(status["status"])["AllContainersRestarting"] == ("False", reason, T1)
    assert "AllContainersRestarting" not in conditions(running_status(pod(), running, time=AT)["status"])


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
    unstarted = Unstarted(problems={"side": "no", "main": ""})
    status = running_status(pod(), Running(place=PLACE, unstarted=unstarted), time=AT)["status"]
    init, side, main = by_name(status).values()
    assert status["phase"] == "Pending"
    assert "terminated" in init["state"]
    assert side["state"] == {"waiting": {"reason": "CreateContainerConfigError", "message": "no"}}
    assert main["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert not main.keys() & {"containerID", "resources"}
    assert conditions(status)["Initialized"][:2] == ("False", "ContainersNotInitialized")
    assert conditions(status)["Ready"][:2] == ("False", "ContainersNotReady")
    (ready,) = [one for one in status["conditions"] if one["type"] == "Ready"]
    assert ready["message"] == "containers with unready status: [side main]"
    running = running_status(pod(status), Running(place=PLACE), time=LATER)["status"]
    assert running["phase"] == "Running"
    assert by_name(running)["main"]["state"] == {"running": {"startedAt": T2}}


def test_whatever_else_runs_a_pod_is_pending_until_all_have_started():
    two = pod(initContainers=[], containers=[{"name": "first", "image": "i"}, {"name": "second", "image": "i"}])
    unstarted = Unstarted(problems={"first": "no"})
    status = running_status(two, Running(place=PLACE, unstarted=unstarted), time=AT)["status"]
    first, second = status["containerStatuses"]
    assert (status["phase"], first["ready"], second["ready"]) == ("Pending", False, True)
    assert "running" in second["state"]
    assert conditions(status)["Initialized"][:2] == ("True", None)
    ended = ended_status(two, Running(place=PLACE, unstarted=unstarted), exit_code=0, time=LATER)["status"]
    assert ended["phase"] == "Failed"
    assert "terminated" in ended["containerStatuses"][1]["state"]


LOST = {
    "exitCode": 137,
    "reason": "ContainerStatusUnknown",
    "message": "The container could not be located when the pod was terminated",
}
INIT = [{"name": "first", "image": "i"}, {"name": "side", "image": "i", "restartPolicy": "Always"}]


@pytest.mark.parametrize(
    ("init", "unstarted", "lost", "waiting", "incomplete"),
    [
        ([], ["main"], ["main"], [], ""),
        (INIT, ["main"], ["main"], [], ""),
        (INIT, ["first", "side", "main"], ["first"], ["side", "main"], "first side"),
        (INIT, ["side", "main"], [], ["side", "main"], "side"),
    ],
)
def test_a_container_that_has_never_started_has_failed_if_it_was_its_turn(init, unstarted, lost, waiting, incomplete):
    one = pod(initContainers=init)
    running = Running(place=PLACE, unstarted=Unstarted(problems=dict.fromkeys(unstarted, "no")))
    status = ended_status(one, running, exit_code=0, time=LATER)["status"]
    assert status["phase"] == "Failed"
    states = {
        state["name"]: state["state"]
        for key in ("initContainerStatuses", "containerStatuses")
        for state in status.get(key, [])
    }
    assert [name for name, state in states.items() if state == {"terminated": LOST}] == lost
    assert [name for name, state in states.items() if state == {"waiting": {"reason": "PodInitializing"}}] == waiting
    messages = {one["type"]: one["message"] for one in status["conditions"]}
    assert messages["Initialized"] == (f"containers with incomplete status: [{incomplete}]" if incomplete else None)
    assert messages["Ready"] == f"containers with unready status: [{'side main' if init else 'main'}]"
    assert conditions(status)["PodReadyToStartContainers"][:2] == ("False", "PodSandboxNotReady")
    late = ended_status(one, running, exit_code=0, early=PAST_DEADLINE, time=LATER)["status"]
    assert conditions(late)["Ready"][:2] == ("False", "PodFailed")


def test_a_container_without_limits_of_its_own_has_those_of_its_pod():
    containers = [
        {"name": "a", "image": "i", "resources": {"limits": {"vendor.com/gpu": "1", "cpu": "1"}}},
        {"name": "b", "image": "i"},
    ]
    one = pod(initContainers=[], containers=containers, resources={"limits": {"cpu": "2", "memory": "1Mi"}})
    a, b = running_status(one, Running(place=PLACE), time=AT)["status"]["containerStatuses"]
    assert a["resources"] == {"limits": {"vendor.com/gpu": "1", "cpu": "1", "memory": "1Mi"}}
    assert b["resources"] == {"limits": {"cpu": "2", "memory": "1Mi"}}


def test_containers_are_listed_by_name_and_init_containers_in_their_order():
    names = [{"name": name, "image": "i"} for name in ("b", "a")]
    one = pod(initContainers=names, containers=names, ephemeralContainers=names)
    status = running_status(one, Running(place=PLACE), time=AT)["status"]
    listed = {key: [one["name"] for one in found] for key, found in status.items() if key.endswith("Statuses")}
    assert listed == {
        "initContainerStatuses": ["b", "a"],
        "containerStatuses": ["a", "b"],
        "ephemeralContainerStatuses": ["a", "b"],
    }


def test_a_container_has_its_volumes():
    mounts = [{"name": "v", "mountPath": "/v"}, {"name": "r", "mountPath": "/r", "readOnly": True, "subPath": "x"}]
    one = pod(initContainers=[], containers=[{"name": "main", "image": "i", "volumeMounts": mounts}])
    (main,) = running_status(one, Running(place=PLACE), time=AT)["status"]["containerStatuses"]
    assert main["volumeMounts"] == [
        {"name": "v", "mountPath": "/v"},
        {"name": "r", "mountPath": "/r", "readOnly": True, "recursiveReadOnly": "Disabled"},
    ]


def test_a_pod_that_was_deleted_before_its_admission_has_failed():
    status = abandoned_status(pod(initContainers=[]), PLACE, time=AT)["status"]
    assert (status["phase"], status["startTime"], status["hostIP"]) == ("Failed", T1, "10.0.0.1")
    assert "podIP" not in status
    assert [one["state"] for one in status["containerStatuses"]] == [{"terminated": LOST}]
    assert status["conditions"][0]["message"] == "no pod sandbox exists"
    status = abandoned_status(pod(), PLACE, time=AT)["status"]
    init, side, main = (one["state"] for one in by_name(status).values())
    assert (init, side, main) == (
        {"terminated": LOST},
        {"waiting": {"reason": "PodInitializing"}},
        {"waiting": {"reason": "PodInitializing"}},
    )


def test_a_container_has_the_resources_that_it_asks_for():
    requests = {"cpu": "1", "vendor.com/gpu": "2"}
    asks = pod(containers=[{"name": "main", "image": "i", "resources": {"requests": requests, "limits": requests}}])
    status = running_status(asks, Running(place=PLACE), time=AT)["status"]
    main = by_name(status)["main"]
    assert (main["resources"], main["allocatedResources"]) == ({"requests": requests, "limits": requests}, requests)


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


def test_of_a_refused_pod_nothing_else_is_said():
    ran = running_status(pod(), Running(place=PLACE), time=AT)["status"]
    theirs = {"type": "example.com/theirs", "status": "True"}
    ran["conditions"] = [theirs, *ran["conditions"]]
    status = refused_status(pod({**ran, "qosClass": "Burstable"}), reason="NodeAffinity", message="no", time=LATER)[
        "status"
    ]
    assert status.pop("conditions") == [
        {"type": kind, "$patch": "delete"}
        for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    ]
    assert {key for key, value in status.items() if value is None} == {
        *("hostIP", "hostIPs", "podIP", "podIPs", "containerStatuses", "initContainerStatuses")
    }
    assert (status["phase"], status["startTime"]) == ("Failed", T1)


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
    assert conditions(status)["PodReadyToStartContainers"] == ("False", "PodSandboxNotReady", T2)
    assert conditions(status)["PodScheduled"] == ("True", None, T1)


def test_a_pod_that_is_past_its_deadline_has_failed_however_its_containers_end():
    before = running_status(pod(), Running(place=PLACE), time=AT)["status"]
    status = ended_status(pod(before), Running(place=PLACE), exit_code=0, early=PAST_DEADLINE, time=LATER)["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded")
    assert status["message"] == "Pod was active on the node longer than the specified deadline"
    assert by_name(status)["main"]["state"]["terminated"]["exitCode"] == 0
    assert conditions(status)["Ready"] == ("False", "PodFailed", T2)


def test_a_pod_that_made_room_for_a_critical_one_says_so():
    status = ended_status(pod(), Running(place=PLACE), exit_code=0, early=PREEMPTED, time=AT)["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "Preempting")
    assert status["message"] == "Preempted in order to admit critical pod"
    assert conditions(status)["DisruptionTarget"] == ("True", "TerminationByKubelet", T1)


def test_ephemeral_containers_have_a_status_and_no_devices():
    one = pod(ephemeralContainers=[{"name": "debugger", "image": "d"}])
    running = Running(place=PLACE, health={"main": {"vendor.com/gpu": {"dev-0": "Healthy"}}})
    status = running_status(one, running, time=AT)["status"]
    (debugger,) = status["ephemeralContainerStatuses"]
    assert debugger["state"] == {"running": {"startedAt": T1}}
    assert debugger["ready"] is False
    assert not {"started", "allocatedResourcesStatus"} & debugger.keys()
    assert conditions(status)["Ready"][0] == "True"
    one["status"] = status
    assert running_status(one, running, time=LATER)["status"]["ephemeralContainerStatuses"] == [debugger]
    (ended,) = ended_status(one, running, exit_code=137, time=LATER)["status"]["ephemeralContainerStatuses"]
    assert ended["state"]["terminated"]["exitCode"] == 137
    assert ended["ready"] is False


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
