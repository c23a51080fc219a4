"""The Node: labels, taint, capacity and conditions, as a kubelet writes them.

Extended resources that the manager does not have may be somebody else's: they are counted, and left alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...core.views.node_status import is_extended
from ...model import NodeStatus
from ...quantity import amount
from ...resource_names import why_not_label
from .metadata import Object, status_of
from .times import timestamp

SIMULATED = "devicemgr.dev/simulated"
"""The key of a label, and of the taint: nothing that is meant for a real machine should come here by itself."""
TAINT = {"key": SIMULATED, "value": "true", "effect": "NoSchedule"}
ANNOTATIONS = {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}
CAPACITY = {"cpu": "16", "memory": "64Gi", "ephemeral-storage": "100Gi", "pods": "110"}

_READY = ("KubeletReady", "devicemgr is posting ready status")
_STOPPED = ("KubeletNotReady", "devicemgr has stopped")
_PRESSURES = (
    ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
)
_RUNTIME_FEATURES = {"supplementalGroupsPolicy": True}
"""What a kubelet is told by its container runtime. With False it would refuse pods that run on any recent machine."""
_DECLARED_IN_BOTH = ("InPlacePodLevelResourcesVerticalScaling", "RestartAllContainersOnContainerExits")
DECLARED_FEATURES = {
    "1.36": _DECLARED_IN_BOTH,
    "1.37": tuple(sorted((*_DECLARED_IN_BOTH, "InPlacePodVerticalScalingInitContainers"))),
}
"""By the version of Kubernetes, what a kubelet with its default gates declares: the scheduler and the API server keep
from other nodes what needs one of these. Left out is ``ExtendWebSocketsToKubelet``, as nobody can speak to containers
here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDescription:
    """What a node is, apart from its devices. ``capacity`` has quantities by name, extended resources not among them.

    Raises ValueError for a capacity that no node can have, and for labels that no object can have.
    """

    name: str
    address: str = "127.0.0.1"
    labels: Mapping[str, str] = field(default_factory=dict)
    tainted: bool = True
    capacity: Mapping[str, str] = field(default_factory=dict)
    info: Mapping[str, str] = field(default_factory=dict)
    declared_features: Sequence[str] = ()
    """In the order of their names."""

    def __post_init__(self) -> None:
        check_capacity(self.capacity)
        check_labels(self.labels)

    @property
    def own_capacity(self) -> dict[str, str]:
        """``capacity``, and what a node has by default."""
        return {**CAPACITY, **self.capacity}

    @property
    def all_labels(self) -> dict[str, str]:
        """Those that a kubelet sets, one that says what this is, and those that were asked for."""
        architecture = self.info.get("architecture", "")
        return {
            "kubernetes.io/hostname": self.name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": architecture,
            "beta.kubernetes.io/os": "linux",
            "beta.kubernetes.io/arch": architecture,
            SIMULATED: "true",
            **self.labels,
        }


def check_capacity(capacity: Mapping[str, str]) -> None:
    """Can a node have this beside its devices? Raises ValueError, which names the resource."""
    for resource, quantity in capacity.items():
        try:
            if is_extended(resource):
                raise ValueError("an extended resource is provided by a device plug-in")
            if amount(quantity) < 0:
                raise ValueError("must not be negative")
        except ValueError as error:
            raise ValueError(f"{resource}={quantity}: {error}") from None


def check_labels(labels: Mapping[str, str]) -> None:
    """Can an object have them? Raises ValueError, which names the label."""
    for key, value in labels.items():
        if problem := why_not_label(key, value):
            raise ValueError(f"{key}={value}: {problem}")


