"""The status of a pod, in each of its states, as a strategic merge patch.

Lists of container statuses are replaced as a whole, so all of them are always in it. What an earlier agent has written
of a container (how often it was started, since when it runs) is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any, TypeAlias

from .metadata import Object, status_of, uid_of
from .pod_conditions import ended_conditions, running_conditions, waiting_conditions
from .times import timestamp

Health: TypeAlias = Mapping[str, Mapping[str, Mapping[str, str]]]
"""The health of devices: by container, by resource, by id."""

_POD_ADDRESSES = 0xC6120000
"""198.18.0.0/15, which is for tests of networks: nobody answers there, and it is not loopback, which the API server
does not let be the address of a Service's backend."""
KILLED = 137
"""The exit code of what SIGKILL has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the pod runs. The addresses of a pod do not change."""

    host_ip: str

    def addresses(self, pod: Object) -> Object:
        before = status_of(pod)
        host = before.get("hostIP") or self.host_ip
        own = before.get("podIP") or (host if pod["spec"].get("hostNetwork") else pod_address(uid_of(pod)))
        return {"hostIP": host, "hostIPs": [{"ip": host}], "podIP": own, "podIPs": [{"ip": own}]}


def pod_address(uid: str) -> str:
    """An address that follows from the uid, so that it is the same after a restart."""
    number = int.from_bytes(hashlib.sha256(uid.encode()).digest()[:4], "big") % (2**17 - 2) + 1
    return str(IPv4Address(_POD_ADDRESSES + number))


@dataclass(frozen=True, slots=True, kw_only=True)
class Unstarted:
    """Containers that cannot start now, with the reason and the kubelet's message of the one that failed."""

    names: frozenset[str]
    failed: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A pod that has been admitted: since when, with which devices, and which of its containers do not run yet."""

    place: Place
    since: float | None = None
    health: Health = field(default_factory=dict)
    unstarted: Unstarted = Unstarted(names=frozenset())


def running_status(pod: Object, running: Running, *, time: float) -> Object:
    """Admitted; Running, unless a container cannot start: then it stays Pending as long as no main one runs."""
    unstarted = running.unstarted
    main = {container["name"] for container in pod["spec"]["containers"]}
    return _patch(
        pod,
        {
            "phase": "Pending" if unstarted.names >= main else "Running",
            "startTime": _start_time(pod, running, time),
            **running.place.addresses(pod),
            "conditions": (
                waiting_conditions(pod, unstarted.names, time=time)
                if unstarted.names
                else running_conditions(pod, time=time)
            ),
            **_container_statuses(pod, running, timestamp(time)),
        },
    )


def refused_status(pod: Object, *, reason: str, message: str, time: float) -> Object:
    """It may not run here. ``message`` is whole, with the kubelet's "Pod was rejected: "."""
    started = status_of(pod).get("startTime") or timestamp(time)
    return _patch(pod, {"phase": "Failed", "reason": reason, "message": message, "startTime": started})


def ended_status(pod: Object, running: Running, *, exit_code: int, time: float) -> Object:
    """All containers have ended; the main ones with this exit code, which decides whether the pod has succeeded."""
    phase = "Failed" if exit_code else "Succeeded"
    return _patch(
        pod,
        {
            "phase": phase,
            "startTime": _start_time(pod, running, time),
            **running.place.addresses(pod),
            "conditions": ended_conditions(pod, phase, time=time),
            **_container_statuses(pod, running, timestamp(time), exit_code=exit_code),
        },
    )


def _start_time(pod: Object, running: Running, now: float) -> str:
    found: str | None = status_of(pod).get("startTime")
    return found or timestamp(now if running.since is None else running.since)


def _patch(pod: Object, status: Object) -> Object:
    """The uid makes it a patch of this pod and of no other one with its name. The resourceVersion is left out, since
    others change other parts of the status at the same time."""
    generation = pod["metadata"].get("generation")
    seen = {"observedGeneration": generation} if generation else {}
    return {"metadata": {"uid": uid_of(pod)}, "status": {**status, **seen}}


