"""Node configuration: is the Device Manager switched on, and how does it align pods on NUMA nodes?

Two formats are read: OpenShift's ``node-config.yaml``, where kubelet flags stand under ``kubeletArguments``, and the
kubelet's own ``KubeletConfiguration``, also inside the objects in which people have it (``_WRAPPERS``). They differ in
what silence means. OpenShift's node configuration leaves the gate off unless it is named; upstream, ``DevicePlugins``
is on unless it is switched off.

One thing is ours and not the kubelet's: ``nodeResources`` (``node-resource`` among the arguments) says what the node
has without a device plug-in, since there is no API server that could know.

A key that stands twice is a doubt, and the last one counts, as in the kubelet. So is one that is nearly a key that is
read here; keys of the kubelet's other features mean nothing to us.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from .errors import BadInput
from .model import ResourceName
from .node_resources import node_resource
from .yaml_text import Field, load_documents, nearest

GATE = "DevicePlugins"
_KEYS = (
    "featureGates",
    "nodeResources",
    "topologyManagerPolicy",
    "topologyManagerPolicyOptions",
    "topologyManagerScope",
)
_FLAGS = (
    "feature-gates",
    "node-resource",
    "topology-manager-policy",
    "topology-manager-policy-options",
    "topology-manager-scope",
)
_OTHERS = frozenset({"cpumanagerpolicyoptions", "cpumanagerpolicy", "memorymanagerpolicy"})
"""Keys of other features that are near to ours."""
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
    """``unknown_gates`` are those that mean nothing to us: worth a line in the log, not an error. So is each of
    ``doubts``."""

    device_plugins: bool = True
    topology: TopologyConfig = TopologyConfig()
    node_resources: Mapping[ResourceName, int] = field(default_factory=dict)
    unknown_gates: tuple[str, ...] = ()
    doubts: tuple[BadInput, ...] = field(default=(), compare=False)
    how_to_enable: str = field(default="", compare=False)


def parse_node_config(text: str, *, file: str) -> NodeConfig:
    """Read whichever format it is. Raises BadInput naming file, line and field."""
    doubts: list[BadInput] = []
    documents = load_documents(text, file=file, doubts=doubts)
    if not documents:
        raise BadInput("one YAML document is expected, here are 0", file=file)
    found = [one for document in documents for one in _found_in(document)]
    for document in documents:
        doubts += _flags_elsewhere(document)
    if not found:
        raise documents[0].bad(
            "this is neither an OpenShift node-config.yaml (no kubeletArguments) nor a KubeletConfiguration (no such "
            f"kind), nor something that has one in it ({', '.join(one.name for one in _WRAPPERS)})"
        )
    if len(found) > 1:
        raise found[1].place.bad(f"one configuration is expected, here are {len(found)}; take the others out")
    config = _read(found[0], doubts)
    once = {str(doubt): doubt for doubt in doubts}  # what is looked at twice is doubted twice
    return replace(config, doubts=tuple(once.values()))


# --- where it is ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Wrapper:
    """Something that has a KubeletConfiguration in it, at ``way``. It is known by its ``kind``, or has none of its own
    and is known by the first key of the way."""

    name: str
    way: tuple[str, ...]
    kind: str = ""


_WRAPPERS = (
    _Wrapper("OpenShift's KubeletConfig", ("spec", "kubeletConfig"), "KubeletConfig"),
    _Wrapper("MicroShift's config.yaml", ("kubelet",)),
    _Wrapper("a ConfigMap's data.kubelet", ("data", "kubelet"), "ConfigMap"),
    _Wrapper("the answer of /configz", ("kubeletconfig",)),
    _Wrapper("EKS's NodeConfig", ("spec", "kubelet", "config"), "NodeConfig"),
)


@dataclass(frozen=True, slots=True)
class _Found:
    """A configuration: ``place`` says where, ``way`` leads there from the object that it is in, and may end there."""

    place: Field
    is_arguments: bool = False
    way: tuple[str, ...] = ()
    is_empty: bool = False


def _found_in(document: Field) -> Iterator[_Found]:
    """What a document has of ours; other objects may stand beside it."""
    top = document.mapping()
    kind = top["kind"].text() if "kind" in top else ""
    if kind.endswith("List") and "items" in top:
        for item in top["items"].sequence():
            yield from _found_in(item) if not _is_list(item) else ()
    elif "kubeletArguments" in top:
        yield _Found(document, is_arguments=True)
    elif kind == "KubeletConfiguration" or (not kind and any(key in top for key in _KEYS)):
        yield _Found(document)
    elif inside := _wrapped(document, top, kind):
        yield inside
    elif kind == "NodeConfig":
        yield _Found(document, is_arguments=True)


def _is_list(item: Field) -> bool:
    fields = item.mapping()
    return "kind" in fields and fields["kind"].text().endswith("List")


def _wrapped(document: Field, top: Mapping[str, Field], kind: str) -> _Found | None:
    """The configuration inside; an object that could have one and has none is silent about everything."""
    for wrapper in _WRAPPERS:
        if wrapper.kind != kind or wrapper.way[0] not in top:
            continue
        place, fields = document, top
        for key in wrapper.way:
            if key not in fields:
                return None if kind == "ConfigMap" else _Found(document, way=wrapper.way, is_empty=True)
            place = fields[key]
            if key != wrapper.way[-1]:
                fields = place.mapping()
        if kind == "ConfigMap":
            return _Found(_text_inside(place), way=("data", "kubelet: |"))
        return _Found(place, way=wrapper.way)
    return None


def _text_inside(place: Field) -> Field:
    documents = place.documents()
    if len(documents) != 1:
        raise place.bad(f"one YAML document is expected, here are {len(documents)}")
    return documents[0]


def _flags_elsewhere(document: Field) -> Iterator[BadInput]:
    """kubeadm's other documents may have flags for the kubelet, which win over its configuration."""
    registration = document.mapping().get("nodeRegistration")
    extra = registration.mapping().get("kubeletExtraArgs") if registration else None
    if extra is None:
        return
    for name, place in _named_arguments(extra):
        if name in _FLAGS:
            yield place.bad(f"{name} is not read here; put it into the KubeletConfiguration")


