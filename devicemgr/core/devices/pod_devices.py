"""Who holds which devices: the admitted pods, their containers' assignments, and reservations.

A device is held from the moment it is chosen, under the name of its owner, until it is released. The kubelet keeps
chosen ids only in a derived set, which may be computed again while the Allocate call is in flight, so that the device
goes to a second pod (LIM-6, kubernetes #137534).

``version`` grows with every change that must survive a restart; reservations need not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...concurrency.steps import CHUNK, SMALL_CHUNK, Steps, in_chunks, run_steps
from ...model import (
    Container,
    ContainerKind,
    DeviceId,
    Owner,
    Pod,
    PodUid,
    ResourceName,
    RunOptions,
    natural_order,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Devices one container holds of one resource, each with the NUMA nodes it had then (LW-6, ALLOC-5h).

    ``raw`` is the answer as the plug-in sent it, if there is one: the checkpoint keeps fields that this version does
    not know.
    """

    devices: Mapping[DeviceId, tuple[int, ...] | None]
    answer: RunOptions
    raw: bytes | None = None


class PodDevices:
    """Pods and the devices they hold. Every method is synchronous, and so a critical section."""

    def __init__(self) -> None:
        self.version = 0
        self.unconfirmed: set[PodUid] = set()
        """Pods from before a reboot: none of their containers runs, so they are admitted again (ALLOC-10)."""
        self.requested: Counter[ResourceName] = Counter()
        """What all pods together request (CAP-9)."""
        self.answers_size = 0
        """Bytes in all answers, as the plug-ins sent them."""
        self._pods: dict[PodUid, Pod] = {}
        self._requests: dict[PodUid, Mapping[ResourceName, int]] = {}
        self._assignments: dict[Owner, dict[ResourceName, Assignment]] = {}
        self._holders: dict[ResourceName, dict[DeviceId, set[Owner]]] = {}
        self._reserved: dict[Owner, dict[ResourceName, set[DeviceId]]] = {}  # the same as ``_holders``, by owner
        self._owners: dict[PodUid, dict[Owner, None]] = {}  # by pod, in the order in which they first held something

    # --- pods ----------------------------------------------------------------------------------

    @property
    def pods(self) -> tuple[Pod, ...]:
        """The admitted pods, oldest first."""
        return tuple(self._pods.values())

    def pod(self, uid: PodUid) -> Pod | None:
        return self._pods.get(uid)

    def find_pods(self, namespace: str, name: str) -> list[Pod]:
        """All of that name, oldest first: there may be two while one that was deleted by force is still terminating."""
        return [p for p in self._pods.values() if (p.namespace, p.name) == (namespace, name)]

    def find_pod(self, namespace: str, name: str) -> Pod | None:
        """The one that was admitted last, as in the kubelet's index of pods by name."""
        found = self.find_pods(namespace, name)
        return found[-1] if found else None

    def add_pod(self, pod: Pod, *, confirmed: bool = True) -> None:
        """The pod is admitted, until :meth:`remove_pod`. One from before a reboot is not ``confirmed`` at first."""
        before = self._pods.get(pod.uid)
        if before != pod:
            self.version += 1
            self.requested.subtract(self.request_of(pod.uid))
            self._requests[pod.uid] = self._request_of(pod)
            self.requested.update(self.request_of(pod.uid))
        self._pods[pod.uid] = pod
        if confirmed is (pod.uid in self.unconfirmed):  # that must be on disk as well
            self.version += 1
            self.unconfirmed ^= {pod.uid}

    def remove_pod(self, uid: PodUid) -> dict[ResourceName, tuple[DeviceId, ...]]:
        """The pod has ended: release its devices at once (LIM-33). Returns the freed ids by resource."""
        self.version += self._pods.pop(uid, None) is not None
        self.requested.subtract(self.request_of(uid))
        self._requests.pop(uid, None)
        self.unconfirmed.discard(uid)
        held = [(owner, name) for owner in self.owners_of(uid) for name in self.assignments(owner)]
        freed: dict[ResourceName, tuple[DeviceId, ...]] = {}
        for owner, name in held:
            freed[name] = freed.get(name, ()) + self.release(owner, name)
        return freed

    def request_of(self, uid: PodUid) -> Mapping[ResourceName, int]:
        """The part of ``requested`` that is this pod's; empty for an unknown pod."""
        return self._requests.get(uid, {})

    def _request_of(self, pod: Pod) -> Mapping[ResourceName, int]:
        """What a pod requests. A kubelet's checkpoint does not have the kinds and the order of a pod's containers; but
        devices are reused wherever that is possible (ALLOC-7a), so the number of different devices that the pod holds
        is what it requested."""
        if pod.name:
            return pod_request(pod.containers)
        held: dict[ResourceName, set[DeviceId]] = {}
        for owner in self.owners_of(pod.uid):
            for resource, assignment in self.assignments(owner).items():
                held.setdefault(resource, set()).update(assignment.devices)
        return {resource: len(ids) for resource, ids in held.items()}

    # --- devices -------------------------------------------------------------------------------

    def assignments(self, owner: Owner) -> Mapping[ResourceName, Assignment]:
        return self._assignments.get(owner, {})

    def all_assignments(self) -> list[tuple[Owner, ResourceName, Assignment]]:
        """Every assignment, oldest owner first."""
        return [(owner, name, one) for owner, held in self._assignments.items() for name, one in held.items()]

    def holders(self, resource: ResourceName, device: DeviceId) -> frozenset[Owner]:
        """The containers holding a device: an init container may share it with a later one (ALLOC-13)."""
        return frozenset(self._holders.get(resource, {}).get(device, ()))

    def held(self, resource: ResourceName) -> Mapping[DeviceId, set[Owner]]:
        """The devices of a resource that are held, with their holders. Do not change it."""
        return self._holders.get(resource, {})

    def held_counts(self) -> dict[ResourceName, int]:
        """By resource, how many different devices are held."""
        return {resource: len(devices) for resource, devices in self._holders.items()}

    def owners_of(self, uid: PodUid) -> list[Owner]:
        return list(self._owners.get(uid, ()))

    def reserve(self, owner: Owner, resource: ResourceName, devices: Iterable[DeviceId]) -> None:
        """``owner`` holds these devices from now on, although the plug-in has not answered yet."""
        holders = self._holders.setdefault(resource, {})
        reserved = self._reserved.setdefault(owner, {}).setdefault(resource, set())
        for device in devices:
            holders.setdefault(device, set()).add(owner)
            reserved.add(device)

    def record(self, owner: Owner, resource: ResourceName, assignment: Assignment) -> None:
        """``owner`` holds these devices, with the plug-in's answer for them."""
        self.reserve(owner, resource, assignment.devices)
        self.answers_size += _size(assignment) - _size(self.assignments(owner).get(resource))
        self._owners.setdefault(owner.pod_uid, {})[owner] = None
        self._assignments.setdefault(owner, {})[resource] = assignment
        self.version += 1

    def release(self, owner: Owner, resource: ResourceName) -> tuple[DeviceId, ...]:
        """Release what ``owner`` reserved or holds of one resource. Returns the ids that nobody holds any more."""
        assignments = self._assignments.get(owner, {})
        ended = assignments.pop(resource, None)
        self.version += ended is not None
        self.answers_size -= _size(ended)
        if not assignments and self._assignments.pop(owner, None) is not None:
            self._owners[owner.pod_uid].pop(owner)
            if not self._owners[owner.pod_uid]:
                del self._owners[owner.pod_uid]
        holders = self._holders.get(resource, {})
        reserved = self._reserved.get(owner, {}).pop(resource, set())
        if not self._reserved.get(owner):
            self._reserved.pop(owner, None)
        for id in reserved:
            holders[id].discard(owner)
        freed = in_order(id for id in reserved if not holders[id])
        for id in freed:
            del holders[id]
        if not holders:
            self._holders.pop(resource, None)
        return freed