def _container_statuses(pod: Object, running: Running, now: str, *, exit_code: int | None = None) -> Object:
    made: Object = {}
    for key, of in (("initContainerStatuses", "initContainers"), ("containerStatuses", "containers")):
        before = {one["name"]: one for one in status_of(pod).get(key) or []}
        is_init = of == "initContainers"
        statuses = [
            _container_status(pod, one, before.get(one["name"], {}), running, now, is_init=is_init, end=exit_code)
            for one in pod["spec"].get(of) or []
        ]
        if statuses:
            made[key] = statuses
    return made


def _container_status(
    pod: Object, container: Object, before: Object, running: Running, now: str, *, is_init: bool, end: int | None
) -> Object:
    name = container["name"]
    is_once = is_init and container.get("restartPolicy") != "Always"
    if name in running.unstarted.names:
        state, ready = _waiting(name, running.unstarted, is_init=is_init), False
    elif is_once or end is not None:
        state, ready = _terminated(pod, name, before, now, 0 if is_once else end or 0), is_once
    else:
        state, ready = {"running": {"startedAt": _started_at(before, now)}}, True
    status: Object = {
        "lastState": {},
        "restartCount": 0,
        **before,
        "name": name,
        "image": container.get("image") or "",
        "imageID": container.get("image") or "",
        "ready": ready,
        "started": "running" in state,
        "state": state,
        "allocatedResourcesStatus": _resource_health(running.health.get(name) or {}),
    }
    if "waiting" not in state:
        status["containerID"] = _container_id(pod, name)
    return {key: value for key, value in status.items() if value != []}


def _started_at(before: Object, now: str) -> str:
    """Since when it runs, or has run."""
    state = before.get("state") or {}
    found: str | None = (state.get("running") or state.get("terminated") or {}).get("startedAt")
    return found or now


def _terminated(pod: Object, name: str, before: Object, now: str, exit_code: int) -> Object:
    """What has ended before has not ended once more."""
    if ended := (before.get("state") or {}).get("terminated"):
        return {"terminated": ended}
    return {
        "terminated": {
            "exitCode": exit_code,
            "reason": "Error" if exit_code else "Completed",
            "startedAt": _started_at(before, now),
            "finishedAt": now,
            "containerID": _container_id(pod, name),
        }
    }


def _waiting(name: str, unstarted: Unstarted, *, is_init: bool) -> Object:
    if name == unstarted.failed:
        return {"waiting": {"reason": "CreateContainerConfigError", "message": unstarted.message}}
    return {"waiting": {"reason": "PodInitializing" if is_init else "ContainerCreating"}}


def _container_id(pod: Object, name: str) -> str:
    return f"devicemgr://{hashlib.sha256(f'{uid_of(pod)}/{name}'.encode()).hexdigest()}"


def _resource_health(resources: Mapping[str, Mapping[str, str]]) -> list[Object]:
    """The API server knows three states of health; what a plug-in says beside them is not healthy."""
    known = ("Healthy", "Unhealthy", "Unknown")
    return [
        {
            "name": name,
            "resources": [
                {"resourceID": id, "health": health if health in known else "Unhealthy"}
                for id, health in devices.items()
            ],
        }
        for name, devices in resources.items()
    ]


def is_shown(is_now: Any, wanted: Any) -> bool:
    """Does ``is_now`` have all that is ``wanted``? The API server adds fields, and leaves out empty ones."""
    if isinstance(wanted, dict):
        there = is_now if isinstance(is_now, dict) else {}
        return all(is_shown(there.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list) and wanted and isinstance(wanted[0], dict) and "type" in wanted[0]:
        by_type = {one["type"]: one for one in is_now or []}
        return all(is_shown(by_type.get(one["type"]), one) for one in wanted)
    if isinstance(wanted, list):
        return len(is_now or []) == len(wanted) and all(map(is_shown, is_now or [], wanted))
    return bool(is_now == wanted) or (not is_now and not wanted)
