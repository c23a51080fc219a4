"""Events: what is said of a pod to those who ask why. A repetition counts up the Event that there is."""

from __future__ import annotations

from dataclasses import dataclass

from .metadata import Object
from .times import timestamp

NORMAL, WARNING = "Normal", "Warning"
_LONGEST_MESSAGE = 1024
"""Bytes of a message; the API server takes no more."""


@dataclass(frozen=True, slots=True)
class Remark:
    """What is to be said of a pod. Two that are equal are one Event that happened twice."""

    namespace: str
    name: str
    uid: str
    reason: str
    message: str
    field_path: str = ""
    """The container that it is about, by its place in the pod."""
    type: str = WARNING

    @classmethod
    def about(cls, pod: Object, reason: str, message: str, *, container: str = "", type: str = WARNING) -> Remark:
        metadata, path = pod["metadata"], ""
        if container:
            is_init = any(one["name"] == container for one in pod["spec"].get("initContainers") or [])
            path = f"spec.{'initContainers' if is_init else 'containers'}{{{container}}}"
        return cls(metadata["namespace"], metadata["name"], metadata["uid"], reason, message, path, type)


def new_event(remark: Remark, *, node: str, time: float, suffix: str) -> Object:
    """``suffix`` makes its name one that no other Event has."""
    name = remark.name[:200].rstrip("-.")  # a name of the API has no such end, nor one before a full stop
    now = timestamp(time)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{name}.{suffix}", "namespace": remark.namespace},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": remark.namespace,
            "name": remark.name,
            "uid": remark.uid,
            **({"fieldPath": remark.field_path} if remark.field_path else {}),
        },
        "reason": remark.reason,
        "message": remark.message.encode()[:_LONGEST_MESSAGE].decode(errors="ignore"),
        "type": remark.type,
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "source": {"component": "devicemgr", "host": node},
        "reportingComponent": "devicemgr",
        "reportingInstance": node,
    }


def repeated(event: Object, *, time: float) -> Object:
    """A patch: it has happened once more."""
    return {"count": event["count"] + 1, "lastTimestamp": timestamp(time)}


def events_path(remark: Remark) -> str:
    """The collection that the Event belongs to: that of the pod's namespace."""
    return f"/api/v1/namespaces/{remark.namespace}/events"
