"""Node configuration: is the Device Manager switched on, and how does it align pods on NUMA nodes?

Two formats are read: OpenShift's ``node-config.yaml``, with the kubelet's flags under ``kubeletArguments``, and the
kubelet's own ``KubeletConfiguration``, also inside of other objects (``_WRAPPERS``). They have different defaults: in
OpenShift's the gate is off unless it is named; upstream, ``DevicePlugins`` is on unless it is switched off.

When there is no such object, any other is searched for the Topology Manager's keys, also in texts (Talos, kOps, k0s,
eksctl, kind), and for a list of the kubelet's flags (k3s, RKE2). That is a guess, so a warning says so.

Two keys are not the kubelet's. ``nodeResources`` (``node-resource`` among the arguments) says what the node has without
a device plug-in, which a kubelet learns from the API server. ``kubernetesVersion`` (``kubernetes-version``) says which
kubelet to be like; kubeadm's and other files have such a key as well, so it alone makes nothing a configuration.

A duplicate key is warned of, and the last one counts, as in the kubelet. So is a key that is nearly one of those read
here. Other keys of the kubelet are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..errors import BadInput, UnusableTopology
from ..kubernetes_versions import why_not_a_version
from ..model import ResourceName
from ..node_resources import node_resource
from .yaml_fields import Field, load_documents, nearest

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
_VERSION, _VERSION_FLAG = "kubernetesVersion", "kubernetes-version"
_SECTION = re.compile(r"\[\[?[\w.\"' -]+\]\]?\s*(#.*)?")
"""The first line of TOML, and of a systemd unit."""
_MICROSHIFT = frozenset({"apiServer", "debugging", "dns", "etcd", "ingress", "kubelet", "manifests", "network", "node"})
_MICROSHIFT |= {"storage", "telemetry"}
"""The sections of its config.yaml."""
_FLAG_LISTS = ("kubelet-arg", "kubeletExtraArgs")
"""The lists of kubelet flags: the first of k3s and RKE2, the second of kubeadm."""
_KEYS_OF_OTHER_FEATURES = frozenset({"cpumanagerpolicyoptions", "cpumanagerpolicy", "memorymanagerpolicy"})
"""Keys of other features that look like misspelt ones of ours."""
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TopologyConfig:
    """The Topology Manager's settings as written (TM-1). ``places`` is where the policy, the scope and the options are
    written, by these names."""

    policy: str = "none"
    scope: str = "container"
    options: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, Field] = field(default_factory=dict, compare=False)

    def place_of(self, error: UnusableTopology) -> Field | None:
        """Where the setting is written that the error is about."""
        setting = {"unknown_policy": "policy", "unknown_scope": "scope"}.get(error.code, "options")
        return self.places.get(setting) or self.places.get("policy")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """``other_gates``, which mean nothing here, and ``warnings`` are to be logged; they are no errors. An empty
    ``kubernetes_version`` is not stated."""

    device_plugins: bool = True
    topology: TopologyConfig = TopologyConfig()
    node_resources: Mapping[ResourceName, int] = field(default_factory=dict)
    kubernetes_version: str = ""
    other_gates: Mapping[str, bool] = field(default_factory=dict)
    warnings: tuple[BadInput, ...] = field(default=(), compare=False)
    how_to_enable: str = field(default="", compare=False)


def parse_node_configs(sources: Iterable[tuple[str, str]]) -> NodeConfig:
    """Read one or several (file, text) in any of the formats. Each overrides what the ones before it say, as the
    kubelet's drop-ins do. Raises BadInput, which names file, line and field."""
    warnings: list[BadInput] = []
    configs = [_read_file(text, file, warnings) for file, text in sources]
    gates = {name: is_on for one in configs for name, is_on in one.gates.items()}
    topologies = [one.topology for one in configs]
    return NodeConfig(
        device_plugins=gates.get(GATE, all(one.default_gate for one in configs)),
        topology=TopologyConfig(
            policy=_last_nonempty([one.policy for one in topologies]) or "none",
            scope=_last_nonempty([one.scope for one in topologies]) or "container",
            options={name: value for one in topologies for name, value in one.options.items()},
            places={name: place for one in topologies for name, place in one.places.items()},
        ),
        node_resources={name: count for one in configs for name, count in one.node_resources.items()},
        kubernetes_version=_last_nonempty([one.kubernetes_version for one in configs]),
        other_gates={name: is_on for name, is_on in sorted(gates.items()) if name != GATE},
        warnings=tuple({str(one): one for one in warnings}.values()),  # each once: some places are looked at twice
        how_to_enable=configs[-1].how_to_enable,
    )


