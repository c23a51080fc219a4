"""The conditions of a pod that a kubelet owns. Those of others are neither sent nor lost: a patch merges them by type.

Source: ``pkg/kubelet/status/generate.go``.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable
from typing import TypeAlias

from .metadata import Object, status_of
from .resize import RESIZE_PENDING
from .times import timestamp

READY_TO_START = "PodReadyToStartContainers"
INITIALIZED = "Initialized"
READY = "Ready"
CONTAINERS_READY = "ContainersReady"
SCHEDULED = "PodScheduled"
DISRUPTION = "DisruptionTarget"
ALL_RESTARTING = "AllContainersRestarting"
States: TypeAlias = dict[str, tuple[str, str, str]]
"""By condition: its status, reason and message."""
_SANDBOX_ENDED = ("False", "PodSandboxNotReady", "pod sandbox is not ready")


def running_conditions(pod: Object, *, time: float) -> list[Object]:
    """All containers run; whether the pod is ready is also for its readiness gates to say."""
    states = dict.fromkeys((READY_TO_START, INITIALIZED, READY, CONTAINERS_READY, SCHEDULED), ("True", "", ""))
    states |= _restarting(pod)
    if problems := list(_closed_gates(pod)):
        states[READY] = "False", "ReadinessGatesNotReady", ", ".join(problems)
    return _conditions(pod, states, time)


def waiting_conditions(pod: Object, waiting: Collection[str], *, time: float) -> list[Object]:
    """Containers ``waiting`` cannot start now: sidecars and main ones are not ready, and init containers incomplete."""
    states = {READY_TO_START: ("True", "", ""), **_unready(pod, incomplete=waiting, unready=waiting)}
    return _conditions(pod, states, time)


def lost_conditions(pod: Object, waiting: Collection[str], *, had_sandbox: bool, time: float) -> list[Object]:
    """All containers have ended, and those ``waiting`` have never started: the kubelet says what is not ready before it
    takes them for failed. What runs all the time would have to be."""
    sandbox = _SANDBOX_ENDED if had_sandbox else ("False", "PodSandboxNotReady", "no pod sandbox exists")
    stay = _those_that_stay(pod)
    init = {one["name"] for one in pod["spec"].get("initContainers") or []}
    incomplete = () if init.isdisjoint(waiting) else (*waiting, *stay)
    states = {READY_TO_START: sandbox, **_unready(pod, incomplete=incomplete, unready=stay)}
    return _conditions(pod, states, time)


def _unready(pod: Object, *, incomplete: Container[str], unready: Container[str]) -> States:
    states = {INITIALIZED: ("True", "", ""), SCHEDULED: ("True", "", ""), **_restarting(pod)}
    init = [one["name"] for one in pod["spec"].get("initContainers") or []]
    if names := [name for name in init if name in incomplete]:
        text = f"containers with incomplete status: [{' '.join(names)}]"
        states[INITIALIZED] = "False", "ContainersNotInitialized", text
    text = f"containers with unready status: [{' '.join(name for name in _those_that_stay(pod) if name in unready)}]"
    states[READY] = states[CONTAINERS_READY] = "False", "ContainersNotReady", text
    return states


def _restarting(pod: Object, reason: str = "") -> States:
    """Of a pod all of whose containers may start again because one has ended, which does not happen here."""
    containers = [*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]
    rules = [rule for one in containers for rule in one.get("restartPolicyRules") or []]
    could = any(rule["action"] == "RestartAllContainers" for rule in rules)
    return {ALL_RESTARTING: ("False", reason, "")} if could else {}


def _those_that_stay(pod: Object) -> list[str]:
    """Sidecars and main containers."""
    sidecars = [one for one in pod["spec"].get("initContainers") or [] if one.get("restartPolicy") == "Always"]
    return [one["name"] for one in [*sidecars, *pod["spec"]["containers"]]]


def ended_conditions(pod: Object, phase: str, *, time: float) -> list[Object]:
    """All containers have ended."""
    reason = "PodCompleted" if phase == "Succeeded" else "PodFailed"
    states = {
        READY_TO_START: _SANDBOX_ENDED,
        INITIALIZED: ("True", "PodCompleted" if phase == "Succeeded" else "", ""),
        READY: ("False", reason, ""),
        CONTAINERS_READY: ("False", reason, ""),
        SCHEDULED: ("True", "", ""),
        **_restarting(pod, reason),
    }
    return _conditions(pod, states, time)


def resize_conditions(pod: Object, problem: str, *, time: float) -> list[Object]:
    """Whether the pod waits for what it asks for by now, because of this ``problem``."""
    if problem:
        return _conditions(pod, {RESIZE_PENDING: ("True", "Deferred", problem)}, time)
    return _removed(pod, {RESIZE_PENDING})


def no_conditions(pod: Object) -> list[Object]:
    """Nothing is said any more."""
    return _removed(
        pod, {READY_TO_START, INITIALIZED, READY, CONTAINERS_READY, SCHEDULED, ALL_RESTARTING, RESIZE_PENDING}
    )


def _removed(pod: Object, kinds: Container[str]) -> list[Object]:
    there = [one["type"] for one in status_of(pod).get("conditions") or []]
    return [{"type": kind, "$patch": "delete"} for kind in there if kind in kinds]


def disruption_conditions(pod: Object, message: str, *, time: float) -> list[Object]:
    """That it was the node that ended the pod, because of others; none without a ``message``."""
    return _conditions(pod, {DISRUPTION: ("True", "TerminationByKubelet", message)}, time) if message else []


def _conditions(pod: Object, states: States, time: float) -> list[Object]:
    """A condition that is as before keeps the time since when it is so."""
    before = {one["type"]: one for one in status_of(pod).get("conditions") or []}
    generation, now = pod["metadata"].get("generation"), timestamp(time)
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
                "lastTransitionTime": since or now,
                # A kubelet does not say it of this one.
                **({"observedGeneration": generation} if generation and kind != ALL_RESTARTING else {}),
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
