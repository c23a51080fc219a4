"""Events: what is said of a pod or a node to those who ask why. A repetition counts up the Event that there is."""

from __future__ import annotations

from dataclasses import dataclass

from .metadata import Object
from .times import timestamp

WARNING = "Warning"
NORMAL = "Normal"
_LONGEST_MESSAGE = 1024
"""Bytes of a message; the API server takes no more."""


@dataclass(frozen=True, slots=True)
class Remark:
    """What is to be said. Two that are equal are one Event that happened twice."""

    about: tuple[tuple[str, str], ...]
    reason: str
    message: str
    type: str = WARNING


def about_pod(pod: Object) -> tuple[tuple[str, str], ...]:
    metadata = pod["metadata"]
    found = {"apiVersion": "v1", "kind": "Pod", **{key: metadata[key] for key in ("namespace", "name", "uid")}}
    return tuple(found.items())


def about_node(name: str) -> tuple[tuple[str, str], ...]:
    """A kubelet gives the name in place of the uid, and everybody looks for that."""
    return (("apiVersion", "v1"), ("kind", "Node"), ("name", name), ("uid", name))


def new_event(remark: Remark, *, node: str, time: float, suffix: str) -> Object:
    """``suffix`` makes its name a name that no other Event has."""
    about = dict(remark.about)
    name = about["name"][:200].rstrip("-.")  # a name of the API has no such end, nor one before a full stop
    now = timestamp(time)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{name}.{suffix}", "namespace": about.get("namespace", "default")},
        "involvedObject": about,
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
    return f"/api/v1/namespaces/{dict(remark.about).get('namespace', 'default')}/events"