def in_order(ids: Iterable[DeviceId]) -> tuple[DeviceId, ...]:
    """The fixed order of ALLOC-8: natural, so that ``gpu-2`` comes before ``gpu-10``."""
    return run_steps(ordering(ids))


def ordering(ids: Iterable[DeviceId]) -> Steps[tuple[DeviceId, ...]]:
    """:func:`in_order`, in steps. The last step merges sorted runs, which is much faster than sorting them, or only
    concatenates them if they are in order already, as a container's devices usually are."""
    ids = list(ids)
    if len(ids) < 2:
        return tuple(ids)
    # In most lists every id is the same word with a number. A shorter number is a smaller one, so the length decides
    # first: sorting 10,000 ids takes 2 ms then, instead of 14.
    prefix = _common_prefix(min(ids), max(ids)).rstrip("0123456789")
    key: Callable[[DeviceId], Any] = _by_length
    for some in in_chunks(ids):
        if not all(
            (rest := id[len(prefix) :]).isdecimal() and rest.isascii() and (rest[0] != "0" or rest == "0")
            for id in some
        ):
            key = yield from _natural_keys(ids)
            break
        yield
    if len(ids) <= CHUNK:
        return tuple(sorted(ids, key=key))
    runs: list[DeviceId] = []
    is_one_run = True
    for some in in_chunks(ids):
        run = sorted(some, key=key)
        is_one_run = is_one_run and (not runs or key(runs[-1]) <= key(run[0]))
        runs += run
        yield
    return tuple(runs if is_one_run else sorted(runs, key=key))


def _by_length(id: DeviceId) -> Any:
    return len(id), id


def _natural_keys(ids: Iterable[DeviceId]) -> Steps[Callable[[DeviceId], Any]]:
    keys: dict[DeviceId, Any] = {}
    for some in in_chunks(ids, SMALL_CHUNK):
        keys.update((id, natural_order(id)) for id in some)
        yield
    return keys.__getitem__


def _size(assignment: Assignment | None) -> int:
    return len(assignment.raw or b"") if assignment is not None else 0


def _common_prefix(one: str, other: str) -> str:
    """The longest common prefix: of the smallest and the largest of many texts, it is that of all."""
    length = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
    return one[:length]


def pod_request(containers: Iterable[Container]) -> dict[ResourceName, int]:
    """The most that a pod needs at any time: the main containers with all sidecars, or an init container with the
    sidecars declared before it, whichever is more (TM-9)."""
    lasting: dict[ResourceName, int] = {}
    widest: dict[ResourceName, int] = {}
    for container in containers:
        for resource, count in container.limits.items():
            now = lasting.get(resource, 0) + count
            widest[resource] = max(widest.get(resource, 0), now)
            if container.kind is not ContainerKind.INIT:
                lasting[resource] = now
    return widest
