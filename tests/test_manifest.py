"""Pod manifests: start order, kinds, and the rules for extended resources (ALLOC-4)."""

from __future__ import annotations

import pytest

from devicemgr.errors import BadInput
from devicemgr.manifest import parse_pods
from devicemgr.model import ContainerKind

POD = """\
kind: Pod
metadata:
  name: p
spec:
  containers:
  - name: c
    resources:
      {}
"""


def limits_of(quantity):
    (pod,) = parse_pods(POD.format(f"limits: {{vendor.com/gpu: {quantity}}}"), file="pod.yaml")
    return pod.containers[0].limits["vendor.com/gpu"]


@pytest.mark.parametrize(
    ("quantity", "count"), [("2", 2), ("'2'", 2), ("0", 0), ("2000m", 2), ("2k", 2000), ("1Ki", 1024), ("2e1", 20)]
)
def test_a_whole_quantity_is_a_number_of_devices(quantity, count):
    assert limits_of(quantity) == count


@pytest.mark.parametrize(
    ("quantity", "problem"),
    [
        ("1.5", "1.5 is not a whole number; devices cannot be divided"),
        ("1500m", "1500m is not a whole number; devices cannot be divided"),
        ("-1", "-1 is negative; must be greater than or equal to 0"),
        ("many", "'many' is no quantity; write a whole number of devices"),
        ("1e999", "1e999 is larger than any node: at most 9223372036854775807"),
        ("[1]", "must be a single value, not a list"),
    ],
)
def test_another_quantity_is_refused_with_its_place(quantity, problem):
    with pytest.raises(BadInput) as caught:
        limits_of(quantity)
    place = "pod.yaml:8: spec.containers[0].resources.limits.vendor.com/gpu: "
    assert str(caught.value) == place + problem


@pytest.mark.parametrize(
    ("resources", "problem"),
    [
        ("requests: {vendor.com/gpu: 1}", "a limit must be set too: vendor.com/gpu cannot be overcommitted"),
        (
            "{limits: {vendor.com/gpu: 2}, requests: {vendor.com/gpu: 1}}",
            "must be equal to the limit of 2: vendor.com/gpu cannot be overcommitted",
        ),
        ("limits: {Vendor.com/gpu: 1}", "'Vendor.com/gpu' is no extended resource name"),
    ],
)
def test_requests_and_names_follow_the_api_server(resources, problem):
    text = POD.replace("resources:\n      {}", "resources: {}").format(
        resources if resources[0] == "{" else f"{{{resources}}}"
    )
    with pytest.raises(BadInput, match="spec.containers") as caught:
        parse_pods(text, file="pod.yaml")
    assert problem in str(caught.value)


def test_native_resources_are_left_out():
    (pod,) = parse_pods(POD.format("limits: {cpu: 500m, memory: 1Gi, vendor.com/gpu: 1}"), file="pod.yaml")
    assert dict(pod.containers[0].limits) == {"vendor.com/gpu": 1}


def test_containers_stand_in_start_order_with_their_kind():
    text = """
kind: Pod
metadata: {name: p, namespace: n, uid: u}
spec:
  containers: [{name: main}]
  initContainers: [{name: first}, {name: side, restartPolicy: Always}]
"""
    (pod,) = parse_pods(text, file="pod.yaml")
    assert (pod.full_name, pod.uid) == ("n/p", "u")
    assert [(c.name, c.kind) for c in pod.containers] == [
        ("first", ContainerKind.INIT),
        ("side", ContainerKind.SIDECAR),
        ("main", ContainerKind.MAIN),
    ]


def test_several_documents_are_several_pods_and_a_name_makes_the_same_uid():
    text = POD.format("{}")
    pods = parse_pods(f"---\n{text}---\n{text}---\n", file="pod.yaml")
    assert len(pods) == 2
    assert pods[0].uid == pods[1].uid


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "pod.yaml: here is no pod: the text is empty"),
        ("kind: Service", "pod.yaml:1: kind: must be Pod, not 'Service'"),
        ("metadata: {}", "pod.yaml:1: kind is missing"),
        ("- a", "pod.yaml:1: must be a mapping, not a list"),
        ("kind: Pod\nmetadata: {name: p}\nspec: {containers: []}", "pod.yaml:3: spec.containers: needs at least one"),
        ("kind: Pod\n\tname: x", "pod.yaml:2: this is not valid YAML"),
        ("kind: Pod\na: \x01", "pod.yaml:2: this is not valid YAML"),
        ("[" * 3000, "pod.yaml: this is nested too deeply"),
        ("<<: {kind: Pod}", "pod.yaml:1: merge keys (<<) are not supported"),
        ("kind: Pod\nmetadata: {name: A/B}\nspec: {}", "pod.yaml:2: metadata.name: 'A/B' is no valid name"),
        ("kind: Pod\nmetadata: {name: ''}\nspec: {}", "pod.yaml:2: metadata.name: '' is no valid name"),
        (
            "kind: Pod\nmetadata: {name: p}\nspec:\n  containers: [{name: a}, {name: a}]",
            "pod.yaml:4: spec.containers[1]: the container name 'a' stands twice",
        ),
    ],
)
def test_a_broken_manifest_names_file_line_and_field(text, message):
    with pytest.raises(BadInput) as caught:
        parse_pods(text, file="pod.yaml")
    assert str(caught.value).startswith(message)
