"""Who holds which devices: the admitted pods, their containers' assignments, and reservations.

# Decision: reservations are explicit. The kubelet keeps chosen ids only in a derived set that any recompute drops
# while the Allocate call is in flight, and the device goes to a second pod (LIM-6, kubernetes #137534). Here a
# device is held from the moment it is chosen, by name of its owner, until commit or release.

``version`` grows with every change that must survive a restart; reservations need not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..model import DeviceId, Owner, Pod, PodUid, ResourceName, RunOptions, natural_order


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Devices one container holds of one resource, each with the NUMA nodes it had then (LW-6, ALLOC-5h)."""

    devices: Mapping[DeviceId, tuple[int, ...] | None]
    answer: RunOptions


class Holdings:
    """Pods and what they hold. Every method is synchronous: it is its own critical section."""

    def __init__(self) -> None:
        self.version = 0
        self.unconfirmed: set[PodUid] = set()
        """Pods from before a reboot: none of their containers runs, so they are looked at anew (ALLOC-10)."""
        self._pods: dict[PodUid, Pod] = {}
        self._assignments: dict[Owner, dict[ResourceName, Assignment]] = {}
        self._holders: dict[ResourceName, dict[DeviceId, set[Owner]]] = {}

    # --- pods ----------------------------------------------------------------------------------

    @property
    def pods(self) -> tuple[Pod, ...]:
        """The admitted pods, oldest first."""
        return tuple(self._pods.values())

    def pod(self, uid: PodUid) -> Pod | None:
        return self._pods.get(uid)

    def find_pod(self, namespace: str, name: str) -> Pod | None:
        return next((p for p in self._pods.values() if (p.namespace, p.name) == (namespace, name)), None)

    def add_pod(self, pod: Pod) -> None:
        """The pod is admitted: it stays until :meth:`remove_pod`."""
        self.version += self._pods.get(pod.uid) != pod
        self._pods[pod.uid] = pod
        self.unconfirmed.discard(pod.uid)

    def remove_pod(self, uid: PodUid) -> dict[ResourceName, tuple[DeviceId, ...]]:
        """The pod has ended: give back all it held, at once (LIM-33). Returns the freed ids by resource."""
        self.version += self._pods.pop(uid, None) is not None
        self.unconfirmed.discard(uid)
        held = [(owner, name) for owner in self.owners_of(uid) for name in self.assignments(owner)]
        freed: dict[ResourceName, tuple[DeviceId, ...]] = {}
        for owner, name in held:
            freed[name] = freed.get(name, ()) + self.release(owner, name)
        return freed

    # --- devices -------------------------------------------------------------------------------

    def assignments(self, owner: Owner) -> Mapping[ResourceName, Assignment]:
        return self._assignments.get(owner, {})

    def all_assignments(self) -> list[tuple[Owner, ResourceName, Assignment]]:
        """Every assignment, in a fixed order."""
        return [(owner, name, held[name]) for owner, held in sorted(self._assignments.items()) for name in sorted(held)]

    def holders(self, resource: ResourceName, device: DeviceId) -> frozenset[Owner]:
        """The containers holding a device: an init container may share it with a later one (ALLOC-13)."""
        return frozenset(self._holders.get(resource, {}).get(device, ()))

    def held(self, resource: ResourceName) -> Mapping[DeviceId, set[Owner]]:
        """The devices of a resource that somebody holds, with their holders. Do not change it."""
        return self._holders.get(resource, {})

    def held_counts(self) -> dict[ResourceName, int]:
        """By resource, how many different devices are held."""
        return {resource: len(devices) for resource, devices in self._holders.items()}

    def owners_of(self, uid: PodUid) -> list[Owner]:
        return [owner for owner in self._assignments if owner.pod_uid == uid]

    def reserve(self, owner: Owner, resource: ResourceName, devices: Iterable[DeviceId]) -> None:
        """From now on these devices are held by ``owner``, whatever the plug-in will answer."""
        holders = self._holders.setdefault(resource, {})
        for device in devices:
            holders.setdefault(device, set()).add(owner)

    def record(self, owner: Owner, resource: ResourceName, assignment: Assignment) -> None:
        """``owner`` holds these devices, and this is the plug-in's answer for them."""
        self.reserve(owner, resource, assignment.devices)
        self._assignments.setdefault(owner, {})[resource] = assignment
        self.version += 1

    def release(self, owner: Owner, resource: ResourceName) -> tuple[DeviceId, ...]:
        """Give back what ``owner`` reserved or holds of one resource; returns the ids nobody holds any more."""
        holdings = self._assignments.get(owner, {})
        self.version += holdings.pop(resource, None) is not None
        if not holdings:
            self._assignments.pop(owner, None)
        holders = self._holders.get(resource, {})
        for owners in holders.values():
            owners.discard(owner)
        freed = in_order(id for id, owners in holders.items() if not owners)
        for id in freed:
            del holders[id]
        if not holders:
            self._holders.pop(resource, None)
        return freed


def in_order(ids: Iterable[DeviceId]) -> tuple[DeviceId, ...]:
    """The fixed order of ALLOC-8: natural, so that ``gpu-2`` comes before ``gpu-10``."""
    return tuple(sorted(ids, key=natural_order))
