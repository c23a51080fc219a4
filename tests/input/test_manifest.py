"""Manifests: kinds of objects, start order, and the rules for extended resources (ALLOC-4)."""

from __future__ import annotations

import json
import re
import types
from pathlib import Path

import pytest

from devicemgr.errors import BadInput
from devicemgr.input.manifest import as_pod, parse_manifest, parse_pods
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
        ("many", "'many' is not a quantity; write a whole number of devices"),
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
        ("limits: {Vendor.com/gpu: 1}", "'Vendor.com/gpu' is not an extended resource name"),
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
        ("", "pod.yaml: no pod found: the text is empty"),
        ("kind: Service", "pod.yaml:1: kind: must be Pod, not 'Service'"),
        ("metadata: {}", "pod.yaml:1: kind is missing"),
        ("- a", "pod.yaml:1: must be a mapping, not a list"),
        ("kind: Pod\nmetadata: {name: p}\nspec: {containers: []}", "pod.yaml:3: spec.containers: needs at least one"),
        ("kind: Pod\n\tname: x", "pod.yaml:2: this is not valid YAML"),
        (
            "kind: Pod\nmetadata:\n  {{- with .Values.labels }}\n  labels: {{ . }}\n",
            "pod.yaml:3: this is not valid YAML: ",  # PyYAML with and without libyaml have different words
        ),
        (
            "kind: Pod\nmetadata: {name: {{ .Release.Name }}}\nspec: {}",
            "pod.yaml:2: metadata.name: must be a single value, not a template, which must be rendered first",
        ),
        ("metadata: {name: p}\nspec: {}\n---\n" + POD, "pod.yaml:1: kind is missing"),
        (
            "kind: Pod\nmetadata: {name: p}\nspec:\n  resources: {limits: {cpu: 1, v.com/gpu: 1}}\n  containers: []",
            "pod.yaml:4: spec.resources.limits.v.com/gpu: unsupported value 'v.com/gpu' for a whole pod",
        ),
        (
            "kind: ClusterPolicy\nmetadata: {name: v}\nspec: {rules: [{pattern: {spec: {containers: [{name: '*'}]}}}]}",
            "pod.yaml:1: kind: must be Pod, not 'ClusterPolicy', or a kind that makes pods: ",
        ),
        (
            "kind: VirtualMachine\nmetadata: {name: v}\nspec: {template: {spec: {domain: {}}}}",
            "pod.yaml:1: kind: must be Pod, not 'VirtualMachine', or a kind that makes pods: ",
        ),
        ("kind: Pod\na: \x01", "pod.yaml:2: this is not valid YAML"),
        ("[" * 3000, "pod.yaml:1: this is not valid YAML: this is nested too deeply"),
        ("kind: Pod\n<<: [3]", "pod.yaml:2: << must be given a mapping, or a list of them"),
        (
            "kind: Service\n---\nkind: Namespace",
            "pod.yaml:1: kind: must be Pod, not 'Service', or a kind that makes pods: De",
        ),
        ("kind: List\nitems: []", "pod.yaml: no pod found"),
        ("kind: Job\nmetadata: {name: j}\nspec: {}", "pod.yaml:3: spec: template is missing"),
        (
            "kind: Pod\nmetadata: {generateName: A-}\nspec: {}",
            "pod.yaml:2: metadata.generateName: 'A-' does not begin a valid",
        ),
        ("kind: Pod\nmetadata: {name: A/B}\nspec: {}", "pod.yaml:2: metadata.name: 'A/B' is not a valid name"),
        ("kind: Pod\nmetadata: {name: ''}\nspec: {}", "pod.yaml:2: metadata.name: '' is not a valid name"),
        (
            "kind: Pod\nmetadata: {name: p}\nspec:\n  containers: [{name: a}, {name: a}]",
            "pod.yaml:4: spec.containers[1]: the container name 'a' appears twice",
        ),
    ],
)
def test_a_broken_manifest_names_file_line_and_field(text, message):
    """ALLOC-14."""
    with pytest.raises(BadInput) as caught:
        parse_pods(text, file="pod.yaml")
    assert str(caught.value).startswith(message)
    if "{{-" in text:  # whichever words the parser has
        assert str(caught.value).endswith("; a template must be rendered first, as helm template does it")


