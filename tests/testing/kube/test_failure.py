"""What is shown of a pod that is not as wanted."""

from __future__ import annotations

from devicemgr.testing.kube.failure import node_lines, report

POD = {
    "kind": "Pod",
    "metadata": {"name": "one"},
    "spec": {
        "nodeName": "node-1",
        "initContainers": [{"name": "test"}],
        "containers": [{"name": "main", "resources": {"limits": {"vendor.com/gpu": "2", "cpu": "1"}}}],
    },
    "status": {
        "phase": "Failed",
        "reason": "UnexpectedAdmissionError",
        "message": "Allocate failed",
        "conditions": [
            {"type": "PodScheduled", "status": "True"},
            {"type": "Ready", "status": "False", "reason": "PodFailed"},
        ],
        "initContainerStatuses": [{"name": "test", "state": {"terminated": {"reason": "Completed", "exitCode": 0}}}],
    },
}
NODE = {
    "metadata": {"name": "node-1"},
    "spec": {"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]},
    "status": {
        "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": "True"}],
        "capacity": {"cpu": "4", "vendor.com/gpu": "3", "vendor.com/nic": "1"},
        "allocatable": {"cpu": "4", "vendor.com/gpu": "2"},
    },
}


def test_a_pod_with_its_events_its_node_and_what_the_manager_did():
    events = [
        {"type": "Warning", "reason": "UnexpectedAdmissionError", "message": "Allocate failed"},
        {"type": "Warning", "reason": "FailedScheduling", "message": "0/1 nodes", "series": {"count": 3}},
    ]
    assert report("Pod x/one is not Running", POD, events, [], [node_lines(NODE, ["PodRefused pod_uid=1"])]) == (
        "Pod x/one is not Running\n"
        "  Failed: UnexpectedAdmissionError: Allocate failed\n"
        "  PodScheduled True\n"
        "  Ready False, PodFailed\n"
        "  is on node-1\n"
        "  container test: terminated, Completed\n"
        "  container main: not started; wants vendor.com/gpu 2, cpu 1\n"
        "Events about it:\n"
        "  Warning UnexpectedAdmissionError: Allocate failed\n"
        "  Warning FailedScheduling: 0/1 nodes (3 times)\n"
        "Node node-1: Ready True\n"
        "  vendor.com/gpu: 2 of 3\n"
        "  vendor.com/nic: 0 of 1\n"
        "  taint node.kubernetes.io/not-ready=:NoSchedule\n"
        "  last events of its manager:\n"
        "  PodRefused pod_uid=1"
    )


def test_what_makes_pods_with_those_and_what_is_not_there():
    deployment = {
        "kind": "Deployment",
        "metadata": {"name": "d", "deletionTimestamp": "2026-11-27T00:00:00Z"},
        "spec": {"replicas": 1},
        "status": {"conditions": [{"type": "Available", "status": "False", "message": "too few"}]},
    }
    new = {"metadata": {"name": "d-1"}, "spec": {"containers": [{"name": "main"}]}}
    assert report("d is not as wanted", deployment, [], [new], []) == (
        "d is not as wanted\n"
        "  is being deleted, since 2026-11-27T00:00:00Z\n"
        "  Available False, too few\n"
        "Events about it:\n"
        "  none\n"
        "Pod d-1:\n"
        "  is on no node\n"
        "  container main: not started"
    )
    assert (
        report("x is not Running", None, [], [], []) == "x is not Running\n  it is not there\nEvents about it:\n  none"
    )
