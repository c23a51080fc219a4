"""May this pod run here? What a kubelet checks beside devices, in its order and its words.

Source: ``pkg/kubelet/lifecycle/predicate.go``, and ``AdmissionCheck`` of the scheduler.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ...core.views.node_status import InsufficientResource, is_extended
from .metadata import Object
from .node_affinity import matches_node
from .preemption import is_critical
from .requests import Requests, pod_requests
from .tolerations import tolerates

OS = "linux"
_FIRST = ("cpu", "memory", "ephemeral-storage")
"""The order in which the kubelet looks at resources; all others come after these."""


@dataclass(frozen=True, slots=True)
class Misfit:
    """Why a pod may not run here: the reason of the refusal, and its message."""

    reason: str
    message: str
    missing: tuple[str, int] | None = None
    """The resource of which there is too little, and how much that is."""


class Tenants:
    """The pods that have their place on the node, and what they request together."""

    def __init__(self) -> None:
        self._pods: dict[str, tuple[Object, Requests, frozenset[tuple[str, str, int]]]] = {}

    def add(self, pod: Object) -> None:
        """From now on it counts. Once more is the same as once."""
        self._pods[pod["metadata"]["uid"]] = pod, pod_requests(pod), frozenset(_host_ports(pod))

    def __iter__(self) -> Iterator[Object]:
        return (pod for pod, _, _ in self._pods.values())

    def __contains__(self, uid: object) -> bool:
        return uid in self._pods

    def discard(self, uid: str) -> None:
        """It counts no more, if it did."""
        self._pods.pop(uid, None)

    def others(self, pod: Object) -> tuple[int, Requests, set[tuple[str, str, int]]]:
        """How many there are beside this one, what they request, and which ports of the machine they have."""
        others = [one for uid, one in self._pods.items() if uid != pod["metadata"]["uid"]]
        requested: Requests = Requests()
        for _, requests, _ in others:
            requested.update(requests)
        return len(others), requested, {port for _, _, ports in others for port in ports}


def misfits(pod: Object, node: Object, allocatable: Mapping[str, int], tenants: Tenants) -> Iterator[Misfit]:
    """All that is wrong. ``node`` is the Node object; ``allocatable`` has CPU in thousandths.

    What a critical pod lacks is said last, since other pods may have to end for that.
    """
    found = list(_misfits(pod, node, allocatable, tenants))
    yield from sorted(found, key=lambda one: one.missing is not None) if is_critical(pod) else found


def _misfits(pod: Object, node: Object, allocatable: Mapping[str, int], tenants: Tenants) -> Iterator[Misfit]:
    labels = pod["metadata"].get("labels") or {}
    if labels.get("kubernetes.io/os", OS) != OS:
        text = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"
        yield Misfit("PodOSSelectorNodeLabelDoesNotMatch", text)
    if (pod["spec"].get("os") or {}).get("name", OS) != OS:
        yield Misfit("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")
    count, requested, ports = tenants.others(pod)
    for shortage in _shortages(pod_requests(pod), allocatable, count, requested):
        missing = shortage.resource, shortage.requested - (shortage.capacity - shortage.used)
        yield Misfit(shortage.reason, str(shortage), missing)
    if not matches_node(pod, node):
        yield _predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")
    if pod["spec"].get("nodeName", node["metadata"]["name"]) != node["metadata"]["name"]:
        yield _predicate("NodeName", "node(s) didn't match the requested node name")
    if any(_conflicts(port, ports) for port in _host_ports(pod)):
        yield _predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports")
    if not tolerates(pod, node["spec"].get("taints") or [], "NoExecute"):
        yield _predicate("TaintToleration", "node(s) had taints that the pod didn't tolerate")


def _predicate(name: str, problem: str) -> Misfit:
    return Misfit(name, f"Predicate {name} failed: {problem}")


def _shortages(
    wanted: Requests, allocatable: Mapping[str, int], count: int, used: Requests
) -> Iterator[InsufficientResource]:
    """Extended resources that the node does not have at all are not looked at: they may be the cluster's."""
    pods = allocatable.get("pods", 0)
    if count + 1 > pods:
        yield InsufficientResource(resource="pods", requested=1, used=count, capacity=pods)
    others = sorted(name for name in wanted if name in allocatable or not is_extended(name))
    for name in _FIRST + tuple(name for name in others if name not in (*_FIRST, "pods")):
        there = allocatable.get(name, 0)
        if wanted[name] and wanted[name] > there - used[name]:
            yield InsufficientResource(resource=name, requested=wanted[name], used=used[name], capacity=there)


def _host_ports(pod: Object) -> Iterator[tuple[str, str, int]]:
    """(address, protocol, port) of the machine, of each container that is there all the time."""
    spec = pod["spec"]
    sidecars = [one for one in spec.get("initContainers") or [] if one.get("restartPolicy") == "Always"]
    for container in [*sidecars, *spec["containers"]]:
        for port in container.get("ports") or []:
            if port.get("hostPort"):
                yield port.get("hostIP") or "0.0.0.0", port.get("protocol") or "TCP", port["hostPort"]


def _conflicts(port: tuple[str, str, int], taken: Iterable[tuple[str, str, int]]) -> bool:
    """0.0.0.0 is every address."""
    address, *rest = port
    return any(rest == others and (address == other or "0.0.0.0" in (address, other)) for other, *others in taken)
