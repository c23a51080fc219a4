"""The kubelet's predicates, in its order and its words."""

from __future__ import annotations

import pytest

from devicemgr.cluster.objects.fit import Misfit, Tenants, misfits
from devicemgr.cluster.objects.node_affinity import matches_node
from devicemgr.cluster.objects.preemption import CRITICAL
from devicemgr.cluster.objects.tolerations import tolerates

ALLOCATABLE = {"cpu": 4000, "memory": 1000, "ephemeral-storage": 100, "pods": 3, "example.com/foreign": 2}


def pod(name: str = "one", requests: dict | None = None, ports: list | None = None, **spec: object) -> dict:
    container = {"name": "c", "resources": {"requests": requests or {}}, "ports": ports or []}
    metadata = {"name": name, "namespace": "default", "uid": name, "labels": {}}
    return {"metadata": metadata, "spec": {"containers": [container], **spec}}


def node(labels: dict | None = None, taints: list | None = None) -> dict:
    return {"metadata": {"name": "node-1", "labels": labels or {}}, "spec": {"taints": taints or []}}


def tenants(*pods: dict) -> Tenants:
    found = Tenants()
    for one in pods:
        found.add(one)
    return found


def misfit(asked: dict, of: dict, allocatable: dict, there: Tenants) -> Misfit | None:
    return next(misfits(asked, of, allocatable, there), None)


def shortage(resource: str, requested: int, used: int, capacity: int) -> Misfit:
    numbers = f"requested: {requested}, used: {used}, capacity: {capacity}"
    text = f"Node didn't have enough resource: {resource}, {numbers}"
    return Misfit(f"OutOf{resource}", text, (resource, requested + used - capacity))


@pytest.mark.parametrize(
    ("asked", "there", "expected"),
    [
        ({"cpu": "3"}, {"cpu": "1"}, None),
        ({"cpu": "3"}, {"cpu": "1001m"}, shortage("cpu", 3000, 1001, 4000)),
        ({"memory": "600"}, {"memory": "600"}, shortage("memory", 600, 600, 1000)),
        ({"ephemeral-storage": "101"}, {}, shortage("ephemeral-storage", 101, 0, 100)),
        ({"cpu": "9", "memory": "9000"}, {}, shortage("cpu", 9000, 0, 4000)),
        ({"example.com/foreign": "2"}, {"example.com/foreign": "1"}, shortage("example.com/foreign", 2, 1, 2)),
        ({"example.com/foreign": "2", "memory": "9k"}, {}, shortage("memory", 9000, 0, 1000)),
        ({"example.com/of-the-cluster": "2"}, {}, None),
        ({"hugepages-2Mi": "4Mi"}, {}, shortage("hugepages-2Mi", 4194304, 0, 0)),
    ],
)
def test_resources(asked, there, expected):
    assert misfit(pod("new", asked), node(), ALLOCATABLE, tenants(pod("old", there))) == expected


def test_a_pod_that_has_its_place_keeps_it():
    there = tenants(pod("one", {"cpu": "3"}))
    assert misfit(pod("one", {"cpu": "3"}), node(), ALLOCATABLE, there) is None
    there.discard("one")
    there.discard("one")
    assert misfit(pod("two", {"cpu": "4"}), node(), ALLOCATABLE, there) is None


def test_the_number_of_pods_is_looked_at_first():
    full = tenants(pod("a"), pod("b"), pod("c"))
    assert misfit(pod("d", {"cpu": "9"}), node(), ALLOCATABLE, full) == shortage("pods", 1, 3, 3)


def test_of_a_critical_pod_what_no_other_pod_could_give_is_said_first():
    asked = pod("new", {"cpu": "9"}, nodeSelector={"disk": "ssd"})
    reasons = [one.reason for one in misfits(asked, node(), ALLOCATABLE, tenants())]
    assert reasons == ["OutOfcpu", "NodeAffinity"]
    asked["spec"]["priority"] = CRITICAL
    reasons = [one.reason for one in misfits(asked, node(), ALLOCATABLE, tenants())]
    assert reasons == ["NodeAffinity", "OutOfcpu"]


NOT_MATCHED = Misfit("NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector")


def test_the_other_predicates():
    def refusal(asked: dict, of: dict | None = None) -> Misfit | None:
        return misfit(asked, of or node(), ALLOCATABLE, tenants(pod("old", ports=[{"hostPort": 80}])))

    assert refusal(pod(nodeSelector={"disk": "ssd"})) == NOT_MATCHED
    assert refusal(pod(nodeSelector={"disk": "ssd"}), node({"disk": "ssd"})) is None
    assert refusal(pod(nodeName="other")) == Misfit(
        "NodeName", "Predicate NodeName failed: node(s) didn't match the requested node name"
    )
    assert refusal(pod(ports=[{"hostPort": 80, "hostIP": "10.0.0.1"}])) == Misfit(
        "NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
    )
    assert refusal(pod(ports=[{"hostPort": 80, "protocol": "UDP"}])) is None
    taint = {"key": "away", "value": "yes", "effect": "NoExecute"}
    assert refusal(pod(), node(taints=[taint])) == Misfit(
        "TaintToleration", "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"
    )
    assert refusal(pod(), node(taints=[{**taint, "effect": "NoSchedule"}])) is None
    assert refusal(pod(os={"name": "windows"})) == Misfit(
        "PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"
    )
    windows = pod()
    windows["metadata"]["labels"] = {"kubernetes.io/os": "windows"}
    assert refusal(windows) == Misfit(
        "PodOSSelectorNodeLabelDoesNotMatch",
        "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
    )


def affinity(*terms: dict) -> dict:
    required = {"nodeSelectorTerms": list(terms)}
    return pod(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}})


def term(operator: str, *values: str, key: str = "size", of: str = "matchExpressions") -> dict:
    return {of: [{"key": key, "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("terms", "matches"),
    [
        ([term("In", "4", "5")], True),
        ([term("In", "6")], False),
        ([term("In", "6"), term("Exists")], True),
        ([term("NotIn", "5")], False),
        ([term("NotIn", "5", key="other")], True),
        ([term("DoesNotExist", key="other")], True),
        ([term("Gt", "4")], True),
        ([term("Gt", "5")], False),
        ([term("Lt", "6")], True),
        ([term("Lt", "6", key="other")], False),
        ([term("Gt", "much")], False),
        ([term("Unheard")], False),
        ([term("In", "node-1", key="metadata.name", of="matchFields")], True),
        ([term("In", "node-2", key="metadata.name", of="matchFields")], False),
        ([{}], False),
        ([], False),
    ],
)
def test_required_node_affinity(terms, matches):
    assert matches_node(affinity(*terms), node({"size": "5"})) is matches


@pytest.mark.parametrize(
    ("toleration", "is_tolerated"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "k", "operator": "Exists"}, True),
        ({"key": "k", "value": "v"}, True),
        ({"key": "k", "value": "w"}, False),
        ({"key": "other", "operator": "Exists"}, False),
        ({"key": "k", "operator": "Exists", "effect": "NoSchedule"}, False),
        ({"key": "k", "operator": "Equal", "value": "v", "effect": "NoExecute"}, True),
    ],
)
def test_tolerations(toleration, is_tolerated):
    taint = {"key": "k", "value": "v", "effect": "NoExecute"}
    assert tolerates(pod(tolerations=[toleration]), [taint], "NoExecute") is is_tolerated
