"""Node, Lease and Event, as a kubelet writes them."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import pytest

from devicemgr.cluster.objects.event import Remark, events_path, new_event, repeated
from devicemgr.cluster.objects.lease import duration_of, holder_of, new_lease, renewal_of, renewed
from devicemgr.cluster.objects.node import (
    NodeDescription,
    extended_resources,
    is_published,
    metadata_patch,
    new_node,
    status_patch,
    stopped_patch,
)
from devicemgr.cluster.objects.node_info import Machine, node_info
from devicemgr.model import NodeStatus

AT, LATER = 1795688049.0, 1795688109.0
T1, T2 = "2026-11-26T10:14:09Z", "2026-11-26T10:15:09Z"
INFO = node_info(Machine(architecture="amd64", kernel_version="6.1"), kubelet_version="1.37.2", version="0.1.0")
NODE = NodeDescription(
    name="node-1", info=INFO, labels={"zone": "b"}, capacity={"cpu": "2"}, declared_features=("A", "B")
)
NOTHING = NodeStatus(capacity={}, allocatable={})
DEVICES = NodeStatus(capacity={"vendor.com/gpu": 4}, allocatable={"vendor.com/gpu": 3})


def test_a_new_node():
    node = new_node(NODE, DEVICES, time=AT)
    assert node["metadata"]["labels"] == {
        "kubernetes.io/hostname": "node-1",
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": "amd64",
        "devicemgr.dev/simulated": "true",
        "zone": "b",
    }
    assert node["spec"]["taints"] == [{"key": "devicemgr.dev/simulated", "value": "true", "effect": "NoSchedule"}]
    native = {"cpu": "2", "memory": "64Gi", "ephemeral-storage": "100Gi", "pods": "110"}
    assert node["status"]["capacity"] == {**native, "vendor.com/gpu": "4"}
    assert node["status"]["allocatable"] == {**native, "vendor.com/gpu": "3"}
    ready = node["status"]["conditions"][-1]
    assert (ready["type"], ready["status"], ready["reason"]) == ("Ready", "True", "KubeletReady")
    assert {one["type"] for one in node["status"]["conditions"]} > {"MemoryPressure", "DiskPressure", "PIDPressure"}
    assert node["status"]["nodeInfo"]["kubeletVersion"] == "v1.37.2-devicemgr"
    assert node["status"]["nodeInfo"]["kernelVersion"] == "6.1"
    assert node["status"]["declaredFeatures"] == ["A", "B"]
    assert node["status"]["features"] == {"supplementalGroupsPolicy": True}
    assert new_node(NodeDescription(name="n", tainted=False), DEVICES, time=AT)["spec"] == {}


@pytest.mark.parametrize(
    ("capacity", "problem"),
    [
        ({"vendor.com/gpu": "2"}, "vendor.com/gpu=2: an extended resource is provided by a device plug-in"),
        ({"cpu": "many"}, "cpu=many: 'many' is not a quantity"),
        ({"cpu": "-1"}, "cpu=-1: must not be negative"),
    ],
)
def test_a_capacity_that_cannot_be(capacity, problem):
    with pytest.raises(ValueError, match=problem):
        NodeDescription(name="n", capacity=capacity)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("zone", "b", None),
        ("zone", "", None),
        ("vendor.com/Zone_1.a", "x" * 63, None),
        (f"{'a.' * 126}a/zone", "b", None),
        ("zone", "x" * 64, "is not 1 to 63 letters"),
        ("zone", "-b", "'-b' is not 1 to 63 letters"),
        ("zöne", "b", "'zöne' is not 1 to 63 letters"),
        ("Vendor.com/zone", "b", "'Vendor.com' is not a lower-case DNS subdomain of at most 253 bytes"),
        (f"{'a.' * 127}a/zone", "b", "is not a lower-case DNS subdomain"),
        ("a/b/c", "b", "'a/b' is not a lower-case DNS subdomain"),
        ("/zone", "b", "'' is not a lower-case DNS subdomain"),
        ("vendor.com/", "b", "'' is not 1 to 63 letters"),
    ],
)
def test_labels_are_those_that_an_api_server_takes(key, value, problem):
    with nullcontext() if problem is None else pytest.raises(ValueError, match=f"{key}={value}: .*{problem}"):
        NodeDescription(name="n", labels={key: value})


def test_of_a_node_that_was_there_only_labels_and_an_annotation_are_changed():
    found = new_node(NODE, NOTHING, time=AT)
    assert metadata_patch(found, NODE) is None
    found["metadata"]["labels"] = {"zone": "a", "kubernetes.io/hostname": "node-1", "somebody": "else"}
    found["spec"] = {}
    labels = {k: v for k, v in NODE.all_labels.items() if k != "kubernetes.io/hostname"}
    assert metadata_patch(found, NODE) == {"metadata": {"labels": labels}}
    del found["metadata"]["annotations"]
    annotations = {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}
    assert metadata_patch(found, NODE) == {"metadata": {"labels": labels, "annotations": annotations}}


def node_with(capacity: dict, allocatable: dict) -> dict:
    found = new_node(NODE, NOTHING, time=AT)
    found["status"]["capacity"] |= capacity
    found["status"]["allocatable"] |= allocatable
    return found


def test_only_what_differs_of_extended_resources_is_sent():
    found = node_with(
        {"vendor.com/gpu": "4", "other.com/theirs": "7"}, {"vendor.com/gpu": "4", "other.com/theirs": "7"}
    )
    assert extended_resources(found).capacity == {"vendor.com/gpu": 4, "other.com/theirs": 7}
    wanted = NodeStatus(
        capacity={"vendor.com/gpu": 4, "other.com/theirs": 7}, allocatable={"vendor.com/gpu": 3, "other.com/theirs": 7}
    )
    patch = status_patch(found, NODE, wanted, time=LATER)
    assert "vendor.com/gpu" not in patch["status"]["capacity"]
    assert patch["status"]["allocatable"]["vendor.com/gpu"] == "3"
    assert "other.com/theirs" not in {**patch["status"]["capacity"], **patch["status"]["allocatable"]}
    assert not is_published(found, patch)


def test_an_allocatable_that_has_no_capacity_is_removed():
    found = node_with({}, {"vendor.com/gone": "4"})
    patch = status_patch(found, NODE, NOTHING, time=LATER)
    assert patch["status"]["allocatable"]["vendor.com/gone"] is None


def test_heartbeats_are_no_news():
    found = new_node(NODE, NOTHING, time=AT)
    patch = status_patch(found, NODE, NOTHING, time=LATER)
    assert is_published(found, patch)
    heartbeats = {(one["lastHeartbeatTime"], one["lastTransitionTime"]) for one in patch["status"]["conditions"]}
    assert heartbeats == {(T2, T1)}
    found["status"]["capacity"]["memory"] = "65536Mi"
    assert is_published(found, patch)
    for key, value in (
        ("nodeInfo", {}),
        ("addresses", []),
        ("conditions", []),
        ("features", {}),
        ("declaredFeatures", ["A"]),
    ):
        changed = copy.deepcopy(found)
        changed["status"][key] = value
        assert not is_published(changed, patch), key


def test_a_node_that_has_stopped_is_not_ready():
    found = new_node(NODE, NOTHING, time=AT)
    ready = stopped_patch(found, time=LATER)["status"]["conditions"][-1]
    assert (ready["status"], ready["reason"], ready["lastTransitionTime"]) == ("False", "KubeletNotReady", T2)


def test_a_lease():
    lease = new_lease("node-1", "me", time=AT, node_uid="uid-1")
    assert lease["spec"] == {
        "holderIdentity": "me",
        "leaseDurationSeconds": 40,
        "renewTime": "2026-11-26T10:14:09.000000Z",
    }
    assert lease["metadata"]["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": "uid-1"}
    ]
    lease["metadata"]["resourceVersion"] = "7"
    again = renewed(lease, "you", time=LATER, node_uid=None)
    assert (holder_of(again), renewal_of(again), duration_of(again)) == ("you", "2026-11-26T10:15:09.000000Z", 40)
    assert again["metadata"] == lease["metadata"]
    assert renewed(lease, "you", time=LATER, node_uid="uid-2")["metadata"]["ownerReferences"][0]["uid"] == "uid-2"
    assert "ownerReferences" not in new_lease("node-1", "me", time=AT, node_uid=None)["metadata"]
    assert holder_of({"metadata": {}, "spec": {}}) == renewal_of({"metadata": {}}) == ""


def test_an_event_and_its_repetition():
    pod = {"metadata": {"namespace": "ns", "name": "one", "uid": "uid-1"}}
    remark = Remark.about(pod, "OutOfcpu", "no" * 1000)
    event = new_event(remark, node="node-1", time=AT, suffix="17")
    assert event["metadata"] == {"name": "one.17", "namespace": "ns"}
    assert event["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "Pod",
        "namespace": "ns",
        "name": "one",
        "uid": "uid-1",
    }
    assert (event["reason"], event["type"], event["count"]) == ("OutOfcpu", "Warning", 1)
    assert len(event["message"]) == 1024
    assert (event["firstTimestamp"], event["source"]["host"]) == (T1, "node-1")
    assert repeated(event, time=LATER) == {"count": 2, "lastTimestamp": T2}
    assert events_path(remark) == "/api/v1/namespaces/ns/events"
    pod["metadata"]["name"] = "a" * 199 + "-b"
    long = new_event(Remark.about(pod, "r", "m"), node="node-1", time=AT, suffix="1")
    assert long["metadata"]["name"] == "a" * 199 + ".1"
    assert "fieldPath" not in long["involvedObject"]
    pod["spec"] = {"initContainers": [{"name": "init"}], "containers": [{"name": "main"}]}
    paths = [Remark.about(pod, "r", "m", container=name).field_path for name in ("init", "main")]
    assert paths == ["spec.initContainers{init}", "spec.containers{main}"]
    about = new_event(Remark.about(pod, "r", "m", container="main"), node="node-1", time=AT, suffix="1")
    assert about["involvedObject"]["fieldPath"] == "spec.containers{main}"
