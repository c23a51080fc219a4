"""Node configuration: both formats, what silence means, and errors that name the place."""

from __future__ import annotations

import pytest

from devicemgr.config import parse_node_config
from devicemgr.core.numa import Numa
from devicemgr.daemon.machine import parse_numa, read_numa
from devicemgr.errors import BadInput, UnusableTopology

OPENSHIFT = "apiVersion: v1\nkind: NodeConfig\nkubeletArguments:\n  feature-gates:\n  - {}\n"
KUBELET = "kind: KubeletConfiguration\nfeatureGates:\n  DevicePlugins: {}\n"


@pytest.mark.parametrize(
    ("text", "on"),
    [
        (OPENSHIFT.format("DevicePlugins=true"), True),
        (OPENSHIFT.format("DevicePlugins=false"), False),
        (OPENSHIFT.format("Other=true,DevicePlugins=T"), True),
        ("kind: NodeConfig\n", False),
        ("kubeletArguments:\n  v:\n  - '2'\n", False),
        (KUBELET.format("true"), True),
        (KUBELET.format("false"), False),
        ("kind: KubeletConfiguration\ntopologyManagerPolicy: none\n", True),
    ],
)
def test_the_gate_is_read_from_both_formats(text, on):
    assert parse_node_config(text, file="node.yaml").device_plugins is on


def test_unknown_gates_are_reported_not_refused():
    config = parse_node_config(OPENSHIFT.format("B=true,A=false,DevicePlugins=1"), file="node.yaml")
    assert config.unknown_gates == ("A", "B")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            OPENSHIFT.format("DevicePlugins"),
            "node.yaml:5: kubeletArguments.feature-gates[0]: 'DevicePlugins' is no feature gate; "
            "write Name=true or Name=false",
        ),
        (
            "kubeletArguments:\n  feature-gates: DevicePlugins=true\n",
            "node.yaml:2: kubeletArguments.feature-gates: must be a list, not 'DevicePlugins=true'",
        ),
        (KUBELET.format("'yes'"), "node.yaml:3: featureGates.DevicePlugins: must be true or false, not 'yes'"),
        ("a: [", "node.yaml:1: this is not valid YAML: "),
        ("", "node.yaml: one YAML document is expected, here are 0"),
        ("kind: Pod\n", "node.yaml:1: this is neither an OpenShift node-config.yaml"),
        ("featureGates: {A: true, A: false}", "node.yaml:1: featureGates.A: stands twice"),
    ],
)
def test_an_error_names_file_line_and_field(text, message):
    with pytest.raises(BadInput) as caught:
        parse_node_config(text, file="node.yaml")
    assert str(caught.value).startswith(message)


# --- topology ------------------------------------------------------------------------------------------


def test_the_topology_of_a_kubelet_configuration():
    text = (
        "kind: KubeletConfiguration\ntopologyManagerPolicy: restricted\ntopologyManagerScope: pod\n"
        'topologyManagerPolicyOptions: {max-allowable-numa-nodes: "10"}\n'
    )
    found = parse_node_config(text, file="k.yaml")
    assert found.device_plugins
    assert (found.topology.policy, found.topology.scope) == ("restricted", "pod")
    assert found.topology.options == {"max-allowable-numa-nodes": "10"}
    assert found.topology.place.bad("x").line == 2


def test_the_topology_of_kubelet_arguments():
    text = (
        "kind: NodeConfig\nkubeletArguments:\n  feature-gates: [DevicePlugins=true]\n"
        "  topology-manager-policy: [none, best-effort]\n  topology-manager-scope: [container]\n"
        "  topology-manager-policy-options: ['prefer-closest-numa-nodes=true,max-allowable-numa-nodes=9']\n"
    )
    found = parse_node_config(text, file="n.yaml").topology
    assert (found.policy, found.scope) == ("best-effort", "container")
    assert found.options == {"prefer-closest-numa-nodes": "true", "max-allowable-numa-nodes": "9"}


def test_silence_is_the_policy_none():
    empty = "topologyManagerPolicy: ''\ntopologyManagerScope: ''\n"
    found, same = (
        parse_node_config(f"kind: KubeletConfiguration\n{more}", file="k.yaml").topology for more in ("", empty)
    )
    assert (found.policy, found.scope) == (same.policy, same.scope) == ("none", "container")
    assert (found.policy, found.scope, found.options) == ("none", "container", {})


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("topologyManagerPolicy: [a]", "n.yaml:2: topologyManagerPolicy: must be a single value"),
        ("topologyManagerPolicyOptions: x", "n.yaml:2: topologyManagerPolicyOptions: must be a mapping"),
    ],
)
def test_a_topology_of_the_wrong_shape_names_its_place(line, problem):
    with pytest.raises(BadInput) as caught:
        parse_node_config(f"kind: KubeletConfiguration\n{line}\n", file="n.yaml")
    assert str(caught.value).startswith(problem)


# --- the machine ---------------------------------------------------------------------------------------


def test_numa_nodes_are_read_as_the_kernel_tells_them(tmp_path):
    """Distances stand in the order of the online nodes, which may have gaps."""
    for node, row in {0: "10 21 31", 2: "21 10 41", 5: "31 41 10"}.items():
        (tmp_path / f"node{node}").mkdir()
        (tmp_path / f"node{node}" / "distance").write_text(row + "\n")
    (tmp_path / "possible").write_text("0-7")
    numa = read_numa(tmp_path)
    assert numa.nodes == (0, 2, 5)
    assert numa.distances[2] == (21, 0, 10, 0, 0, 41)
    assert numa.average_distance(0b100101) == pytest.approx((30 + 2 * (21 + 31 + 41)) / 9)


def test_a_machine_that_does_not_tell_has_one_node(tmp_path):
    assert read_numa(tmp_path / "nothing").nodes == (0,)
    (tmp_path / "node3").mkdir()
    assert read_numa(tmp_path) == Numa(nodes=(3,), distances={3: ()})


def test_numa_nodes_can_be_stated():
    assert parse_numa("1,0") == Numa(nodes=(0, 1))
    assert parse_numa("0=10,21;4=21,10").distances == {0: (10, 0, 0, 0, 21), 4: (21, 0, 0, 0, 10)}


@pytest.mark.parametrize("text", ["", "a", "0,", "-1", "1024", "0=10;1=10", "0=10,x", "0=10,21;1=21,10;x", "0-3"])
def test_nodes_that_cannot_be_read_are_a_clear_error(text):
    with pytest.raises(UnusableTopology, match="write the nodes as 0,1 or"):
        parse_numa(text)