def _last_nonempty(texts: list[str]) -> str:
    return next((text for text in reversed(texts) if text), "")


def _read_file(text: str, file: str, warnings: list[BadInput]) -> _FileConfig:
    if text.startswith(("MIME-Version:", "Content-Type:")):
        raise BadInput("this is MIME user data; put the part with the NodeConfig into a file of its own", file=file)
    if _SECTION.fullmatch(_first_line(text)):
        raise BadInput(
            "this is not YAML but TOML (as Bottlerocket's settings are) or a unit file; write the kubelet's "
            "settings as a KubeletConfiguration: featureGates, topologyManagerPolicy, topologyManagerScope",
            file=file,
        )
    documents = load_documents(text, file=file, warnings=warnings)
    if not documents:
        raise BadInput("expected one YAML document, found 0", file=file)
    if found := [one for document in documents for one in _found_in(document)]:
        for document in documents:
            warnings += _flags_elsewhere(document)
    else:
        found = [one for document in documents for one in _search(document)]
    if not found:
        raise documents[0].bad(
            "this is neither an OpenShift node-config.yaml (no kubeletArguments) nor a KubeletConfiguration (no such "
            "kind), and contains neither one nor flags of the kubelet; to print a running node's: "
            "kubectl get --raw /api/v1/nodes/NODE/proxy/configz"
        )
    warnings += [one.place.bad(f"this is taken for the kubelet's {one.what}") for one in found if one.is_guess]
    if len(found) > 1:
        raise found[1].place.bad(f"expected one configuration, found {len(found)}; remove the others")
    return _read(found[0], warnings)


def _first_line(text: str) -> str:
    lines = (line.strip() for line in text.splitlines())
    return next((line for line in lines if line and not line.startswith("#")), "")


# --- where it is ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Wrapper:
    """An object with a KubeletConfiguration in it, at ``path``. It is recognised by its ``kind``; without one, by the
    first key of the path."""

    path: tuple[str, ...]
    kind: str = ""


_WRAPPERS = (
    _Wrapper(("spec", "kubeletConfig"), "KubeletConfig"),  # OpenShift
    _Wrapper(("kubelet",)),  # MicroShift's config.yaml
    _Wrapper(("data", "kubelet"), "ConfigMap"),
    _Wrapper(("kubeletconfig",)),  # the answer of /configz
    _Wrapper(("spec", "kubelet", "config"), "NodeConfig"),  # EKS
)


_KINDS = ("KubeletConfiguration", *(wrapper.kind for wrapper in _WRAPPERS if wrapper.kind))


@dataclass(frozen=True, slots=True)
class _Found:
    """A configuration at ``place``; ``path`` is how to get there from the object that contains it."""

    place: Field
    is_arguments: bool = False
    is_flags: bool = False
    path: tuple[str, ...] = ()
    is_empty: bool = False
    is_guess: bool = False

    @property
    def what(self) -> str:
        return "flags" if self.is_flags else "configuration"


def _found_in(document: Field) -> Iterator[_Found]:
    """The configurations in a document, which may contain other objects."""
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
    """The configuration inside; an empty one when an object that could have one has none."""
    for wrapper in _WRAPPERS:
        if wrapper.kind != kind or wrapper.path[0] not in top:
            continue
        place, fields = document, top
        for key in wrapper.path:
            if key not in fields:
                return None if kind == "ConfigMap" else _Found(document, path=wrapper.path, is_empty=True)
            place = fields[key]
            if key != wrapper.path[-1]:
                fields = place.mapping()
        if kind == "ConfigMap":
            return _Found(_text_inside(place), path=("data", "kubelet: |"))
        return _Found(place, path=wrapper.path, is_guess=wrapper.path == ("kubelet",) and _is_chart(top))
    return None


def _is_chart(top: Mapping[str, Field]) -> bool:
    """A chart's values may have a ``kubelet:`` as well, without anything in it that a kubelet knows."""
    return not top.keys() <= _MICROSHIFT and not top["kubelet"].mapping().keys() & {*_KEYS}


def _text_inside(place: Field) -> Field:
    documents = place.documents()
    if len(documents) != 1:
        raise place.bad(f"expected one YAML document, found {len(documents)}")
    return documents[0]


def _search(document: Field) -> Iterator[_Found]:
    """Each place once, even if several ways lead to it."""
    found = {str(one.place.bad("")): one for one in _search_within(document)}
    return (replace(one, is_guess=True) for one in found.values())


