"""Manifests: YAML or JSON → :class:`~devicemgr.model.Pod`, by the API server's rules for extended resources (ALLOC-4).

Only what matters for devices is read. A quantity must be a whole number that is not negative, and a request must
equal its limit: extended resources cannot be overcommitted. The rest of a manifest is left to the API server, except
that unknown fields are warned of: a misspelt field would otherwise show only when the pod lacks its devices.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import BadInput
from ..model import Container, ContainerKind, Pod, ResourceName
from ..quantity import whole_number
from ..resource_names import why_not_extended
from .pod_kinds import (
    CONTAINER_FIELDS,
    KINDS,
    METADATA_FIELDS,
    NATIVE_RESOURCES,
    OBJECT_FIELDS,
    RESOURCES_FIELDS,
    SPEC_FIELDS,
    Kind,
    Workload,
    custom_pod_name,
    generated_name,
    is_built_in,
    pod_templates,
)
from .yaml_fields import Field, dump, load_documents, nearest

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(rf"{_LABEL.pattern}(\.{_LABEL.pattern})*")


@dataclass(slots=True)
class Manifest:
    """What files contain: the pods, in order; ``notes`` about objects without pods and of unknown kinds; ``warnings``
    about fields and resources that are unknown and therefore ignored."""

    pods: list[Pod] = field(default_factory=list)
    notes: list[BadInput] = field(default_factory=list)
    warnings: list[BadInput] = field(default_factory=list)


def parse_manifest(sources: Iterable[tuple[str, str]], *, replicas: int = 1) -> Manifest:
    """The pods of ``sources``, which are (file, text), with ``replicas`` pods of each object that can have several.

    Raises BadInput naming file, line and field; also when there is no pod in any of them.
    """
    reader, files, problem = _Reader(replicas), [], "no pod found: the text is empty"
    for file, text in sources:
        files.append(file)
        for document in load_documents(text, file=file):
            problem = "no pod found"
            reader.read(document)
    if not reader.found.pods:
        raise reader.refusal or BadInput(problem, file=", ".join(files))
    return reader.found


def parse_pods(text: str, *, file: str) -> list[Pod]:
    """All pods of a manifest. Raises BadInput, also for what :func:`parse_manifest` only warns of."""
    found = parse_manifest([(file, text)])
    if found.warnings:
        raise found.warnings[0]
    return found.pods


def as_pod(pod: Pod | Mapping[str, Any] | str) -> Pod:
    """A pod from a value, or from a manifest as a dictionary or as YAML. Raises BadInput."""
    if isinstance(pod, Pod):
        return pod
    try:
        text = pod if isinstance(pod, str) else dump(dict(pod))
    except ValueError as error:
        raise BadInput(str(error), file="pod") from error
    pods = parse_pods(text, file="pod")
    if len(pods) != 1:
        raise BadInput(f"found {len(pods)} pods; give one", file="pod")
    return pods[0]


class _Reader:
    """Collects what is found. ``refusal`` is the error to raise when no pod is found."""

    def __init__(self, replicas: int) -> None:
        self.found = Manifest()
        self.refusal: BadInput | None = None
        self._replicas = replicas
        self._generated: Counter[str] = Counter()

    def read(self, document: Field) -> None:
        """A document: one object, or a list of them."""
        top = document.mapping() if document.is_mapping else {}
        kind = top["kind"].text() if "kind" in top else ""
        if not kind:
            self._skip_non_object(document, top)
        elif not kind.endswith("List"):
            self._read_object(document, top, kind)
        else:
            for item in top["items"].sequence() if "items" in top else ():
                fields = item.mapping()  # those of a PodList need not say that they are pods
                own = fields["kind"].text() if "kind" in fields else kind.removesuffix("List")
                self._read_object(item, fields, own)

    def _skip_non_object(self, document: Field, top: dict[str, Field]) -> None:
        """Other YAML between manifests: a chart's values, a kustomization, a patch. With a spec it is a mistake."""
        if document.is_mapping:
            problem = document.bad("kind is missing")
            if "spec" in top:
                raise problem
        else:
            problem = document.bad(f"must be a mapping, not {document.described()}")
        self.refusal = self.refusal or problem
        self.found.notes.append(document.bad("this is skipped: it has no kind, so it is not a Kubernetes object"))

    def _read_object(self, item: Field, top: dict[str, Field], name: str) -> None:
        if not name:
            raise item.bad("kind is missing")
        is_ours = "apiVersion" not in top or is_built_in(top["apiVersion"].text())
        near = nearest(name, KINDS) if is_ours else ""
        if is_ours and name in KINDS:
            self._read_built_in(item, top, KINDS[name])
        elif not near and (templates := list(pod_templates(item))):
            self._read_custom(item, top, name, templates)
        else:
            self._skip(top.get("kind", item), name, near)

    def _skip(self, place: Field, name: str, near: str) -> None:
        makers = ", ".join(kind for kind in KINDS if kind != "Pod")
        self.refusal = self.refusal or place.bad(
            f"must be Pod, not {name!r}, or a kind that makes pods: {makers}, or an object with pod templates{near}"
        )
        line = place.bad(f"{name!r} is skipped: it is not a Pod, and no known kind that makes pods{near}")
        (self.found.warnings if near else self.found.notes).append(line)

    def _read_custom(self, item: Field, top: dict[str, Field], name: str, templates: list[Field]) -> None:
        place = top.get("kind", item)
        self.found.notes.append(
            place.bad(f"{name!r} is not a known kind: each pod template in it is taken for one pod")
        )
        workload = self._workload(item, top)
        for number, template in enumerate(templates):
            self._add_pods(template, workload, Kind(pod_name=custom_pod_name(number)), is_custom=True)

    def _read_built_in(self, item: Field, top: dict[str, Field], kind: Kind) -> None:
        if kind is KINDS["Pod"] and (ended := _ended(top)):
            self.refusal = self.refusal or ended.bad("this pod has ended: the kubelet does not admit it again")
            self.found.notes.append(ended.bad(f"the pod is skipped: it has ended ({ended.text()})"))
            return
        workload = self._workload(item, top)
        place, fields = item, top
        for key in kind.template:
            place = _required(place, fields, key)
            fields = place.mapping()
        self._add_pods(place, workload, kind)

    def _add_pods(self, place: Field, workload: Workload, kind: Kind, *, is_custom: bool = False) -> None:
        fields = place.mapping()
        if not is_custom:
            self._warn_of_unknown(fields, OBJECT_FIELDS)
        containers = tuple(self._containers(_required(place, fields, "spec"), is_custom=is_custom))
        for index in range(1 if kind.is_single else self._replicas):
            name = kind.pod_name(workload, index)
            uid = workload.uid if kind is KINDS["Pod"] and workload.uid else _derived_uid(workload.namespace, name)
            self.found.pods.append(Pod(name=name, namespace=workload.namespace, uid=uid, containers=containers))

    def _workload(self, item: Field, top: dict[str, Field]) -> Workload:
        metadata = _required(item, top, "metadata")
        meta = metadata.mapping()
        self._warn_of_unknown(meta, METADATA_FIELDS)
        namespace = _dns_name(meta["namespace"], _LABEL, 63) if "namespace" in meta else "default"
        if "generateName" in meta and "name" not in meta:
            name = self._generated_name(namespace, meta["generateName"])
        else:
            name = _dns_name(_required(metadata, meta, "name"), _SUBDOMAIN, 253)
        uid = meta["uid"].text() if "uid" in meta else ""
        return Workload(namespace=namespace, name=name, uid=uid, spec=top["spec"].mapping() if "spec" in top else {})

    def _generated_name(self, namespace: str, base: Field) -> str:
        """A different name each time, as from the API server."""
        seed = f"{namespace}/{base.text()}"
        self._generated[seed] += 1
        name = generated_name(base.text(), f"{seed}#{self._generated[seed]}")
        if not _SUBDOMAIN.fullmatch(name):
            raise base.bad(f"{base.text()!r} does not begin a valid name: lower-case letters, digits and '-'")
        return name

    def _warn_of_unknown(self, fields: Mapping[str, Field], known: frozenset[str]) -> None:
        for name in fields:
            if name not in known:
                self.found.warnings.append(fields[name].bad(f"unknown field{nearest(name, known)}"))

    def _containers(self, spec: Field, *, is_custom: bool) -> Iterator[Container]:
        """Init containers and sidecars as declared, then the main ones, each with a name of its own (ALLOC-14).

        In a custom object they need no name, and may have fields that only its controller knows.
        """
        fields = spec.mapping()
        if not is_custom:
            self._warn_of_unknown(fields, SPEC_FIELDS)
        if "resources" in fields:
            self._check_pod_level_resources(fields["resources"])
        main = _required(spec, fields, "containers")
        if not main.sequence():
            raise main.bad("needs at least one container")
        names: set[str] = set()
        for key in ("initContainers", "containers"):
            for number, item in enumerate(fields[key].sequence() if key in fields else ()):
                container = self._container(
                    item, is_init=key == "initContainers", name=f"container-{number}" if is_custom else ""
                )
                if container.name in names:
                    raise item.bad(f"the container name {container.name!r} appears twice")
                names.add(container.name)
                yield container

    def _check_pod_level_resources(self, resources: Field) -> None:
        """A pod as a whole cannot request devices: the API server refuses that."""
        asked = resources.mapping()
        self._warn_of_unknown(asked, RESOURCES_FIELDS)
        for key in ("limits", "requests"):
            for name, place in asked[key].mapping().items() if key in asked else ():
                if name not in ("cpu", "memory") and not name.startswith("hugepages-"):
                    raise place.bad(
                        f"unsupported value {name!r} for a whole pod, supported are cpu, memory and hugepages-…; "
                        "put it into the limits of a container"
                    )

    def _container(self, item: Field, *, is_init: bool, name: str) -> Container:
        """``name`` is used if it has none."""
        fields = item.mapping()
        self._warn_of_unknown(fields, CONTAINER_FIELDS)
        resources = fields["resources"].mapping() if "resources" in fields else {}
        self._warn_of_unknown(resources, RESOURCES_FIELDS)
        limits, requests = (
            self._extended_resources(resources.get("limits")),
            self._extended_resources(resources.get("requests")),
        )
        _check_requests(limits, requests)
        return Container(
            name=name if name and "name" not in fields else _dns_name(_required(item, fields, "name"), _LABEL, 63),
            kind=_container_kind(fields, is_init=is_init),
            limits={resource: count for resource, (count, _) in limits.items()},
        )

    def _extended_resources(self, resources: Field | None) -> dict[ResourceName, tuple[int, Field]]:
        """The extended resources of a limits or requests mapping; native ones (cpu, memory …) are left out."""
        found: dict[ResourceName, tuple[int, Field]] = {}
        for name, place in resources.mapping().items() if resources is not None else ():
            if "/" not in name and name not in NATIVE_RESOURCES and not name.startswith("hugepages-"):
                near = nearest(name, NATIVE_RESOURCES) or "; device plug-ins have names like vendor.com/gpu"
                self.found.warnings.append(place.bad(f"unknown resource{near}"))
            elif "kubernetes.io/" in name:
                self.found.notes.append(place.bad(f"{name} is ignored: no device plug-in can provide it"))
            elif "/" in name:
                if problem := why_not_extended(name):
                    raise place.bad(f"{name!r} is not an extended resource name: {problem}")
                found[name] = (_whole_number(place), place)
        return found


def _derived_uid(namespace: str, name: str) -> str:
    """A uid made from the pod's name, so that admitting the same file twice means the same pod."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"pod:{namespace}/{name}"))


def _ended(top: Mapping[str, Field]) -> Field | None:
    """The phase of a pod that has ended: it holds nothing (CC-106)."""
    status = top["status"].mapping() if "status" in top else {}
    phase = status.get("phase")
    return phase if phase is not None and phase.text() in ("Succeeded", "Failed") else None


def _dns_name(field: Field, pattern: re.Pattern[str], longest: int) -> str:
    text = field.text()
    if not pattern.fullmatch(text) or len(text) > longest:
        raise field.bad(f"{text!r} is not a valid name: lower-case letters, digits and '-', at most {longest}")
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