# --- what people have ----------------------------------------------------------------------------------

FILES = Path(__file__).parents[1] / "files" / "manifests"


def found_in(*names, replicas=1):
    """The pods' names and devices, from the files' texts."""
    found = parse_manifest([(name, (FILES / name).read_text()) for name in names], replicas=replicas)
    return found, [(pod.full_name, dict(pod.containers[-1].limits)) for pod in found.pods]


def test_a_list_is_read_as_its_items():
    """As kubectl get -o json prints it: JSON, indented with tabs here."""
    found, pods = found_in("list.json")
    assert pods == [("ml/train", {"vendor.com/gpu": 2}), ("ml/serve", {"vendor.com/gpu": 1})]
    assert found.pods[0].uid == "4f1d1a1e-6a2b-4d7e-9a55-0d8f6f6f0001"


def test_items_of_a_pod_list_need_no_kind():
    text = json.dumps(
        {"kind": "PodList", "items": [{"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c"}]}}]}
    )
    assert [pod.name for pod in parse_pods(text, file="pods.json")] == ["a"]


def test_what_has_no_pods_is_skipped_with_a_line():
    found, pods = found_in("namespace-and-pod.yaml")
    assert pods == [("ml/train", {"vendor.com/gpu": 1})]
    assert [str(line).partition(": it is")[0] for line in found.notes] == [
        "namespace-and-pod.yaml:3: kind: 'Namespace' is skipped",
        "namespace-and-pod.yaml:21: kind: 'Service' is skipped",
    ]
    assert not found.warnings


def test_beside_manifests_there_are_other_files():
    """An old kustomization, a chart's values, a JSON patch, the first lines of what helm prints."""
    texts = ["resources: [pod.yaml]", "a: {limits: {}}", "- {op: add, path: /spec}", "NAME: r\nMANIFEST:\n---\n" + POD]
    found = parse_manifest([(f"{number}.yaml", text) for number, text in enumerate(texts)])
    assert [pod.name for pod in found.pods] == ["p"]
    assert [str(line) for line in found.notes] == [
        f"{number}.yaml:1: this is skipped: it has no kind, so it is not a Kubernetes object" for number in range(4)
    ]


def test_a_native_resource_with_a_prefix_is_left_out_with_a_line():
    """The kubelet refuses such a pod with OutOf…, unless the node's status was patched."""
    found = parse_manifest([("pod.yaml", POD.format("limits: {alpha.kubernetes.io/nvidia-gpu: 1}"))])
    assert [dict(pod.containers[0].limits) for pod in found.pods] == [{}]
    assert [str(line) for line in found.notes] == [
        "pod.yaml:8: spec.containers[0].resources.limits.alpha.kubernetes.io/nvidia-gpu: "
        "alpha.kubernetes.io/nvidia-gpu is ignored: no device plug-in can provide it"
    ]


def test_a_pod_that_has_ended_is_skipped_with_a_line():
    """kubectl get pods -o json prints all pods of a node; an ended one would get devices again."""
    phases = ["Succeeded", "Running", "Failed", "Pending"]
    pods = [
        {"metadata": {"name": phase.lower()}, "spec": {"containers": [{"name": "c"}]}, "status": {"phase": phase}}
        for phase in phases
    ]
    found = parse_manifest([("pods.json", json.dumps({"kind": "PodList", "items": pods}, indent=1))])
    assert [pod.name for pod in found.pods] == ["running", "pending"]
    assert [str(line).partition(": ")[2] for line in found.notes] == [
        f"items[{index}].status.phase: the pod is skipped: it has ended ({phases[index]})" for index in (0, 2)
    ]
    with pytest.raises(BadInput, match=r"status.phase: this pod has ended: the kubelet does not admit it again"):
        as_pod({"kind": "Pod", **pods[0]})