def _search_within(document: Field, *, is_text: bool = False) -> Iterator[_Found]:
    """``is_text``: the document is itself from a text, so texts in it are not searched."""
    for place in document.within():
        if place.is_mapping:
            fields = place.mapping()
            if "kind" in fields and fields["kind"].is_text and fields["kind"].text() in _KINDS:
                yield from _found_in(place)
            elif _is_configuration(fields):
                yield _Found(place, path=(place.path,))
            for key in _FLAG_LISTS:
                if key in fields and _flags(fields[key]).keys() & set(_FLAGS):
                    yield _Found(fields[key], is_flags=True, path=(fields[key].path,))
        elif place.is_text and not is_text and any(word in place.text() for word in (*_KINDS, *_KEYS, *_FLAGS)):
            for inside in _documents_in(place):
                yield from _search_within(inside, is_text=True)


def _is_configuration(fields: Mapping[str, Field]) -> bool:
    gates = fields.get("featureGates")
    is_switch = gates is not None and gates.is_mapping and GATE in gates.mapping()
    return is_switch or any(key in fields for key in _KEYS if key != "featureGates")


def _documents_in(place: Field) -> list[Field]:
    """Those of a patch, or of a file that is written when the node starts. Not every such text is YAML."""
    try:
        return [one for one in place.documents() if not one.is_text]
    except BadInput:
        return []


