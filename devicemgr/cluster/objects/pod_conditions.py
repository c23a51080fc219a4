"""The conditions of a pod that a kubelet owns. Those of others are neither sent nor lost: a patch merges them by type.

Source: ``pkg/kubelet/status/generate.go``.
"""

from __future__ import annotations

from collections.abc import Iterable

from .metadata import Object, status_of
from .times import timestamp

READY_TO_START = "PodReadyToStartContainers"
INITIALIZED = "Initialized"
READY = "Ready"
CONTAINERS_READY = "ContainersReady"
SCHEDULED = "PodScheduled"


def running_conditions(pod: Object, *, time: float) -> list[Object]:
    """All containers run; whether the pod is ready is also for its readiness gates to say."""
    states = dict.fromkeys((READY_TO_START, INITIALIZED, READY, CONTAINERS_READY, SCHEDULED), ("True", "", ""))
    if problems := list(_closed_gates(pod)):
        states[READY] = "False", "ReadinessGatesNotReady", ", ".join(problems)
    return _conditions(pod, states, time)


def waiting_conditions(pod: Object, waiting: Iterable[str], *, time: float) -> list[Object]:
    """Containers ``waiting`` cannot start now: the main ones are not ready, and init containers are incomplete."""
    names = set(waiting)
    init = [one["name"] for one in pod["spec"].get("initContainers") or []]
    main = [one["name"] for one in pod["spec"]["containers"]]
    states = {READY_TO_START: ("True", "", ""), INITIALIZED: ("True", "", ""), SCHEDULED: ("True", "", "")}
    if incomplete := [name for name in init if name in names]:
        text = f"containers with incomplete status: [{' '.join(incomplete)}]"
        states[INITIALIZED] = "False", "ContainersNotInitialized", text
    unready = f"containers with unready status: [{' '.join(name for name in main if name in names)}]"
    states[READY] = states[CONTAINERS_READY] = "False", "ContainersNotReady", unready
    return _conditions(pod, states, time)


def ended_conditions(pod: Object, phase: str, *, time: float) -> list[Object]:
    """All containers have ended."""
    reason = "PodCompleted" if phase == "Succeeded" else "PodFailed"
    states = {
        READY_TO_START: ("False", "", ""),
        INITIALIZED: ("True", "PodCompleted" if phase == "Succeeded" else "", ""),
        READY: ("False", reason, ""),
        CONTAINERS_READY: ("False", reason, ""),
        SCHEDULED: ("True", "", ""),
    }
    return _conditions(pod, states, time)


def _conditions(pod: Object, states: dict[str, tuple[str, str, str]], time: float) -> list[Object]:
    """A condition that is as before keeps the time since when it is so."""
    before = {one["type"]: one for one in status_of(pod).get("conditions") or []}
    generation = pod["metadata"].get("generation")
    made = []
    for kind, (status, reason, message) in states.items():
        was = before.get(kind, {})
        since = was.get("lastTransitionTime") if was.get("status") == status else None
        made.append(
            {
                "type": kind,
                "status": status,
                # None removes what the condition has said before.
                "reason": reason or None,
                "message": message or None,
                "lastTransitionTime": since or timestamp(time),
                **({"observedGeneration": generation} if generation else {}),
            }
        )
    return made


def _closed_gates(pod: Object) -> Iterable[str]:
    there = {one["type"]: one["status"] for one in status_of(pod).get("conditions") or []}
    for gate in pod["spec"].get("readinessGates") or []:
        kind = gate["conditionType"]
        if kind not in there:
            yield f'corresponding condition of pod readiness gate "{kind}" does not exist.'
        elif there[kind] != "True":
            yield f'the status of pod readiness gate "{kind}" is not "True", but {there[kind]}'