def test_each_pod_template_of_a_custom_object_is_a_pod():
    """JobSet, LeaderWorkerSet, Volcano's Job and Knative's Service, with fields of their own."""
    found, pods = found_in("custom.yaml", replicas=2)
    assert [(name[:-5], limits) for name, limits in pods[::2]] == [
        ("ml/train-0-", {"vendor.com/gpu": 1}),
        ("ml/train-1-", {"vendor.com/gpu": 8}),
        ("default/serve-0-", {"vendor.com/gpu": 2}),
        ("default/serve-1-", {"vendor.com/gpu": 4}),
        ("default/mpi-0-", {}),
        ("default/mpi-1-", {"vendor.com/gpu": 1}),
        ("default/hello-0-", {"vendor.com/gpu": 1}),
    ]
    assert len({pod.uid for pod in found.pods}) == 14
    assert [str(line).partition("kind: ")[2] for line in found.notes] == [
        f"'{kind}' is not a known kind: each pod template in it is taken for one pod"
        for kind in ("JobSet", "LeaderWorkerSet", "Job", "Service")
    ]
    assert not found.warnings


def test_a_template_that_has_itself_in_it_has_an_end():
    text = "kind: Odd\nmetadata: {name: o}\nspec: &a {b: *a, template: {spec: {containers: [{}]}}}\n"
    assert [pod.name[:4] for pod in parse_pods(text, file="odd.yaml")] == ["o-0-"]


LETTERS = "[bcdfghjklmnpqrstvwxz2456789]"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("Deployment", f"w-{LETTERS}{{10}}-{LETTERS}{{5}}"),
        ("ReplicaSet", f"w-{LETTERS}{{5}}"),
        ("ReplicationController", f"w-{LETTERS}{{5}}"),
        ("DeploymentConfig", f"w-1-{LETTERS}{{5}}"),
        ("StatefulSet", "w-0"),
        ("DaemonSet", f"w-{LETTERS}{{5}}"),
        ("Job", f"w-{LETTERS}{{5}}"),
        ("CronJob", f"w-2[0-9]{{7}}-{LETTERS}{{5}}"),
    ],
)
def test_a_template_is_one_pod_named_as_its_controller_names_it(kind, name):
    pod = {"spec": {"containers": [{"name": "c", "resources": {"limits": {"vendor.com/gpu": 3}}}]}}
    spec = {"replicas": 7, "template": pod}
    if kind == "CronJob":
        spec = {"jobTemplate": {"spec": {"template": pod}}}
    manifest = {"kind": kind, "metadata": {"name": "w", "namespace": "n", "uid": "the controller's"}, "spec": spec}
    one, again = as_pod(manifest), as_pod(json.dumps(manifest))
    assert re.fullmatch(name, one.name)
    assert (one.namespace, one.containers[0].limits) == ("n", {"vendor.com/gpu": 3})
    assert one == again, "admitted twice, it is the same pod"
    assert one.uid != "the controller's"


def test_replicas_are_as_many_pods():
    found, pods = found_in("workloads.yaml", replicas=3)
    names = [name.partition("/")[2] for name, _ in pods]
    assert names[:3] == ["cache-5", "cache-6", "cache-7"], "ordinals from where the set says"
    assert [name[:-5] for name in names[3:6]] == ["sweep-0-", "sweep-1-", "sweep-2-"], "an indexed job"
    assert [name[:-5] for name in names[6:]] == ["monitor-"], "a daemon set has one pod on a node"
    assert len(set(names)) == len({pod.uid for pod in found.pods}) == 7


def test_a_long_name_leaves_room_for_the_letters():
    manifest = {
        "kind": "DaemonSet",
        "metadata": {"name": "d" * 63},
        "spec": {"template": {"spec": {"containers": [{"name": "c"}]}}},
    }
    assert len(as_pod(manifest).name) == 63


def test_a_generated_name_is_another_one_each_time():
    text = "kind: Pod\nmetadata: {generateName: run-}\nspec: {containers: [{name: c}]}\n"
    one, two = parse_pods(f"{text}---\n{text}", file="pod.yaml")
    assert one.name != two.name
    assert one.uid != two.uid
    assert all(re.fullmatch(f"run-{LETTERS}{{5}}", pod.name) for pod in (one, two))
    first, second = parse_manifest([("a.yaml", text), ("b.yaml", text)]).pods
    assert (first, second) == (one, two)


