"""Which differences are known: each is an item of the book, by name.

An item is stated by what it looks like here, as narrowly as that can be put: whatever else differs is a fault, of ours
or of this file. After some of them the sides know different things of a resource, so that everything about it is
different from then on: it is *spoilt*.

What is different because Go walks its maps in random order is no item, and is called :data:`RANDOM`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from .compare import MISSING, Difference
from .history import History
from .story import Admit, EndStream, Handover, Kill, Reboot, Register, Resize, Restart, StartAgain

RANDOM = "Go's order"

Looks = Callable[[Difference, History], bool]

_LOOKS: dict[str, Looks] = {}
_SPOILS = ("LIM-3", "LIM-27", "LIM-42", "LIM-43")
_OF_ADMISSIONS = {
    "kubelet_admission_rejections_total",
    "kubelet_device_plugin_alloc_duration_seconds",
    "kubelet_topology_manager_admission_errors_total",
    "kubelet_container_aligned_compute_resources_count",
    "kubelet_container_aligned_compute_resources_failure_count",
}
"""Metrics that differ once a pod was not treated alike."""


def explain(difference: Difference, history: History) -> str | None:
    """The item that explains the difference; None if there is none, or :data:`RANDOM`."""
    item = _find(difference, history)
    if item in _SPOILS:
        history.spoilt |= dict.fromkeys(about(difference, history), item)
    if isinstance(difference.step, Admit | Restart | Reboot | Handover) and (pod := pod_of(difference, history)):
        history.unequal.setdefault(pod, item)
    if isinstance(difference.step, Admit | Restart | Reboot | Handover | StartAgain | Resize):
        history.uneven = history.uneven or item
    return item


def _find(difference: Difference, history: History) -> str | None:
    for item in _SPOILS:  # also where something passing is spoilt: this is not
        if _LOOKS[item](difference, history):
            return item
    for resource in sorted(about(difference, history)):
        if item := history.spoilt.get(resource):
            return item
    if _is_of(difference, "metrics") and difference.where[2] in _OF_ADMISSIONS and history.uneven:
        return history.uneven
    if difference.where[0] == "calls" and history.unequal:
        return next(iter(history.unequal.values()))
    return next((item for item, looks in _LOOKS.items() if looks(difference, history)), None)


def about(difference: Difference, history: History) -> set[str]:
    """The resources that a difference is about, as far as that can be seen."""
    where = " ".join(difference.where)
    resources = {one for one in history.resources if one in where}
    for plugin in (getattr(difference.step, "plugin", ""), difference.where[-1]):
        if plugin in history.plugins:
            resources.add(history.plugins[plugin].resource)
    if pod := pod_of(difference, history):
        resources |= history.wanted(pod)
    return resources


def pod_of(difference: Difference, history: History) -> str | None:
    """The pod that a difference is about."""
    words = " ".join(difference.where).replace("uid-of-", "").split()
    return next((word for word in words if word in history.met), None)


def _looks(item: str) -> Callable[[Looks], Looks]:
    def note(looks: Looks) -> Looks:
        _LOOKS[item] = looks
        return looks

    return note


def _is_of(difference: Difference, *where: str) -> bool:
    return difference.where[: len(where) + 1] == ("result", *where)


def _refusals(difference: Difference) -> tuple[str, str]:
    """Why the judge refused a pod, and why we did; empty for a side that admitted it, or if this is no such thing."""
    match difference.where:
        case ("result", _):
            return _text(difference.judge), _text(difference.ours)
        case ("result", _, "refused"):
            return _text({"refused": difference.judge}), _text({"refused": difference.ours})
    return "", ""


def _text(admission: Any) -> str:
    refused = admission.get("refused") if isinstance(admission, dict) else None
    return f"{refused['reason']}: {refused['message']}" if refused else ""


def _only_judge_refuses(difference: Difference) -> bool:
    judge, ours = _refusals(difference)
    return bool(judge) and not ours


# --- plug-ins ----------------------------------------------------------------------------------------


@_looks("LIM-42")
def _same_socket(difference: Difference, history: History) -> bool:
    """A socket that registers again is refused."""
    return isinstance(difference.step, Register) and "already connected" in str(difference.judge)


@_looks("LIM-3")
def _failed_on_same_socket(difference: Difference, history: History) -> bool:
    """A registration that failed makes the kubelet forget the plug-in that serves on the same socket."""
    return _is_unnoticed_end(difference) and difference.step.plugin in history.failed


@_looks("LIM-43")
def _crossed(difference: Difference, history: History) -> bool:
    """A plug-in that registers while its old stream ends is forgotten."""
    return _is_unnoticed_end(difference) and difference.step.plugin in history.crossed


def _is_unnoticed_end(difference: Difference) -> bool:
    return isinstance(difference.step, Kill | EndStream) and (difference.judge, difference.ours) == (None, "noticed")


@_looks("LIM-27")
def _elsewhere(difference: Difference, history: History) -> bool:
    """An endpoint is followed wherever it leads."""
    return isinstance(difference.step, Register) and "/" in difference.step.socket and difference.judge is None


@_looks("LIM-29")
def _label(difference: Difference, history: History) -> bool:
    """Registrations of names that are not valid are counted under these names."""
    name = "kubelet_device_plugin_registration_total"
    return _is_of(difference, "metrics", name) and difference.ours == MISSING


@_looks("LIM-16")
def _duplicates(difference: Difference, history: History) -> bool:
    """An id that is listed twice, once healthy and once not, counts twice."""
    for plugin in history.plugins.values():
        ids = [device.id for device in plugin.devices or ()]
        if plugin.resource in about(difference, history) and len(ids) > len(set(ids)):
            return True
    return False


@_looks("LIM-12")
def _empty_topology(difference: Difference, history: History) -> bool:
    """A device with an empty topology is not allocatable; one that is held is not listed either."""
    if not _is_of(difference, "pod-resources") or difference.where[-1] not in history.resources:
        return False
    judge = set() if difference.judge == MISSING else set(difference.judge)
    nowhere = {device.id for device in history.devices(difference.where[-1]) if device.nodes == ()}
    return judge < set(difference.ours) and set(difference.ours) - judge <= nowhere


# --- capacity and status -----------------------------------------------------------------------------


@_looks("LIM-7")
def _health(difference: Difference, history: History) -> bool:
    """Init containers and sidecars have no status; and a device is Healthy where nobody reports it."""
    if not _is_of(difference, "health"):
        return False
    _, _, pod, *place = difference.where
    if difference.judge == MISSING and len(place) <= 1:
        kinds = {name: one.kind for name, one in history.met[pod].named()}
        return all(kinds[container] != "main" for container in place or difference.ours)
    judge, ours = ([one] if isinstance(one, str) else one for one in (difference.judge, difference.ours))
    return len(judge) == len(ours) and all(
        mine in ("Unknown", theirs) for theirs, mine in zip(judge, ours, strict=True)
    )


@_looks("LIM-26")
def _disconnect(difference: Difference, history: History) -> bool:
    """The end of a stream is not written down."""
    return _is_of(difference, "checkpoint", "registered") and not history.is_listed(difference.where[-1])


@_looks("LIM-33")
def _ended_pod(difference: Difference, history: History) -> bool:
    """Devices of a pod that is not there any more are freed later, and then that is not written down. Until then a
    resource that was removed is known by them."""
    if "cannot allocate unregistered device" in _refusals(difference)[0]:
        return bool(about(difference, history) & history.expired)
    if not _is_of(difference, "checkpoint", "entries") or difference.ours != MISSING:
        return False
    return pod_of(difference, history) not in history.pods


# --- allocation --------------------------------------------------------------------------------------


@_looks("LIM-31")
def _unknown_resource(difference: Difference, history: History) -> bool:
    """A pod that asks for a resource of which nobody has sent a list starts without its devices, unless something else
    is wrong, or the node still lists the resource with 0."""
    return "is not known to this node" in _refusals(difference)[1]


@_looks("LIM-15")
def _zero(difference: Difference, history: History) -> bool:
    """A limit of 0 is refused when no device is healthy."""
    pod = pod_of(difference, history)
    return _only_judge_refuses(difference) and any(
        0 in container.limits.values() for container in history.met[str(pod)].containers
    )


@_looks("ALLOC-5a")
def _claimed(difference: Difference, history: History) -> bool:
    """Hints are made for what DRA allocates, and PreStartContainer is called for it."""
    pod = pod_of(difference, history)
    if pod is None or not history.met[pod].claims():
        return False
    affinity = _only_judge_refuses(difference) and "TopologyAffinityError" in _refusals(difference)[0]
    return affinity or "no devices found allocated in local cache" in str(difference.judge)


@_looks("CAP-8")
def _claimed_by_others(difference: Difference, history: History) -> bool:
    """What other pods get from DRA counts as used."""
    claimed = {resource for pod in history.pods.values() for _, resource in pod.claims()}
    judge, ours = _refusals(difference)
    return judge.startswith("OutOf") and not ours and bool(about(difference, history) & claimed)


@_looks("LIM-32")
def _before_its_plugin(difference: Difference, history: History) -> bool:
    """A pod that comes before its plug-in after a reboot fails for good, and does not wait for it. It may be refused in
    other words when it has waited."""
    judge, _ours = _refusals(difference)
    waited = isinstance(difference.step, Reboot) and bool(difference.step.meanwhile)
    return waited and "no healthy devices present" in judge


@_looks("LIM-30")
def _init_container(difference: Difference, history: History) -> bool:
    """After a restart a running pod is refused, because its init container has ended. A pod that runs is aligned once
    more, and counted."""
    if _is_of(difference, "metrics") and "aligned" in difference.where[2]:
        return history.again
    pod = pod_of(difference, history)
    return (
        isinstance(difference.step, Restart | Handover)
        and _only_judge_refuses(difference)
        and any(one.kind == "init" and one.limits for one in history.met[str(pod)].containers)
    )


@_looks("LIM-8")
def _start_after_grace(difference: Difference, history: History) -> bool:
    """After the grace period no container of a plug-in that is gone starts again."""
    return isinstance(difference.step, StartAgain) and bool(about(difference, history) & history.expired)


@_looks("LIM-39")
def _forgotten_options(difference: Difference, history: History) -> bool:
    """After a restart a container starts without the PreStartContainer that its plug-in wants, or may want."""
    away = {
        plugin.resource
        for plugin in history.plugins.values()
        if (plugin.prestart or history.handed_over) and not history.serving(plugin.resource)
    }
    return isinstance(difference.step, StartAgain) and bool(about(difference, history) & away)


@_looks("TM-7")
def _resize(difference: Difference, history: History) -> bool:
    """Hints are made for a resize, too, and may refuse it."""
    resized = isinstance(difference.step, Resize) and difference.ours is None
    return resized and difference.judge["reason"] == "TopologyAffinityError"


@_looks("LIM-22")
def _crash(difference: Difference, history: History) -> bool:
    """A held device that is not listed any more is a crash when hints are made."""
    return difference.where == ("crash",) and "generateDeviceTopologyHints" in difference.judge


@_looks("LIM-13")
def _hints(difference: Difference, history: History) -> bool:
    """Devices without NUMA data satisfy no hint; broken and held ones count for what would be preferred. So one side
    asks for a preference where the other has no choice, or allocates some containers before it refuses the pod."""
    refusals = [text for text in _refusals(difference) if text]
    if history.story.policy == "none" or (refusals and not any("TopologyAffinityError" in text for text in refusals)):
        return False
    asked = {one.name for one in getattr(difference.step, "pods", ())} if difference.where[0] == "calls" else set()
    return any(
        not device.healthy or not device.nodes
        for pod in asked or {pod_of(difference, history)} & history.met.keys()
        for resource in history.wanted(pod)
        for device in history.devices(resource)
    )


@_looks("LIM-9")
def _removed_resource(difference: Difference, history: History) -> bool:
    """Hints go on using the devices of a resource that was removed."""
    if history.story.policy == "none" or not any(_refusals(difference)):
        return False
    return bool(about(difference, history) & history.expired)


@_looks(RANDOM)
def _order(difference: Difference, history: History) -> bool:
    """Which of a container's resources is the first to fail, and who was asked before; and which of a pod's is the
    first that does not fit."""
    several = {pod for pod in history.refused if any(len(one.limits) > 1 for one in history.met[pod].containers)}
    if difference.where[0] == "calls":
        return bool(several)
    texts = _refusals(difference)
    named = [set(re.findall(r"vendor\.com/\w+", text)) for text in texts]  # none in what a plug-in says
    in_question = pod_of(difference, history) in several or all(text.startswith("OutOf") for text in texts)
    return in_question and named[0] != named[1]
