"""Where an object is in the API, and what all of them have."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]
"""An object of Kubernetes, as its JSON."""
NODES = "/api/v1/nodes"
PODS = "/api/v1/pods"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"


def pod_path(pod: Object) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"


def node_path(name: str) -> str:
    return f"{NODES}/{name}"


def lease_path(name: str) -> str:
    return f"{LEASES}/{name}"


def full_name(pod: Object) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def uid_of(found: Object) -> str:
    uid: str = found["metadata"]["uid"]
    return uid


def version_number(found: Object) -> int:
    """The higher, the newer is this state of the object. Answers and watch events come on different ways, so what comes
    later need not be newer.

    Since Kubernetes 1.35 versions of one object can be compared as numbers; before that, they were numbers too.
    """
    version: str = found["metadata"]["resourceVersion"]
    return int(version) if version.isdecimal() else 0


def annotation(found: Object, key: str) -> str | None:
    return (found["metadata"].get("annotations") or {}).get(key)


def status_of(found: Object) -> Object:
    """Empty for an object that has none yet."""
    return found.get("status") or {}
