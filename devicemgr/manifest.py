"""Manifests: YAML or JSON → :class:`~devicemgr.model.Pod`, by the API server's rules for extended resources (ALLOC-4).

Only what matters for devices is read. A quantity must be a whole number that is not negative, and a request must
equal its limit: extended resources cannot be overcommitted. Everything else of a manifest is the API server's affair,
but a field that pods do not have is told: devices that were asked for under a misspelt name would be missed late.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import BadInput
from .model import Container, ContainerKind, Pod, PodUid, ResourceName
from .names import why_not_extended
from .pod_kinds import (
    CONTAINER_FIELDS,
    KINDS,
    METADATA_FIELDS,
    NATIVE_RESOURCES,
    OBJECT_FIELDS,
    RESOURCES_FIELDS,
    SPEC_FIELDS,
    Kind,
    Owner,
    generated_name,
)
from .quantity import whole_number
from .yaml_text import Field, dump, load_documents, nearest

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(rf"{_LABEL.pattern}(\.{_LABEL.pattern})*")


@dataclass(slots=True)
class Manifest:
    """What files say: the pods, in order; a line about each object without pods; and one about each field that pods
    do not have, which counts for nothing."""

    pods: list[Pod] = field(default_factory=list)
    skipped: list[BadInput] = field(default_factory=list)
    doubts: list[BadInput] = field(default_factory=list)


def parse_manifest(sources: Iterable[tuple[str, str]], *, replicas: int = 1) -> Manifest:
    """Everything in ``sources``, which are (file, text), with ``replicas`` pods of each kind that can have several.

    Raises BadInput naming file, line and field; also when there is no pod in any of them.
    """
    reader, files, problem = _Reader(replicas), [], "here is no pod: the text is empty"
    for file, text in sources:
        files.append(file)
        for document in load_documents(text, file=file):
            problem = "here is no pod"
            reader.read(document)
    if not reader.found.pods:
        raise reader.refusal or BadInput(problem, file=", ".join(files))
    return reader.found


def parse_pods(text: str, *, file: str) -> list[Pod]:
    """All pods of a manifest. Raises BadInput; also for a field that pods do not have, since nobody would be told."""
    found = parse_manifest([(file, text)])
    if found.doubts:
        raise found.doubts[0]
    return found.pods


def as_pod(pod: Pod | Mapping[str, Any] | str) -> Pod:
    """A pod from what people have at hand: a value, a manifest as a dictionary, or as YAML. Raises BadInput."""
    if isinstance(pod, Pod):
        return pod
    pods = parse_pods(pod if isinstance(pod, str) else dump(pod), file="pod")
    if len(pods) != 1:
        raise BadInput(f"here are {len(pods)} pods; give one", file="pod")
    return pods[0]


class _Reader:
    """Collects what is found. ``refusal`` is what to say when it is no pod at all."""

    def __init__(self, replicas: int) -> None:
        self.found = Manifest()
        self.refusal: BadInput | None = None
        self._replicas = replicas
        self._generated: Counter[str] = Counter()

    def read(self, document: Field) -> None:
        """A document: one object, or a list of them."""
        top = document.mapping()
        kind = _required(document, top, "kind").text()
        if not kind.endswith("List"):
            self._object(document, top, kind)
            return
        for item in top["items"].sequence() if "items" in top else ():
            fields = item.mapping()  # those of a PodList need not say that they are pods
            own = fields["kind"].text() if "kind" in fields else kind.removesuffix("List")
            self._object(item, fields, own)

    def _object(self, item: Field, top: dict[str, Field], name: str) -> None:
        if not name:
            raise item.bad("kind is missing")
        if name in KINDS:
            self._pods(item, top, KINDS[name])
            return
        place, near = top.get("kind", item), nearest(name, KINDS)
        makers = ", ".join(kind for kind in KINDS if kind != "Pod")
        self.refusal = self.refusal or place.bad(f"must be Pod, not {name!r}, or what makes pods: {makers}{near}")
        line = place.bad(f"{name!r} is skipped: it is not Pod, and has no pods that are known here{near}")
        (self.found.doubts if near else self.found.skipped).append(line)

    def _pods(self, item: Field, top: dict[str, Field], kind: Kind) -> None:
        owner = self._owner(item, top)
        place, fields = item, top
        for key in kind.template:
            place = _required(place, fields, key)
            fields = place.mapping()
        self._known(fields, OBJECT_FIELDS)
        containers = tuple(self._containers(_required(place, fields, "spec")))
        for index in range(1 if kind.is_single else self._replicas):
            name = kind.pod_name(owner, index)
            uid = owner.uid if kind is KINDS["Pod"] and owner.uid else _derived_uid(owner.namespace, name)
            self.found.pods.append(Pod(name=name, namespace=owner.namespace, uid=PodUid(uid), containers=containers))

    def _owner(self, item: Field, top: dict[str, Field]) -> Owner:
        metadata = _required(item, top, "metadata")
        meta = metadata.mapping()
        self._known(meta, METADATA_FIELDS)
        namespace = _dns_name(meta["namespace"], _LABEL, 63) if "namespace" in meta else "default"
        if "generateName" in meta and "name" not in meta:
            name = self._generated_name(namespace, meta["generateName"])
        else:
            name = _dns_name(_required(metadata, meta, "name"), _SUBDOMAIN, 253)
        uid = meta["uid"].text() if "uid" in meta else ""
        return Owner(namespace=namespace, name=name, uid=uid, spec=_required(item, top, "spec").mapping())

    def _generated_name(self, namespace: str, base: Field) -> str:
        """Another one each time, as the API server makes it."""
        seed = f"{namespace}/{base.text()}"
        self._generated[seed] += 1
        name = generated_name(base.text(), f"{seed}#{self._generated[seed]}")
        if not _SUBDOMAIN.fullmatch(name):
            raise base.bad(f"{base.text()!r} begins no valid name: lower-case letters, digits and '-'")
        return name

    def _known(self, fields: Mapping[str, Field], known: frozenset[str]) -> None:
        for name in fields:
            if name not in known:
                self.found.doubts.append(fields[name].bad(f"there is no such field{nearest(name, known)}"))

    def _containers(self, spec: Field) -> Iterator[Container]:
        """Init containers and sidecars as declared, then the main ones; a name stands once in a pod (ALLOC-14)."""
        fields = spec.mapping()
        self._known(fields, SPEC_FIELDS)
        main = _required(spec, fields, "containers")
        if not main.sequence():
            raise main.bad("needs at least one container")
        names: set[str] = set()
        for key in ("initContainers", "containers"):
            for item in fields[key].sequence() if key in fields else ():
                container = self._container(item, is_init=key == "initContainers")
                if container.name in names:
                    raise item.bad(f"the container name {container.name!r} stands twice")
                names.add(container.name)
                yield container

    def _container(self, item: Field, *, is_init: bool) -> Container:
        fields = item.mapping()
        self._known(fields, CONTAINER_FIELDS)
        resources = fields["resources"].mapping() if "resources" in fields else {}
        self._known(resources, RESOURCES_FIELDS)
        limits, requests = self._extended(resources.get("limits")), self._extended(resources.get("requests"))
        _check_requests(limits, requests)
        return Container(
            name=_dns_name(_required(item, fields, "name"), _LABEL, 63),
            kind=_container_kind(fields, is_init=is_init),
            limits={resource: count for resource, (count, _) in limits.items()},
        )

    def _extended(self, resources: Field | None) -> dict[ResourceName, tuple[int, Field]]:
        """The extended resources of a limits or requests mapping; native ones (cpu, memory …) are left out."""
        found: dict[ResourceName, tuple[int, Field]] = {}
        for name, place in resources.mapping().items() if resources is not None else ():
            if "/" not in name and name not in NATIVE_RESOURCES and not name.startswith("hugepages-"):
                near = nearest(name, NATIVE_RESOURCES) or "; device plug-ins have names like vendor.com/gpu"
                self.found.doubts.append(place.bad(f"there is no such resource{near}"))
            elif "/" in name and "kubernetes.io/" not in name:
                if problem := why_not_extended(name):
                    raise place.bad(f"{name!r} is no extended resource name: {problem}")
                found[ResourceName(name)] = (_whole_number(place), place)
        return found


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


def _container_kind(fields: Mapping[str, Field], *, is_init: bool) -> ContainerKind:
    if not is_init:
        return ContainerKind.MAIN
    always = "restartPolicy" in fields and fields["restartPolicy"].text() == "Always"
    return ContainerKind.SIDECAR if always else ContainerKind.INIT


def _check_requests(
    limits: Mapping[ResourceName, tuple[int, Field]], requests: Mapping[ResourceName, tuple[int, Field]]
) -> None:
    for resource, (count, place) in requests.items():
        if resource not in limits:
            raise place.bad(f"a limit must be set too: {resource} cannot be overcommitted")
        if count != limits[resource][0]:
            raise place.bad(f"must be equal to the limit of {limits[resource][0]}: {resource} cannot be overcommitted")


def _whole_number(field: Field) -> int:
    try:
        return whole_number(field.number_text())
    except ValueError as error:
        raise field.bad(str(error)) from error