def _flags_elsewhere(document: Field) -> Iterator[BadInput]:
    """kubeadm's other documents may have flags for the kubelet, which override its configuration."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _FileConfig:
    """What one file says. Empty texts are not set; ``default_gate`` is the gate if it is not named."""

    gates: Mapping[str, bool]
    topology: TopologyConfig
    node_resources: Mapping[ResourceName, int]
    kubernetes_version: str
    default_gate: bool
    how_to_enable: str


def _read(found: _Found, warnings: list[BadInput]) -> _FileConfig:
    top = {} if found.is_empty or found.is_flags else found.place.mapping()
    arguments: _Arguments = {}
    if found.is_arguments:
        place = top.get("kubeletArguments")
        fields = place.mapping() if place else {}
        arguments = {flag: fields[flag].sequence() for flag in (*_FLAGS, _VERSION_FLAG) if flag in fields}
        gates, topology = _gates_of_arguments(arguments), _topology_of_arguments(arguments)
        counts = list(_pairs(arguments, "node-resource"))
        how = _as_yaml(["kubeletArguments", "feature-gates"], "- DevicePlugins=true", indent=False)
    elif found.is_flags:
        arguments = _flags(found.place)
        fields = {flag: values[-1] for flag, values in arguments.items()}
        gates, topology = _gates_of_arguments(arguments), _topology_of_arguments(arguments)
        counts = list(_pairs(arguments, "node-resource"))
        how = _as_yaml([*found.path], "feature-gates: DevicePlugins=true")
        if not found.place.is_mapping:
            how = _as_yaml([*found.path], "- feature-gates=DevicePlugins=true", indent=False)
    else:
        fields = top
        gates, topology = _gates_of_kubelet(top), _topology_of_kubelet(top)
        by_name = top["nodeResources"].mapping() if "nodeResources" in top else {}
        counts = [(item, name, item.number_text()) for name, item in by_name.items()]
        how = _as_yaml([*found.path, "featureGates"], "DevicePlugins: true")
    is_by_flags = found.is_arguments or found.is_flags
    versions = arguments.get(_VERSION_FLAG, ()) if is_by_flags else [top[_VERSION]] if _VERSION in top else []
    warnings += _misspelt(fields, (*_FLAGS, _VERSION_FLAG) if is_by_flags else (*_KEYS, _VERSION))
    warnings += _misspelt_gates(arguments, fields)
    return _FileConfig(
        gates=gates,
        topology=topology,
        node_resources={name: _node_resource(item, name, count) for item, name, count in counts},
        kubernetes_version=_kubernetes_version(versions[-1]) if versions else "",
        default_gate=not found.is_arguments,
        how_to_enable=how,
    )


def _node_resource(place: Field, name: str, count: str) -> int:
    try:
        return node_resource(name, count)
    except ValueError as error:
        raise place.bad(str(error)) from error


def _kubernetes_version(place: Field) -> str:
    if place.text() and (problem := why_not_a_version(place.text())):
        raise place.bad(f"{problem}, not {place.text()}")
    return place.text()


def _as_yaml(keys: list[str], last: str, *, indent: bool = True) -> str:
    depth = [f"{'  ' * level}{key}{'' if key.endswith('|') else ':'}" for level, key in enumerate(keys)]
    return "\n".join([*depth, f"{'  ' * (len(keys) if indent else len(keys) - 1)}{last}"])


def _misspelt(fields: Mapping[str, Field], known: tuple[str, ...]) -> Iterator[BadInput]:
    for name, place in fields.items():
        is_another = name.lower().replace("-", "") in _KEYS_OF_OTHER_FEATURES
        if name not in known and not is_another and (near := nearest(name, known)):
            yield place.bad(f"unknown key{near}")


def _misspelt_gates(arguments: _Arguments, fields: Mapping[str, Field]) -> Iterator[BadInput]:
    for item, name, _ in _pairs(arguments, "feature-gates"):
        if name != GATE and (near := nearest(name, [GATE])):
            yield item.bad(f"{name} means nothing{near}")
    if "featureGates" in fields:
        yield from _misspelt(fields["featureGates"].mapping(), (GATE,))


# --- flags: each has a list of values ------------------------------------------------------------

_Arguments = Mapping[str, Sequence[Field]]


def _flags(place: Field) -> _Arguments:
    """A mapping of names and values; a list of ``name=value``, or of ``{name: …, value: …}``; or one ``name=value``."""
    if place.is_mapping:
        return {name: [value] for name, value in place.mapping().items()}
    found: dict[str, list[Field]] = {}
    for item in place.sequence() if place.is_list else [place]:
        if item.is_mapping:
            fields = item.mapping()
            name, value = (fields[key] if key in fields else item.with_text("") for key in ("name", "value"))
            found.setdefault(name.text(), []).append(value)
        else:
            flag, _, text = item.text().partition("=")
            found.setdefault(flag.strip(), []).append(item.with_text(text.strip()))
    return found


def _gates_of_arguments(arguments: _Arguments) -> dict[str, bool]:
    """``feature-gates``: each value is one or several ``Name=bool`` with commas between."""
    gates: dict[str, bool] = {}
    for item, name, value in _pairs(arguments, "feature-gates"):
        if value not in _TRUE | _FALSE:
            raise item.bad(f"'{name}={value}' is not a feature gate; write Name=true or Name=false")
        gates[name] = value in _TRUE
    return gates


def _topology_of_arguments(arguments: _Arguments) -> TopologyConfig:
    options = {name: value for _, name, value in _pairs(arguments, "topology-manager-policy-options")}
    last = {name: values[-1] for name, values in arguments.items() if values}
    return TopologyConfig(
        policy=_last(arguments, "topology-manager-policy"),
        scope=_last(arguments, "topology-manager-scope"),
        options=options,
        places=_places(last, "topology-manager-{}".format),
    )


def _last(arguments: _Arguments, flag: str) -> str:
    """The last value of a flag that is given several times, as on a command line."""
    values = arguments.get(flag, ())
    return values[-1].text() if values else ""


_FLAG_VALUES = {
    "feature-gates": "feature gate; write Name=true or Name=false",
    "topology-manager-policy-options": "policy option; write name=value",
    "node-resource": "resource of the node; write NAME=COUNT",
}


def _pairs(arguments: _Arguments, flag: str) -> Iterator[tuple[Field, str, str]]:
    """Every ``name=value`` of a flag, with the item that contains it."""
    for item in arguments.get(flag, ()):
        for pair in item.text().split(","):
            name, equals, value = (part.strip() for part in pair.partition("="))
            if not name or not equals:
                raise item.bad(f"{pair.strip()!r} is not a {_FLAG_VALUES[flag]}")
            yield item, name, value


# --- KubeletConfiguration ------------------------------------------------------------------------


def _gates_of_kubelet(top: Mapping[str, Field]) -> dict[str, bool]:
    if "featureGates" not in top:
        return {}
    return {name: value.boolean() for name, value in top["featureGates"].mapping().items()}


def _text_of(top: Mapping[str, Field], key: str) -> str:
    """An empty text is the same as none, as in every KubeletConfiguration."""
    return top[key].text() if key in top else ""


def _topology_of_kubelet(top: Mapping[str, Field]) -> TopologyConfig:
    options = top["topologyManagerPolicyOptions"].mapping() if "topologyManagerPolicyOptions" in top else {}
    return TopologyConfig(
        policy=_text_of(top, "topologyManagerPolicy"),
        scope=_text_of(top, "topologyManagerScope"),
        options={name: value.text() for name, value in options.items()},
        places=_places(top, lambda setting: f"topologyManager{''.join(map(str.title, setting.split('-')))}"),
    )


def _places(fields: Mapping[str, Field], key_of: Callable[[str], str]) -> dict[str, Field]:
    """Of the settings of the Topology Manager that are written there, and are not empty."""
    keys = {"policy": key_of("policy"), "scope": key_of("scope"), "options": key_of("policy-options")}
    written = {name: fields[key] for name, key in keys.items() if key in fields}
    return {name: place for name, place in written.items() if not place.is_text or place.text()}
