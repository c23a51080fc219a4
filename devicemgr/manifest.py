"""Pod manifests: YAML → :class:`~devicemgr.model.Pod`, with the API server's rules for extended resources (ALLOC-4).

Only what matters for devices is read. A quantity must be a whole number that is not negative, and a request must
equal its limit: extended resources cannot be overcommitted. Everything else of a manifest is the API server's affair.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from .errors import BadInput
from .model import Container, ContainerKind, Pod, PodUid, ResourceName
from .names import why_not_extended
from .yaml_text import Field, dump, load_documents

_QUANTITY = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:[eE]([+-]?[0-9]{1,3})|([KMGTPE]i|[numkMGTPE]))?")
_SUFFIXES = {
    **{suffix: Fraction(1024) ** power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
    **{
        suffix: Fraction(1000) ** power
        for power, suffix in enumerate(("n", "u", "m", "", "k", "M", "G", "T", "P", "E"), -3)
    },
}
_LARGEST = 2**63 - 1
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(rf"{_LABEL.pattern}(\.{_LABEL.pattern})*")


def parse_pods(text: str, *, file: str) -> list[Pod]:
    """All pods of a manifest, several documents allowed. Raises BadInput naming file, line and field."""
    documents = load_documents(text, file=file)
    if not documents:
        raise BadInput("here is no pod: the text is empty", file=file)
    return [_pod(document) for document in documents]


def as_pod(pod: Pod | Mapping[str, Any] | str) -> Pod:
    """A pod from what people have at hand: a value, a manifest as a dictionary, or as YAML. Raises BadInput."""
    if isinstance(pod, Pod):
        return pod
    pods = parse_pods(pod if isinstance(pod, str) else dump(pod), file="pod")
    if len(pods) != 1:
        raise BadInput(f"here are {len(pods)} pods; give one", file="pod")
    return pods[0]


def _pod(document: Field) -> Pod:
    top = document.mapping()
    kind = _required(document, top, "kind")
    if kind.text() != "Pod":
        raise kind.bad(f"must be Pod, not {kind.text()!r}")
    metadata = _required(document, top, "metadata")
    meta = metadata.mapping()
    name = _dns_name(_required(metadata, meta, "name"), _SUBDOMAIN, 253)
    namespace = _dns_name(meta["namespace"], _LABEL, 63) if "namespace" in meta else "default"
    spec = _required(document, top, "spec")
    containers = tuple(_containers(spec))
    return Pod(
        name=name,
        namespace=namespace,
        uid=PodUid(meta["uid"].text() if "uid" in meta else _derived_uid(namespace, name)),
        containers=containers,
    )


def _derived_uid(namespace: str, name: str) -> str:
    """A manifest without uid gets one from its name, so that admitting the same file twice means the same pod."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"pod:{namespace}/{name}"))


def _dns_name(field: Field, pattern: re.Pattern[str], longest: int) -> str:
    text = field.text()
    if not pattern.fullmatch(text) or len(text) > longest:
        raise field.bad(f"{text!r} is no valid name: lower-case letters, digits and '-', at most {longest}")
    return text


def _required(parent: Field, fields: dict[str, Field], key: str) -> Field:
    if key not in fields:
        raise parent.bad(f"{key} is missing")
    return fields[key]


def _containers(spec: Field) -> Iterator[Container]:
    """Init containers and sidecars as declared, then the main ones; a name stands once in a pod (ALLOC-14)."""
    fields = spec.mapping()
    main = _required(spec, fields, "containers")
    if not main.sequence():
        raise main.bad("needs at least one container")
    names: set[str] = set()
    for key in ("initContainers", "containers"):
        for item in fields[key].sequence() if key in fields else ():
            container = _container(item, is_init=key == "initContainers")
            if container.name in names:
                raise item.bad(f"the container name {container.name!r} stands twice")
            names.add(container.name)
            yield container


def _container(item: Field, *, is_init: bool) -> Container:
    fields = item.mapping()
    kind = ContainerKind.MAIN
    if is_init:
        always = "restartPolicy" in fields and fields["restartPolicy"].text() == "Always"
        kind = ContainerKind.SIDECAR if always else ContainerKind.INIT
    resources = fields["resources"].mapping() if "resources" in fields else {}
    limits = _extended(resources.get("limits"))
    requests = _extended(resources.get("requests"))
    for resource, (count, field) in requests.items():
        if resource not in limits:
            raise field.bad(f"a limit must be set too: {resource} cannot be overcommitted")
        if count != limits[resource][0]:
            raise field.bad(f"must be equal to the limit of {limits[resource][0]}: {resource} cannot be overcommitted")
    return Container(
        name=_dns_name(_required(item, fields, "name"), _LABEL, 63),
        kind=kind,
        limits={resource: count for resource, (count, _) in limits.items()},
    )


def _extended(resources: Field | None) -> dict[ResourceName, tuple[int, Field]]:
    """The extended resources of a limits or requests mapping; native ones (cpu, memory …) are left out."""
    if resources is None:
        return {}
    found: dict[ResourceName, tuple[int, Field]] = {}
    for name, field in resources.mapping().items():
        if "/" not in name or "kubernetes.io/" in name:
            continue
        if problem := why_not_extended(name):
            raise field.bad(f"{name!r} is no extended resource name: {problem}")
        found[ResourceName(name)] = (_whole_number(field), field)
    return found


def _whole_number(field: Field) -> int:
    """A Kubernetes quantity that must come out whole: ``2``, ``"2"``, ``2000m`` and ``2k`` do, ``1.5`` does not."""
    text = field.text()
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise field.bad(f"{text!r} is no quantity; write a whole number of devices")
    number, exponent, suffix = match.groups()
    value = Fraction(number) * (Fraction(10) ** int(exponent) if exponent else _SUFFIXES[suffix or ""])
    if value < 0:
        raise field.bad(f"{text} is negative; must be greater than or equal to 0")
    if value.denominator != 1:
        raise field.bad(f"{text} is not a whole number; devices cannot be divided")
    if value > _LARGEST:
        raise field.bad(f"{text} is larger than any node: at most {_LARGEST}")
    return int(value)
