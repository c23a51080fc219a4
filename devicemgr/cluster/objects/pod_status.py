"""The status of a pod, in each of its states, as a strategic merge patch.

Lists of container statuses are replaced as a whole, so all of them are always in it. What an earlier agent has written
of a container (how often it was started, since when it runs) is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from operator import itemgetter
from typing import Any, TypeAlias

from .event import NORMAL, WARNING
from .metadata import Object, status_of, uid_of
from .pod import CONTAINER_STATUSES, ENDED
from .pod_conditions import (
    disruption_conditions,
    ended_conditions,
    lost_conditions,
    no_conditions,
    resize_conditions,
    running_conditions,
    waiting_conditions,
)
from .resize import Resources, as_given
from .times import timestamp

Health: TypeAlias = Mapping[str, Mapping[str, Mapping[str, str]]]
"""The health of devices: by container, by resource, by id."""

_POD_ADDRESSES = 0xC6120000
"""198.18.0.0/15, which is for tests of networks: nobody answers there, and it is not loopback, which the API server
does not let be the address of a Service's backend."""
KILLED = 137
"""The exit code of what SIGKILL has ended."""
_LOST = {
    "terminated": {
        "exitCode": KILLED,
        "reason": "ContainerStatusUnknown",
        "message": "The container could not be located when the pod was terminated",
    }
}
"""A container that has never started when its pod has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyEnd:
    """Why the node ends a pod that would run on, in the kubelet's words. It has failed, however its containers end."""

    reason: str
    message: str
    event_type: str = WARNING
    disruption: str = ""
    """What the condition ``DisruptionTarget`` says; without it there is none."""