def new_node(node: NodeDescription, status: NodeStatus, *, time: float) -> Object:
    """The Node of one that nobody has registered yet."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": node.name,
            "labels": node.all_labels,
            "annotations": ANNOTATIONS,
        },
        "spec": {"taints": [TAINT]} if node.tainted else {},
        "status": status_patch({}, node, status, time=time)["status"],
    }


def metadata_patch(found: Object, node: NodeDescription) -> Object | None:
    """What is to be changed of a Node that was there before: as a kubelet, its labels and annotations, not its
    taints."""
    wanted = {"labels": node.all_labels, "annotations": ANNOTATIONS}
    changed = {}
    for kind, values in wanted.items():
        there = found["metadata"].get(kind) or {}
        if differing := {key: value for key, value in values.items() if there.get(key) != value}:
            changed[kind] = differing
    return {"metadata": changed} if changed else None


def extended_resources(found: Object) -> NodeStatus:
    """What the Node publishes of extended resources, whoever has published it. A quantity that is no whole number is
    rounded down."""
    status = status_of(found)

    def counts(key: str) -> dict[str, int]:
        return {name: int(amount(count)) for name, count in (status.get(key) or {}).items() if is_extended(name)}

    return NodeStatus(capacity=counts("capacity"), allocatable=counts("allocatable"))


def status_patch(found: Object, node: NodeDescription, status: NodeStatus, *, time: float) -> Object:
    """A strategic merge patch with what a kubelet would publish now.

    Of the extended resources, which are in ``status``, only what differs from ``found`` is in it: they may be changed
    by others at the same time.
    """
    own, before = node.own_capacity, extended_resources(found)
    capacity = {name: str(count) for name, count in status.capacity.items() if before.capacity.get(name) != count}
    allocatable: dict[str, str | None] = {
        name: str(count) for name, count in status.allocatable.items() if before.allocatable.get(name) != count
    }
    allocatable |= dict.fromkeys(before.allocatable.keys() - status.allocatable.keys())
    return {
        "status": {
            "capacity": {**own, **capacity},
            "allocatable": {**own, **allocatable},
            "conditions": _conditions(found, time=time, ready=True),
            "addresses": [
                {"type": "InternalIP", "address": node.address},
                {"type": "Hostname", "address": node.name},
            ],
            "nodeInfo": dict(node.info),
            "features": _RUNTIME_FEATURES,
            "declaredFeatures": list(node.declared_features),
        }
    }


def stopped_patch(found: Object, *, time: float) -> Object:
    """The same of a node that stops: it is not ready, and nothing else is said of it."""
    return {"status": {"conditions": _conditions(found, time=time, ready=False)}}


def _conditions(found: Object, *, time: float, ready: bool) -> list[Object]:
    """Ready comes last, as in a kubelet. A condition that is as before keeps the time since when it is so."""
    before = {one["type"]: one for one in status_of(found).get("conditions") or []}
    now = timestamp(time)
    reason, message = _READY if ready else _STOPPED
    wanted = [(kind, "False", reason, message) for kind, reason, message in _PRESSURES]
    wanted.append(("Ready", "True" if ready else "False", reason, message))
    made = []
    for kind, status, reason, message in wanted:
        was = before.get(kind, {})
        since = was.get("lastTransitionTime") if was.get("status") == status else None
        made.append(
            {
                "type": kind,
                "status": status,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": now,
                "lastTransitionTime": since or now,
            }
        )
    return made


def is_published(found: Object, patch: Object) -> bool:
    """Does the Node say all of this already? Times of heartbeats do not count."""
    is_now, wanted = status_of(found), patch["status"]
    for key in ("capacity", "allocatable"):
        there = is_now.get(key) or {}
        if any(_quantity(there.get(name)) != _quantity(count) for name, count in wanted[key].items()):
            return False
    there = {one["type"]: one for one in is_now.get("conditions") or []}
    if any(
        there.get(one["type"], {}).get(key) != one[key]
        for one in wanted["conditions"]
        for key in ("status", "reason", "message")
    ):
        return False
    if any(one not in (is_now.get("addresses") or []) for one in wanted["addresses"]):
        return False
    if is_now.get("features") != wanted["features"]:
        return False
    if (is_now.get("declaredFeatures") or []) != wanted["declaredFeatures"]:
        return False
    info = is_now.get("nodeInfo") or {}
    return all((info.get(key) or "") == value for key, value in wanted["nodeInfo"].items())


def _quantity(text: str | None) -> object:
    """``64Gi`` and ``65536Mi`` are the same."""
    return None if text is None else amount(text)