def _named_arguments(extra: Field) -> Iterator[tuple[str, Field]]:
    """A mapping in older versions; a list of names and values since v1beta4."""
    if not extra.is_list:
        yield from extra.mapping().items()
        return
    for item in extra.sequence():
        fields = item.mapping()
        if "name" in fields:
            yield fields["name"].text(), item


# --- what it says --------------------------------------------------------------------------------


def _read(found: _Found, doubts: list[BadInput]) -> NodeConfig:
    top = {} if found.is_empty else found.place.mapping()
    if found.is_arguments:
        place = top.get("kubeletArguments")
        fields = place.mapping() if place else {}
        gates, topology = _gates_of_arguments(fields), _topology_of_arguments(fields)
        stated = list(_pairs(fields, "node-resource"))
        how = _as_yaml(["kubeletArguments", "feature-gates"], "- DevicePlugins=true", indent=False)
    else:
        fields = top
        gates, topology = _gates_of_kubelet(top), _topology_of_kubelet(top)
        by_name = top["nodeResources"].mapping() if "nodeResources" in top else {}
        stated = [(item, name, item.number_text()) for name, item in by_name.items()]
        how = _as_yaml([*found.way, "featureGates"], "DevicePlugins: true")
    doubts += _misspelt(fields, _FLAGS if found.is_arguments else _KEYS)
    doubts += _misspelt_gates(fields)
    return NodeConfig(
        device_plugins=gates.get(GATE, not found.is_arguments),
        topology=topology,
        node_resources={ResourceName(name): _node_resource(item, name, count) for item, name, count in stated},
        unknown_gates=tuple(sorted(gates.keys() - {GATE})),
        how_to_enable=how,
    )


def _node_resource(place: Field, name: str, count: str) -> int:
    try:
        return node_resource(name, count)
    except ValueError as error:
        raise place.bad(str(error)) from error


def _as_yaml(keys: list[str], last: str, *, indent: bool = True) -> str:
    depth = [f"{'  ' * level}{key}{'' if key.endswith('|') else ':'}" for level, key in enumerate(keys)]
    return "\n".join([*depth, f"{'  ' * (len(keys) if indent else len(keys) - 1)}{last}"])


def _misspelt(fields: Mapping[str, Field], known: tuple[str, ...]) -> Iterator[BadInput]:
    for name, place in fields.items():
        is_another = name.lower().replace("-", "") in _OTHERS
        if name not in known and not is_another and (near := nearest(name, known)):
            yield place.bad(f"it means nothing{near}")


def _misspelt_gates(fields: Mapping[str, Field]) -> Iterator[BadInput]:
    for item, name, _ in _pairs(fields, "feature-gates"):
        if name != GATE and (near := nearest(name, [GATE])):
            yield item.bad(f"{name} means nothing{near}")
    if "featureGates" in fields:
        yield from _misspelt(fields["featureGates"].mapping(), (GATE,))


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
    "node-resource": "resource of the node; write NAME=COUNT",
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
