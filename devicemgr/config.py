"""Node configuration: is the Device Manager switched on, and how does it align pods on NUMA nodes?

Two formats are read: OpenShift's ``node-config.yaml``, where kubelet flags stand under ``kubeletArguments``, and the
kubelet's own ``KubeletConfiguration``. They differ in what silence means. OpenShift's node configuration leaves
the gate off unless it is named; upstream, ``DevicePlugins`` is on unless it is switched off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .errors import BadInput
from .yaml_text import Field, load_documents

GATE = "DevicePlugins"
_HOW_TO_ENABLE = "kubeletArguments:\n  feature-gates:\n  - DevicePlugins=true"
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TopologyConfig:
    """The Topology Manager's settings as they are written; ``place`` is where, for whoever finds them wrong (TM-1)."""

    policy: str = "none"
    scope: str = "container"
    options: Mapping[str, str] = field(default_factory=dict)
    place: Field | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """``unknown_gates`` are those that mean nothing to us: worth a line in the log, not an error."""

    device_plugins: bool = True
    topology: TopologyConfig = TopologyConfig()
    unknown_gates: tuple[str, ...] = ()
    how_to_enable: str = field(default="", compare=False)


def parse_node_config(text: str, *, file: str) -> NodeConfig:
    """Read either format. Raises BadInput naming file, line and field."""
    documents = load_documents(text, file=file)
    if len(documents) != 1:
        raise BadInput(f"one YAML document is expected, here are {len(documents)}", file=file)
    top = documents[0].mapping()
    if "kubeletArguments" in top:
        arguments = top["kubeletArguments"].mapping()
        gates, topology = _gates_of_arguments(arguments), _topology_of_arguments(arguments)
        return _config(gates, topology, default=False, how=_HOW_TO_ENABLE)
    kind = top["kind"].text() if "kind" in top else ""
    if kind == "KubeletConfiguration" or "featureGates" in top or "topologyManagerPolicy" in top:
        gates = _gates_of_kubelet(top)
        return _config(gates, _topology_of_kubelet(top), default=True, how="featureGates:\n  DevicePlugins: true")
    if kind == "NodeConfig":
        return _config(
            {}, TopologyConfig(), default=False, how="kubeletArguments:\n  feature-gates:\n  - DevicePlugins=true"
        )
    raise documents[0].bad(
        "this is neither an OpenShift node-config.yaml (no kubeletArguments) nor a KubeletConfiguration (no such kind)"
    )


def _config(gates: Mapping[str, bool], topology: TopologyConfig, *, default: bool, how: str) -> NodeConfig:
    return NodeConfig(
        device_plugins=gates.get(GATE, default),
        topology=topology,
        unknown_gates=tuple(sorted(gates.keys() - {GATE})),
        how_to_enable=how,
    )


# --- kubeletArguments: each flag is a list of values ---------------------------------------------


def _gates_of_arguments(arguments: Mapping[str, Field]) -> dict[str, bool]:
    """``feature-gates``: each value is one or several ``Name=bool`` with commas between."""
    gates: dict[str, bool] = {}
    for item, name, value in _pairs(arguments, "feature-gates"):
        if value not in _TRUE | _FALSE:
            raise item.bad(f"'{name}={value}' is no feature gate; write Name=true or Name=false")
        gates[name] = value in _TRUE
    return gates


def _topology_of_arguments(arguments: Mapping[str, Field]) -> TopologyConfig:
    place = next((arguments[key] for key in arguments if key.startswith("topology-manager-")), None)
    options = {name: value for _, name, value in _pairs(arguments, "topology-manager-policy-options")}
    return TopologyConfig(
        policy=_last(arguments, "topology-manager-policy", "none"),
        scope=_last(arguments, "topology-manager-scope", "container"),
        options=options,
        place=place,
    )


def _last(arguments: Mapping[str, Field], flag: str, default: str) -> str:
    """Of a flag that is given several times the last value counts, as on a command line."""
    values = arguments[flag].sequence() if flag in arguments else []
    return values[-1].text() if values else default


_FLAG_VALUES = {
    "feature-gates": "feature gate; write Name=true or Name=false",
    "topology-manager-policy-options": "policy option; write name=value",
}


def _pairs(arguments: Mapping[str, Field], flag: str) -> Iterator[tuple[Field, str, str]]:
    """Every ``name=value`` of a flag, with the item it stands in."""
    for item in arguments[flag].sequence() if flag in arguments else ():
        for pair in item.text().split(","):
            name, equals, value = (part.strip() for part in pair.partition("="))
            if not name or not equals:
                raise item.bad(f"{pair.strip()!r} is no {_FLAG_VALUES[flag]}")
            yield item, name, value


# --- KubeletConfiguration ------------------------------------------------------------------------


def _gates_of_kubelet(top: Mapping[str, Field]) -> dict[str, bool]:
    if "featureGates" not in top:
        return {}
    return {name: value.boolean() for name, value in top["featureGates"].mapping().items()}


def _text_of(top: Mapping[str, Field], key: str) -> str:
    """An empty text is as good as none, as in every KubeletConfiguration."""
    return top[key].text() if key in top else ""


def _topology_of_kubelet(top: Mapping[str, Field]) -> TopologyConfig:
    place = next((top[key] for key in top if key.startswith("topologyManager")), None)
    options = top["topologyManagerPolicyOptions"].mapping() if "topologyManagerPolicyOptions" in top else {}
    return TopologyConfig(
        policy=_text_of(top, "topologyManagerPolicy") or "none",
        scope=_text_of(top, "topologyManagerScope") or "container",
        options={name: value.text() for name, value in options.items()},
        place=place,
    )
