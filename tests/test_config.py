"""Node configuration: both formats, what silence means, and errors that name the place."""

from __future__ import annotations

import pytest

from devicemgr.config import parse_node_config
from devicemgr.errors import BadInput

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
