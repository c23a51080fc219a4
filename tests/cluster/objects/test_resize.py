"""What a pod asks for, what it was given, and what is said of the difference."""

from __future__ import annotations

import json

import pytest

from devicemgr.cluster.objects.pod_status import Place, Running, ended_status, running_status
from devicemgr.cluster.objects.resize import as_given, asked, deferred_generation, given, resize_message, resize_rank

AT, LATER = 1795688049.0, 1795688109.0
T1 = "2026-11-26T10:14:09Z"
PLACE = Place(host_ip="10.0.0.1")
SMALL, LARGE = {"requests": {"cpu": "1"}}, {"requests": {"memory": "1Gi", "cpu": "2"}, "limits": {"cpu": "2"}}


def pod(main: dict, status: dict | None = None, **spec: object) -> dict:
    return {
        "metadata": {"name": "one", "namespace": "default", "uid": "uid-1", "generation": 2},
        "spec": {"containers": [{"name": "main", "image": "i", "resources": main}], **spec},
        "status": {"phase": "Running", **(status or {})},
    }


def said(**resources: dict) -> dict:
    return {"containerStatuses": [{"name": name, "resources": found} for name, found in resources.items()]}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (pod(SMALL), SMALL),
        (pod(LARGE, said(main=SMALL)), SMALL),
        (pod(LARGE, said(other=SMALL)), LARGE),
        (pod(LARGE, {"containerStatuses": [{"name": "main"}]}), LARGE),
        (
            pod(LARGE, {"containerStatuses": [{"name": "main", "resources": {}, "allocatedResources": {"cpu": "1"}}]}),
            SMALL,
        ),
    ],
)
def test_what_a_pod_was_given_is_in_its_status(found, expected):
    assert given(found)["main"] == expected
    assert as_given(found, given(found))["spec"]["containers"][0]["resources"] == expected
    assert asked(found)["main"] == found["spec"]["containers"][0]["resources"]


def test_what_a_pod_was_given_as_a_whole():
    found = pod({}, {"resources": SMALL}, resources=LARGE, initContainers=[{"name": "init"}])
    assert given(found) == {"": SMALL, "init": {}, "main": {}}
    assert as_given(found, given(found))["spec"]["resources"] == SMALL
    assert found["spec"]["resources"] == LARGE
    assert as_given(found, asked(found)) is found
    status = running_status(found, Running(place=PLACE, resources=given(found)), time=AT)["status"]
    assert (status["resources"], status["allocatedResources"]) == (SMALL, SMALL["requests"])
    without = pod(SMALL, {"resources": LARGE})
    assert given(without) == {"": {}, "main": SMALL}
    assert "resources" not in running_status(without, Running(place=PLACE), time=AT)["status"]


def test_the_status_says_what_was_given_until_there_is_room():
    found = pod(LARGE, said(main=SMALL))
    running = Running(place=PLACE, resources=given(found), resize_problem="no")
    status = running_status(found, running, time=AT)["status"]
    assert status["containerStatuses"][0]["resources"] == SMALL
    assert status["conditions"][-1] == {
        "type": "PodResizePending",
        "status": "True",
        "reason": "Deferred",
        "message": "no",
        "lastTransitionTime": T1,
        "observedGeneration": 2,
    }
    found["status"] |= {"conditions": status["conditions"]}
    assert deferred_generation(found) == 2
    later = running_status(found, running, time=LATER)["status"]["conditions"][-1]
    assert later["lastTransitionTime"] == T1
    removed = {"type": "PodResizePending", "$patch": "delete"}
    has_room = Running(place=PLACE, resources=asked(found))
    for status in (
        running_status(found, has_room, time=LATER)["status"],
        ended_status(found, running, exit_code=0, time=LATER)["status"],
    ):
        assert status["conditions"][-1] == removed


def test_an_event_says_what_is_asked_for():
    found = pod(LARGE, initContainers=[{"name": "init"}])
    assert resize_message("started", found) == (
        'Pod resize started: {"initContainers":[{"name":"init","resources":{}}],'
        '"containers":[{"name":"main","resources":{"limits":{"cpu":"2"},"requests":{"cpu":"2","memory":"1Gi"}}}],'
        '"generation":2}'
    )
    text = resize_message("Deferred", pod({}), "no")
    assert json.loads(text.removeprefix("Pod resize Deferred: "))["error"] == "no"


def test_which_of_several_resizes_comes_first():
    def waiting(name: str, since: str = T1, priority: int | None = None, qos: str = "Burstable") -> dict:
        condition = {"type": "PodResizePending", "lastTransitionTime": since}
        found = pod({}, {"qosClass": qos, "conditions": [condition]}, priority=priority)
        found["metadata"]["name"] = name
        return found

    pods = [
        waiting("youngest", "2026-11-26T10:15:09Z"),
        waiting("oldest"),
        waiting("guaranteed", "2026-11-26T10:15:09Z", qos="Guaranteed"),
        waiting("important", "2026-11-26T10:15:09Z", priority=1),
    ]
    order = [one["metadata"]["name"] for one in sorted(pods, key=resize_rank)]
    assert order == ["important", "guaranteed", "oldest", "youngest"]
