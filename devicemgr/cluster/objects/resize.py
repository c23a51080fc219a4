"""In-place resize: a pod that runs asks for other cpu and memory than it was given.

What it was given last is in its status, so it is known after a restart, too.
Source: ``pkg/kubelet/allocation/allocation_manager.go`` and ``pkg/kubelet/events/resize.go``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from .metadata import Object, status_of

Resources: TypeAlias = Mapping[str, Object]
"""Requests and limits of each container, by its name, and of the pod as a whole by the empty one."""

WHOLE = ""
RESIZE_PENDING = "PodResizePending"
_SPECS = ("initContainers", "containers")


def asked(pod: Object) -> Resources:
    """What it asks for by now."""
    of_containers = {one["name"]: _filled(one.get("resources")) for one in _containers(pod)}
    return {WHOLE: _filled(pod["spec"].get("resources")), **of_containers}


def given(pod: Object) -> Resources:
    """What it was given, as its status says; what that does not say is what it asks for."""
    status = status_of(pod)
    statuses = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    known = {one["name"]: _said(one) for one in statuses if "resources" in one}
    if "resources" in status and pod["spec"].get("resources"):  # a kubelet says there what all containers have together
        known[WHOLE] = _said(status)
    return {name: known.get(name, wanted) for name, wanted in asked(pod).items()}


def _said(status: Object) -> Object:
    """A kubelet says of limits what the kernel makes of them."""
    resources = status["resources"]
    requests = status.get("allocatedResources") or resources.get("requests")
    return _filled({"limits": resources.get("limits"), "requests": requests})


def as_given(pod: Object, resources: Resources) -> Object:
    """The pod, as if it asked for these."""
    if not resources or resources == asked(pod):
        return pod
    spec = {
        kind: [{**one, "resources": _with_claims(one, resources[one["name"]])} for one in pod["spec"].get(kind) or []]
        for kind in _SPECS
    }
    return {**pod, "spec": {**pod["spec"], **spec, "resources": resources[WHOLE]}}


def _with_claims(container: Object, resources: Object) -> Object:
    """Those do not change."""
    claims = (container.get("resources") or {}).get("claims")
    return {**resources, "claims": claims} if claims else resources


def resize_message(what: str, pod: Object, problem: str = "") -> str:
    """What the kubelet says in an Event: ``what``, and what the pod asks for."""
    summary = {
        **{
            kind: [{"name": one["name"], "resources": _filled(one.get("resources"))} for one in containers]
            for kind in _SPECS
            if (containers := pod["spec"].get(kind))
        },
        "generation": pod["metadata"].get("generation", 0),
        **({"error": problem} if problem else {}),
    }
    return f"Pod resize {what}: {json.dumps(summary, separators=(',', ':'))}"


def deferred_generation(pod: Object) -> int:
    """The generation of the pod whose resize was put off, as its status says; 0 if there is none."""
    found = _condition(pod)
    return 0 if found is None else int(found.get("observedGeneration") or 0)


def resize_rank(pod: Object) -> tuple[int, bool, str]:
    """Which of several resizes that were put off comes first: by priority, then that of a Guaranteed pod, then the
    oldest."""
    found = _condition(pod) or {}
    is_guaranteed = status_of(pod).get("qosClass") == "Guaranteed"
    return -(pod["spec"].get("priority") or 0), not is_guaranteed, found.get("lastTransitionTime") or "9"


def _condition(pod: Object) -> Object | None:
    return next((one for one in status_of(pod).get("conditions") or [] if one["type"] == RESIZE_PENDING), None)


def _containers(pod: Object) -> Iterator[Object]:
    for kind in _SPECS:
        yield from pod["spec"].get(kind) or []


def _filled(resources: Object | None) -> Object:
    """In the order in which Go writes them."""
    found = resources or {}
    return {key: dict(sorted(found[key].items())) for key in ("limits", "requests") if found.get(key)}