def test_several_json_values_in_a_row_are_several_documents():
    """As jq writes them."""
    pods = [{"kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [{"name": "c"}]}} for name in "ab"]
    for between in ("\n", "", "\n---\n"):
        text = between.join(json.dumps(pod, indent="\t") for pod in pods)
        assert [pod.name for pod in parse_pods(text, file="pods.json")] == ["a", "b"]
    with pytest.raises(BadInput, match=r"^pods.json:5: spec: containers is missing"):
        parse_pods('{\n\t"kind":"Pod",\n\t"metadata":\n\t{"name":"a"},\n\t"spec": {}}', file="pods.json")


def test_a_field_that_is_new_in_kubernetes_v1_37_is_known():
    text = "kind: Pod\nmetadata: {name: p}\nspec: {evictionResponders: [{name: a.com/b}], containers: [{name: c}]}\n"
    assert [pod.name for pod in parse_pods(text, file="pod.yaml")] == ["p"]


def test_merge_keys_are_followed():
    """What is written out overrides the first merged mapping, and that what it merges itself."""
    found, pods = found_in("anchors.yaml")
    assert pods == [("default/a", {"vendor.com/gpu": 2}), ("default/b", {"vendor.com/gpu": 1, "vendor.com/nic": 1})]
    assert [str(warning) for warning in found.warnings] == ["anchors.yaml:5: x-limits: unknown field"]


def test_mappings_that_merge_each_other_many_times_have_an_end():
    """Written out, there would be 2^60 of them."""
    lines = ["a0: &a0 {x: y}", *(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 60)), "<<: *a59"]
    with pytest.raises(BadInput, match="kind is missing"):
        parse_pods("\n".join(lines), file="pod.yaml")


def test_a_mapping_that_merges_itself_has_an_end():
    text = "&a\n<<: [*a, *a]\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c}]}\n"
    assert [pod.name for pod in parse_pods(text, file="pod.yaml")] == ["p"]


@pytest.mark.parametrize(
    ("quantity", "count"),
    [("010", 8), ("0o10", 8), ("0x10", 16), ("0b11", 3), ("1_0", 10), ("08", 8), ("'010'", 10), ("0", 0), ("00", 0)],
)
def test_a_plain_number_is_read_as_yaml_1_1_has_it(quantity, count):
    assert limits_of(quantity) == count


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (
            POD.format("limit: {vendor.com/gpu: 1}"),
            "pod.yaml:8: spec.containers[0].resources.limit: unknown field; did you mean limits?",
        ),
        (
            POD.format("limits: {memroy: 1Gi}"),
            "pod.yaml:8: spec.containers[0].resources.limits.memroy: unknown resource; did you mean memory?",
        ),
        (
            POD.format("limits: {gpu: 1}"),
            "pod.yaml:8: spec.containers[0].resources.limits.gpu: unknown resource; "
            "device plug-ins have names like vendor.com/gpu",
        ),
        (
            POD.format("limits: {}").replace("    resources:", "    ressources:"),
            "pod.yaml:8: spec.containers[0].ressources: unknown field; did you mean resources?",
        ),
        (
            POD.format("limits: {}").replace("spec:", "spec:\n  initcontainers: []"),
            "pod.yaml:5: spec.initcontainers: unknown field; did you mean initContainers?",
        ),
        (
            POD.format("limits: {}").replace("name: p", "name: p\n  namspace: n"),
            "pod.yaml:4: metadata.namspace: unknown field; did you mean namespace?",
        ),
        (POD.format("limits: {}") + "gadget: 1\n", "pod.yaml:9: gadget: unknown field"),
        (
            POD.format("limits: {}") + "---\nkind: Deploymet\n",
            "pod.yaml:10: kind: 'Deploymet' is skipped: it is not a Pod, and no known kind that makes pods; "
            "did you mean Deployment?",
        ),
    ],
)
def test_a_misspelt_word_is_warned_of_with_the_nearest_known_one(text, warning):
    found = parse_manifest([("pod.yaml", text)])
    assert len(found.pods) == 1
    assert [str(one) for one in found.warnings] == [warning]
    with pytest.raises(BadInput, match=re.escape(warning)):
        parse_pods(text, file="pod.yaml")


def test_every_field_of_a_pod_as_the_api_server_prints_it_is_known():
    found, _ = found_in("as-printed.yaml")
    assert not found.warnings


def test_a_manifest_in_python_is_plain_data():
    pod = {"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}}
    assert as_pod(types.MappingProxyType(pod)).name == "p"
    with pytest.raises(BadInput, match=r"^pod: <object object at .*>, a object, is not plain data: text, numbers"):
        as_pod(pod | {"metadata": {"name": object()}})
