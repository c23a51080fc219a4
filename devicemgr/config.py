"""Node configuration: is the Device Manager switched on?

Two formats are read: OpenShift's ``node-config.yaml``, where kubelet flags stand under ``kubeletArguments``, and the
kubelet's own ``KubeletConfiguration``. They differ in what silence means. OpenShift's node configuration leaves
the gate off unless it is named; upstream, ``DevicePlugins`` is on unless it is switched off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .errors import BadInput
from .yaml_text import Field, load_documents

GATE = "DevicePlugins"
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """``unknown_gates`` are those that mean nothing to us: worth a line in the log, not an error."""

    device_plugins: bool = True
    unknown_gates: tuple[str, ...] = ()
    how_to_enable: str = field(default="", compare=False)


def parse_node_config(text: str, *, file: str) -> NodeConfig:
    """Read either format. Raises BadInput naming file, line and field."""
    documents = load_documents(text, file=file)
    if len(documents) != 1:
        raise BadInput(f"one YAML document is expected, here are {len(documents)}", file=file)
    top = documents[0].mapping()
    if "kubeletArguments" in top:
        gates = _gates_of_arguments(top["kubeletArguments"])
        return _config(gates, default=False, how="kubeletArguments:\n  feature-gates:\n  - DevicePlugins=true")
    kind = top["kind"].text() if "kind" in top else ""
    if kind == "KubeletConfiguration" or "featureGates" in top:
        gates = _gates_of_kubelet(top)
        return _config(gates, default=True, how="featureGates:\n  DevicePlugins: true")
    if kind == "NodeConfig":
        return _config({}, default=False, how="kubeletArguments:\n  feature-gates:\n  - DevicePlugins=true")
    raise documents[0].bad(
        "this is neither an OpenShift node-config.yaml (no kubeletArguments) nor a KubeletConfiguration (no such kind)"
    )


def _config(gates: Mapping[str, bool], *, default: bool, how: str) -> NodeConfig:
    return NodeConfig(
        device_plugins=gates.get(GATE, default),
        unknown_gates=tuple(sorted(gates.keys() - {GATE})),
        how_to_enable=how,
    )


def _gates_of_arguments(arguments: Field) -> dict[str, bool]:
    """``feature-gates`` is a list of kubelet flag values, each one or several ``Name=bool`` with commas between."""
    flags = arguments.mapping().get("feature-gates")
    if flags is None:
        return {}
    gates: dict[str, bool] = {}
    for item in flags.sequence():
        for pair in item.text().split(","):
            name, equals, value = (part.strip() for part in pair.partition("="))
            if not name or not equals or value not in _TRUE | _FALSE:
                raise item.bad(f"{pair.strip()!r} is no feature gate; write Name=true or Name=false")
            gates[name] = value in _TRUE
    return gates


def _gates_of_kubelet(top: Mapping[str, Field]) -> dict[str, bool]:
    if "featureGates" not in top:
        return {}
    return {name: value.boolean() for name, value in top["featureGates"].mapping().items()}