PAST_DEADLINE = EarlyEnd(
    reason="DeadlineExceeded",
    message="Pod was active on the node longer than the specified deadline",
    event_type=NORMAL,
)
"""``activeDeadlineSeconds``."""
PREEMPTED = EarlyEnd(
    reason="Preempting",
    message="Preempted in order to admit critical pod",
    disruption="Pod was preempted by Kubelet to accommodate a critical pod.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the pod runs. The addresses of a pod do not change."""

    host_ip: str

    def addresses(self, pod: Object) -> Object:
        """The fields of its status that say where it is."""
        of_host = self.host_addresses(pod)
        host = of_host["hostIP"]
        own = status_of(pod).get("podIP") or (host if pod["spec"].get("hostNetwork") else pod_address(uid_of(pod)))
        return {**of_host, "podIP": own, "podIPs": [{"ip": own}]}

    def host_addresses(self, pod: Object) -> Object:
        """Those that it has before it has a network."""
        host = status_of(pod).get("hostIP") or self.host_ip
        return {"hostIP": host, "hostIPs": [{"ip": host}]}


def pod_address(uid: str) -> str:
    """An address that follows from the uid, so that it is the same after a restart."""
    number = int.from_bytes(hashlib.sha256(uid.encode()).digest()[:4], "big") % (2**17 - 2) + 1
    return str(IPv4Address(_POD_ADDRESSES + number))


@dataclass(frozen=True, slots=True, kw_only=True)
class Unstarted:
    """Containers that cannot start now: the kubelet's message about each, which is empty for those that wait for
    another one."""

    problems: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A pod that has been admitted: since when, with which devices, and which of its containers do not run yet."""

    place: Place
    since: float | None = None
    health: Health = field(default_factory=dict)
    unstarted: Unstarted = Unstarted()
    resources: Resources = field(default_factory=dict)
    """What its containers were given, if that may not be what they ask for."""
    resize_problem: str = ""
    """Why they are not given that."""


def running_status(pod: Object, running: Running, *, time: float) -> Object:
    """Admitted; Running, unless a container cannot start: then it stays Pending, whatever else runs."""
    pod, waiting = as_given(pod, running.resources), running.unstarted.problems
    conditions = waiting_conditions(pod, waiting, time=time) if waiting else running_conditions(pod, time=time)
    return _patch(
        pod,
        {
            "phase": "Pending" if waiting else "Running",
            "startTime": _start_time(pod, running, time),
            **running.place.addresses(pod),
            "conditions": conditions + resize_conditions(pod, running.resize_problem, time=time),
            **_given_as_a_whole(pod),
            **_container_statuses(pod, running, timestamp(time)),
        },
    )


def refused_status(pod: Object, *, reason: str, message: str, time: float) -> Object:
    """It may not run here. ``message`` is whole, with the kubelet's "Pod was rejected: ".

    As with a kubelet, nothing is left of what was said before: not that it was scheduled, nor, after a restart of the
    machine, that it ran.
    """
    before = status_of(pod)
    status = {
        "phase": "Failed",
        "reason": reason,
        "message": message,
        "startTime": before.get("startTime") or timestamp(time),
        **dict.fromkeys(_OF_A_RUNNING_POD & before.keys()),
    }
    if removed := no_conditions(pod):
        status["conditions"] = removed
    return _patch(pod, status)


def abandoned_status(pod: Object, place: Place, *, time: float) -> Object:
    """It was deleted before it was admitted. It has failed: some who wait for its end want to see one, and hold it back
    with a finalizer until they have."""
    containers = [one for of in CONTAINER_STATUSES.values() for one in pod["spec"].get(of) or []]
    unstarted = {one["name"]: "" for one in containers}
    running = Running(place=place, unstarted=Unstarted(problems=unstarted))
    return _patch(
        pod,
        {
            "phase": "Failed",
            "startTime": status_of(pod).get("startTime") or timestamp(time),
            **place.host_addresses(pod),
            "conditions": lost_conditions(pod, unstarted, had_sandbox=False, time=time),
            **_container_statuses(pod, running, timestamp(time), exit_code=0),
        },
    )


def ended_status(
    pod: Object, running: Running, *, exit_code: int, early: EarlyEnd | None = None, time: float
) -> Object:
    """All containers have ended; the main ones with this exit code, which decides whether the pod has succeeded. One in
    which a container has never started has not, nor one that was ended ``early``. What somebody else has said of its
    end stays."""
    pod, unstarted = as_given(pod, running.resources), running.unstarted.problems
    said = status_of(pod).get("phase")
    phase = said if said in ENDED else "Failed" if exit_code or early or unstarted else "Succeeded"
    why = {"reason": early.reason, "message": early.message} if early else {}
    conditions = (
        lost_conditions(pod, unstarted, had_sandbox=True, time=time)
        if unstarted and not early
        else ended_conditions(pod, phase, time=time)
    )
    return _patch(
        pod,
        {
            "phase": phase,
            **why,
            "startTime": _start_time(pod, running, time),
            **running.place.addresses(pod),
            "conditions": [
                *conditions,
                *resize_conditions(pod, "", time=time),
                *disruption_conditions(pod, early.disruption if early else "", time=time),
            ],
            **_given_as_a_whole(pod),
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


_OF_A_RUNNING_POD = {"hostIP", "hostIPs", "podIP", "podIPs", "resources", "allocatedResources", *CONTAINER_STATUSES}


def _container_statuses(pod: Object, running: Running, now: str, *, exit_code: int | None = None) -> Object:
    """In the kubelet's order: init containers in theirs, and all others by name."""
    made: Object = {}
    for key, of in CONTAINER_STATUSES.items():
        before = {one["name"]: one for one in status_of(pod).get(key) or []}
        containers = pod["spec"].get(of) or []
        statuses = [
            _container_status(pod, one, before.get(one["name"], {}), running, now, of=of, end=exit_code)
            for one in (containers if of == "initContainers" else sorted(containers, key=itemgetter("name")))
        ]
        if statuses:
            made[key] = statuses
    return made


def _container_status(
    pod: Object, container: Object, before: Object, running: Running, now: str, *, of: str, end: int | None
) -> Object:
    """Nobody asks an ephemeral container whether it is ready."""
    name = container["name"]
    is_init, is_ephemeral = of == "initContainers", of == "ephemeralContainers"
    is_once = is_init and container.get("restartPolicy") != "Always"
    problems = running.unstarted.problems
    if name in problems:
        is_lost = end is not None and name in _failed_unstarted(pod, problems)
        why = problems[name] if end is None else ""  # a kubelet forgets it when a pod is not to be started any more
        state, ready = _LOST if is_lost else _waiting(pod, why), False
    elif is_once or end is not None:
        state, ready = _terminated(pod, name, before, now, 0 if is_once else end or 0), is_once
    else:
        state, ready = {"running": {"startedAt": _started_at(before, now)}}, not is_ephemeral
    status: Object = {
        "lastState": {},
        "restartCount": 0,
        **before,
        "name": name,
        "image": container.get("image") or "",
        "imageID": container.get("image") or "",
        "ready": ready,
        "started": None if is_ephemeral else "running" in state,
        "state": state,
        "allocatedResourcesStatus": _resource_health(running.health.get(name) or {}),
        "volumeMounts": [_mount(one) for one in container.get("volumeMounts") or []],
    }
    if name not in problems:
        resources = _resources(pod, container)
        status["containerID"] = _container_id(pod, name)
        status["resources"], status["allocatedResources"] = resources, resources.get("requests") or {}
    return {key: value for key, value in status.items() if value not in ([], None)}


def _resources(pod: Object, container: Object) -> Object:
    """Where it has no limit of its own, it has that of the pod as a whole."""
    own = container.get("resources") or {}
    of_pod = (pod["spec"].get("resources") or {}).get("limits") or {}
    limits = {name: of_pod[name] for name in ("cpu", "memory") if name in of_pod} | (own.get("limits") or {})
    return {**own, "limits": limits} if limits else own


def _given_as_a_whole(pod: Object) -> Object:
    resources = pod["spec"].get("resources")
    return {"resources": resources, "allocatedResources": resources.get("requests") or {}} if resources else {}


def _failed_unstarted(pod: Object, problems: Container[str]) -> set[str]:
    """Of the containers that have not started when a pod ends, those that count as failed.

    Source: ``hasPodInitialized`` and ``initializedContainers`` of ``pkg/kubelet/status/status_manager.go``.
    """
    init = [one["name"] for one in pod["spec"].get("initContainers") or []]
    waiting = [name for name in init if name in problems]
    if not waiting:
        return {one["name"] for one in pod["spec"]["containers"]}
    return {init[0]} if waiting == init else set()


def _mount(mount: Object) -> Object:
    """A volume, as a container without a runtime that could make all of it read-only has it."""
    read_only = {"readOnly": True, "recursiveReadOnly": "Disabled"} if mount.get("readOnly") else {}
    return {"name": mount["name"], "mountPath": mount["mountPath"], **read_only}


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


def _waiting(pod: Object, problem: str) -> Object:
    if problem:
        return {"waiting": {"reason": "CreateContainerConfigError", "message": problem}}
    return {"waiting": {"reason": "PodInitializing" if pod["spec"].get("initContainers") else "ContainerCreating"}}


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
    if is_now == wanted:
        return True
    if isinstance(wanted, dict):
        there = is_now if isinstance(is_now, dict) else {}
        return all(is_shown(there.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list) and wanted and isinstance(wanted[0], dict) and "type" in wanted[0]:
        by_type = {one["type"]: one for one in is_now or []}
        return all(is_shown(by_type.get(one["type"]), one) for one in wanted)
    if isinstance(wanted, list):
        return len(is_now or []) == len(wanted) and all(map(is_shown, is_now or [], wanted))
    return not is_now and not wanted
