"""A story's pods as the API server has them, and what their status, the kubelet's log and the runtime say of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from devicemgr.cluster.objects.metadata import Object
from tests.oracle.side import Refusal
from tests.oracle.story import Pod

from .log import Entry, Log

NODE = "node"
"""The node of every story."""
PODS = "/api/v1/namespaces/default/pods"
_REJECTED = "Pod was rejected: "
"""What the kubelet writes before the message of whoever refused the pod."""
_OF_THE_KUBELET = ("KUBERNETES_", "io.kubernetes.", "/etc/hosts", "/dev/termination-log")
"""Beginnings of what a container gets from the kubelet itself."""


def kubernetes_pod(pod: Pod) -> Object:
    """Bound to the node past the scheduler, with nothing that needs a controller. It has a second to end, since a pod
    that has none is gone from the API server before the kubelet has heard of it."""
    manifest = pod.manifest()
    kinds = {name: container.kind for name, container in pod.named()}
    for container in manifest["spec"].get("initContainers", []):
        if kinds[container["name"]] == "init":
            container["command"] = ["exit"]  # which the pretended runtime does at once
    manifest["spec"] |= {
        "nodeName": NODE,
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
    }
    return manifest


# --- its status --------------------------------------------------------------------------------------


def refusal(status: Object) -> Refusal | None:
    return Refusal(status["reason"], status["message"]) if status.get("phase") == "Failed" else None


def all_started(status: Object) -> bool:
    """Does every container run, or has it ended?"""
    states = [one["state"] for one in container_statuses(status).values()]
    return bool(states) and not any("waiting" in state for state in states)


def restarts(status: Object) -> dict[str, int]:
    """By container: how often it was started again."""
    return {name: one["restartCount"] for name, one in container_statuses(status).items()}


def device_health(status: Object) -> dict[str, Any]:
    """By container, resource and device."""
    return {
        name: {
            resource["name"]: {one["resourceID"]: one["health"] for one in resource["resources"]}
            for resource in container.get("allocatedResourcesStatus", [])
        }
        for name, container in container_statuses(status).items()
    }


def container_statuses(status: Object) -> dict[str, Object]:
    all_of_them = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    return {one["name"]: one for one in all_of_them}


# --- the kubelet's log -------------------------------------------------------------------------------


FAILED_START = "Unhandled Error"
"""The kind of entry that tells of one, among other things."""


def logged_refusal(log: Log, uid: str) -> Refusal | None:
    for entry in log.of("Pod admission denied"):
        if entry["podUID"] == uid:
            return Refusal(entry["reason"], _REJECTED + entry["message"])
    return None


def failures(entries: Sequence[Entry], uid: str) -> dict[str, str]:
    """By container: why it was not started at last. In such an entry it says ``container c1 start failed in pod
    p_default(1b7e…): CreateContainerConfigError: the device plug-in …``."""
    found = {}
    for entry in entries:
        what, failed, reason = str(entry.get("err")).partition(f"({uid}): ")
        words = what.split()
        if failed and "start failed in pod" in what:
            found[words[words.index("start") - 1]] = reason.partition(": ")[2]
    return found


# --- the runtime's log -------------------------------------------------------------------------------


def options_of(runtime: Log, pod: str, container: str) -> dict[str, Any] | None:
    """What the runtime was told to give to the container when it was last created, as far as plug-ins want it; None if
    they want nothing."""
    created = [one for one in runtime.of("created") if (one["pod"], one["container"]) == (pod, container)]
    config = created[-1]["config"]
    options = {
        "envs": {one["key"]: one.get("value", "") for one in config.get("envs", []) if _is_foreign(one["key"])},
        "annotations": {key: value for key, value in config.get("annotations", {}).items() if _is_foreign(key)},
        "mounts": sorted(
            f"{one['container_path']}|{one['host_path']}|{str(one.get('readonly', False)).lower()}"
            for one in config.get("mounts", [])
            if _is_foreign(one["container_path"])
        ),
        "devices": sorted(
            f"{one['container_path']}|{one['host_path']}|{one['permissions']}" for one in config.get("devices", [])
        ),
        "cdi": sorted(one["name"] for one in config.get("CDI_devices", [])),
    }
    return options if any(options.values()) else None


def _is_foreign(name: str) -> bool:
    return not name.startswith(_OF_THE_KUBELET)
