"""A pod of the API in the words of the manager, and the facts by which it is handled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ...core.views.node_status import is_extended
from ...model import Container, ContainerKind, Pod
from ...quantity import whole_number
from .metadata import Object, annotation, status_of, uid_of
from .times import parse_duration

COMPLETE_AFTER = "devicemgr.dev/complete-after"
"""An annotation: how long after its start a pod ends by itself, with success."""
TERMINATE_AFTER = "devicemgr.dev/terminate-after"
"""An annotation: how long the containers take to end once they are asked to; at most the grace period."""
ENDED = ("Succeeded", "Failed")
CONTAINER_STATUSES = {
    "initContainerStatuses": "initContainers",
    "containerStatuses": "containers",
    "ephemeralContainerStatuses": "ephemeralContainers",
}
"""Fields of a pod's status, and those of its spec that they are about."""


def pod_of(pod: Object) -> Pod:
    """The pod as the manager admits it. The API server has checked it, and knows fields that nobody here does.

    Raises ValueError for a number of devices that no node has, since the API server lets any number pass.
    """
    return Pod(
        name=pod["metadata"]["name"],
        namespace=pod["metadata"]["namespace"],
        uid=uid_of(pod),
        containers=tuple(_containers(pod["spec"])),
    )


def _containers(spec: Object) -> Iterator[Container]:
    for container in spec.get("initContainers") or []:
        is_sidecar = container.get("restartPolicy") == "Always"
        kind = ContainerKind.SIDECAR if is_sidecar else ContainerKind.INIT
        yield Container(name=container["name"], kind=kind, limits=_devices(container))
    for container in spec["containers"]:
        yield Container(name=container["name"], limits=_devices(container))


def device_names(pod: Object) -> set[str]:
    """The resources of which it asks for devices, for however many."""
    spec = pod["spec"]
    containers = [*(spec.get("initContainers") or []), *spec["containers"]]
    return {name for container in containers for name in _limits(container) if is_extended(name)}


def _devices(container: Object) -> Mapping[str, int]:
    return {name: whole_number(str(count)) for name, count in _limits(container).items() if is_extended(name)}


def _limits(container: Object) -> Mapping[str, object]:
    return (container.get("resources") or {}).get("limits") or {}


def has_ended(pod: Object) -> bool:
    return status_of(pod).get("phase") in ENDED


def still_runs(pod: Object) -> bool:
    """Does its status say so of a container, whatever the phase is? Anybody with the permission can set that."""
    status = status_of(pod)
    statuses = (one for key in CONTAINER_STATUSES for one in status.get(key) or [])
    return any((one.get("state") or {}).get("running") for one in statuses)


def is_deleted(pod: Object) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def was_started(pod: Object) -> bool:
    """Has an agent made it run, this one or an earlier one?"""
    return status_of(pod).get("phase") == "Running"


def is_mirror(pod: Object) -> bool:
    """Does it only show a static pod, which a kubelet has from a file? Nobody has asked the API server for it."""
    return annotation(pod, "kubernetes.io/config.mirror") is not None


def order_of_admission(pod: Object) -> tuple[bool, str, str, str]:
    """Those that run already, and then the oldest first."""
    metadata = pod["metadata"]
    return not was_started(pod), metadata.get("creationTimestamp") or "", metadata["namespace"], metadata["name"]


def active_deadline(pod: Object) -> float | None:
    """Seconds after its start at which a pod that still runs is ended, and has failed."""
    found = pod["spec"].get("activeDeadlineSeconds")
    return None if found is None else float(found)


def complete_after(pod: Object) -> float | None:
    """Seconds after its start. Raises ValueError, also for a time without an end."""
    return _duration(pod, COMPLETE_AFTER)


def terminate_after(pod: Object) -> float:
    """Seconds after it was asked to end. Raises ValueError."""
    return _duration(pod, TERMINATE_AFTER) or 0.0


def _duration(pod: Object, key: str) -> float | None:
    text = annotation(pod, key)
    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise ValueError(f"annotation {key}: {error}") from None


def grace_period(pod: Object) -> float:
    """Seconds that the containers have to end, once the pod is deleted."""
    metadata, spec = pod["metadata"], pod["spec"]
    given = metadata.get("deletionGracePeriodSeconds", spec.get("terminationGracePeriodSeconds", 30))
    return float(given)
