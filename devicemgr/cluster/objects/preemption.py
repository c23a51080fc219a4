"""Which pods end so that a critical one may run: as few as possible, and of the least important kinds.

Source: ``pkg/kubelet/preemption/preemption.go``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .metadata import Object, status_of
from .requests import Requests, pod_requests

CRITICAL = 2_000_000_000
"""The priority of ``system-cluster-critical``, and the lowest of a critical pod."""
_KINDS = ("BestEffort", "Burstable", "Guaranteed")


def is_critical(pod: Object) -> bool:
    """May it run at the cost of others?"""
    return priority_of(pod) >= CRITICAL


def priority_of(pod: Object) -> int:
    priority: int = pod["spec"].get("priority") or 0
    return priority


def pods_to_preempt(critical: Object, others: Iterable[Object], missing: Requests) -> list[Object]:
    """Those of ``others`` that have what is ``missing``. Raises ValueError, with the kubelet's words, if all of them
    together have too little."""
    less = [one for one in others if not is_critical(one) or priority_of(one) < priority_of(critical)]
    by_kind = [[one for one in less if status_of(one).get("qosClass") == kind] for kind in _KINDS]
    best_effort, burstable, guaranteed = by_kind
    if left := _without(missing, less):
        raise _too_little(left)
    # Each kind gives what the kinds below cannot, and then those give only what is still missing.
    guaranteed = _chosen(guaranteed, _without(missing, best_effort + burstable))
    burstable = _chosen(burstable, _without(missing, best_effort + guaranteed))
    best_effort = _chosen(best_effort, _without(missing, burstable + guaranteed))
    return best_effort + burstable + guaranteed


def _chosen(pods: Sequence[Object], missing: Requests) -> list[Object]:
    """One after the other, the pod that leaves the least missing; of several, the smallest."""
    left, chosen = list(pods), []
    while missing:
        if not left:
            raise _too_little(missing)
        best = min(left, key=lambda one: (_distance(one, missing), _request(one, "memory"), _request(one, "cpu")))
        left.remove(best)
        chosen.append(best)
        missing = _without(missing, [best])
    return chosen


def _distance(pod: Object, missing: Requests) -> float:
    """What would still be missing, so that each resource weighs the same."""
    return sum((max(0, count - _request(pod, name)) / count) ** 2 for name, count in missing.items())


def _without(missing: Requests, pods: Iterable[Object]) -> Requests:
    left = Requests(missing)
    for pod in pods:
        left.subtract({name: _request(pod, name) for name in missing})
    return +left


def _request(pod: Object, resource: str) -> int:
    return 1 if resource == "pods" else pod_requests(pod)[resource]


def _too_little(missing: Requests) -> ValueError:
    text = "".join(f"(res: {name}, q: {count}), " for name, count in missing.items())
    return ValueError(f"no set of running pods found to reclaim resources: [{text}]")
