"""Who has which devices: the one place where the manager's state lives.

Two halves. *Resources*: per name the endpoint and the last list, split into healthy and unhealthy ids.
*Holdings*: per container the assignments (devices with the plug-in's answer) and the reservations (devices
chosen, the plug-in's answer still on its way).

# Decision: reservations are explicit. The kubelet keeps chosen ids only in a derived set that any recompute drops
# while the Allocate call is in flight, and the device goes to a second pod (LIM-6, kubernetes #137534). Here a
# device is held from the moment it is chosen, by name of its owner, until commit or release.

Every method is synchronous: it is its own critical section. Queries change nothing (LIM-5).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..errors import AllocationRefused
from ..events import DevicesAllocated, EndpointStopped, Event, PluginRegistered, ReportApplied, ResourceRemoved
from ..model import (
    Device,
    DeviceId,
    Owner,
    PodUid,
    ResourceCounts,
    ResourceName,
    RunOptions,
    natural_order,
)
from .endpoint import GRACE_PERIOD, Endpoint, State
from .report import normalise_report


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Devices one container holds of one resource, each with the NUMA nodes it had then (LW-6, ALLOC-5h)."""

    devices: Mapping[DeviceId, tuple[int, ...] | None]
    answer: RunOptions


@dataclass(slots=True)
class Resource:
    """``healthy`` is None until the first list: such a resource is published, but not *known* (LW-9)."""

    endpoint: Endpoint
    devices: dict[DeviceId, Device] = field(default_factory=dict)
    healthy: set[DeviceId] | None = None
    unhealthy: set[DeviceId] | None = None


class DeviceStore:
    """The state of the manager. ``grace`` is the seconds a stopped endpoint keeps its capacity (LW-11)."""

    def __init__(self, *, grace: float = GRACE_PERIOD) -> None:
        self.grace = grace
        self._resources: dict[ResourceName, Resource] = {}
        self._removed: set[ResourceName] = set()
        self._assignments: dict[Owner, dict[ResourceName, Assignment]] = {}
        self._holders: dict[ResourceName, dict[DeviceId, set[Owner]]] = {}

    # --- endpoints and lists -------------------------------------------------------------------

    def connect(self, endpoint: Endpoint) -> list[Event]:
        """A plug-in answered: it takes the slot. Old lists stay until its first own one (REG-9)."""
        before = self._resources.get(endpoint.resource)
        if before is None:
            self._resources[endpoint.resource] = Resource(endpoint)
        else:
            before.endpoint = endpoint
        self._removed.discard(endpoint.resource)
        return [
            PluginRegistered(
                resource=endpoint.resource,
                endpoint=endpoint.socket,
                generation=endpoint.generation,
                pre_start_required=endpoint.options.pre_start_required,
                get_preferred_allocation_available=endpoint.options.get_preferred_allocation_available,
                replaced=before is not None,
            )
        ]

    def apply_report(self, resource: ResourceName, generation: int, entries: Iterable[Device]) -> list[Event]:
        """Take over a complete list (LW-3). News of an older generation, or of a stopped one, is dropped (LIM-2)."""
        state = self._current(resource, generation)
        if state is None or state.endpoint.state is not State.SERVING:
            return []
        report = normalise_report(resource, entries)
        before, after = state.devices, report.devices
        was_healthy = state.healthy or set()
        state.devices = after
        state.healthy = {id for id, device in after.items() if device.is_healthy}
        state.unhealthy = after.keys() - state.healthy
        changed = [
            id
            for id in after.keys() & before.keys()
            if (id in was_healthy) != (id in state.healthy) or after[id] != before[id]
        ]
        applied = ReportApplied(
            resource=resource,
            capacity=len(after),
            allocatable=len(state.healthy),
            added=in_order(after.keys() - before.keys()),
            removed=in_order(before.keys() - after.keys()),
            changed=in_order(changed),
        )
        return [*report.problems, applied]

    def stop_endpoint(self, resource: ResourceName, generation: int, *, reason: str, now: float) -> list[Event]:
        """The plug-in is gone; its devices count as unhealthy until the grace period ends (LW-8)."""
        state = self._current(resource, generation)
        if state is None or state.endpoint.state is not State.SERVING:
            return []
        state.endpoint = state.endpoint.stopped(now=now)
        state.unhealthy = (state.unhealthy or set()) | (state.healthy or set())
        if state.healthy is not None:
            state.healthy = set()
        return [EndpointStopped(resource=resource, generation=generation, reason=reason)]

    def sweep(self, *, now: float) -> list[Event]:
        """Remove the resources whose grace period is over (CAP-3). Holdings stay: pods keep their record."""
        expired = sorted(
            name for name, state in self._resources.items() if state.endpoint.is_expired(now=now, grace=self.grace)
        )
        for name in expired:
            del self._resources[name]
            self._removed.add(name)
        return [ResourceRemoved(resource=name) for name in expired]

    def acknowledge_removed(self, resource: ResourceName) -> None:
        """The zero was published: forget the tombstone (LIM-5)."""
        self._removed.discard(resource)

    # --- queries -------------------------------------------------------------------------------

    def capacity(self) -> dict[ResourceName, ResourceCounts]:
        """What the node would publish, by name (CAP-1); a removed resource stands with zeroes (LIM-5)."""
        names = {name for name, state in self._resources.items() if state.unhealthy is not None}
        return {name: self.counts(name) for name in sorted(names | self._removed)}

    def counts(self, resource: ResourceName) -> ResourceCounts:
        state = self._resources.get(resource)
        held = len(self._holders.get(resource, {}))
        if state is None:
            return ResourceCounts(capacity=0, allocatable=0, allocated=held, available=0, endpoint="removed")
        healthy, unhealthy = state.healthy or set(), state.unhealthy or set()
        return ResourceCounts(
            capacity=len(healthy | unhealthy),
            allocatable=len(healthy),
            allocated=held,
            available=len(self.available(resource)),
            endpoint=state.endpoint.state.value,
        )

    def is_known(self, resource: ResourceName) -> bool:
        """Has a list ever come, or does a pod hold some of it? (Vocabulary: *known resource*)"""
        return self.healthy(resource) is not None or bool(self._holders.get(resource))

    def endpoint(self, resource: ResourceName) -> Endpoint | None:
        state = self._resources.get(resource)
        return None if state is None else state.endpoint

    def serving_endpoints(self) -> list[Endpoint]:
        return [s.endpoint for s in self._resources.values() if s.endpoint.state is State.SERVING]

    def healthy(self, resource: ResourceName) -> set[DeviceId] | None:
        """The healthy ids, or None when no list has come yet. Do not change the set."""
        state = self._resources.get(resource)
        return None if state is None else state.healthy

    def devices(self, resource: ResourceName) -> Mapping[DeviceId, Device]:
        state = self._resources.get(resource)
        return {} if state is None else state.devices

    def available(self, resource: ResourceName) -> set[DeviceId]:
        """Healthy, and held by nobody."""
        return (self.healthy(resource) or set()) - self._holders.get(resource, {}).keys()

    def assignments(self, owner: Owner) -> Mapping[ResourceName, Assignment]:
        return self._assignments.get(owner, {})

    def holders(self, resource: ResourceName, device: DeviceId) -> frozenset[Owner]:
        """The containers holding a device: an init container may share it with a later one (ALLOC-13)."""
        return frozenset(self._holders.get(resource, {}).get(device, ()))

    # --- holdings ------------------------------------------------------------------------------

    def reserve(self, owner: Owner, resource: ResourceName, devices: Iterable[DeviceId]) -> None:
        """From now on these devices are held by ``owner``, whatever the plug-in will answer."""
        holders = self._holders.setdefault(resource, {})
        for device in devices:
            holders.setdefault(device, set()).add(owner)

    def commit(
        self, owner: Owner, resource: ResourceName, devices: tuple[DeviceId, ...], answer: RunOptions
    ) -> list[Event]:
        """Record what was reserved, with the plug-in's answer.

        The world may have changed while the plug-in was thinking, so look again: a device that went away
        meanwhile refuses the container (AllocationRefused) instead of starting it on nothing.
        """
        lost = in_order(set(devices) - (self.healthy(resource) or set()))
        if lost:
            raise AllocationRefused(
                f"devices of {resource} went away while the plug-in was asked to allocate them: {', '.join(lost)}",
                rule="LIM-6",
            )
        known = self.devices(resource)
        assignment = Assignment(devices={id: known[id].numa_nodes for id in devices}, answer=answer)
        self._assignments.setdefault(owner, {})[resource] = assignment
        return [DevicesAllocated(pod_uid=owner.pod_uid, container=owner.container, resource=resource, devices=devices)]

    def release(self, owner: Owner, resource: ResourceName) -> tuple[DeviceId, ...]:
        """Give back what ``owner`` reserved or holds of one resource; returns the ids nobody holds any more."""
        holdings = self._assignments.get(owner, {})
        holdings.pop(resource, None)
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

    def release_pod(self, uid: PodUid) -> dict[ResourceName, tuple[DeviceId, ...]]:
        """The pod has ended: give back all it held, at once (LIM-33). Returns the freed ids by resource."""
        held = [(owner, name) for owner in self._owners_of(uid) for name in self.assignments(owner)]
        freed: dict[ResourceName, tuple[DeviceId, ...]] = {}
        for owner, name in held:
            freed[name] = freed.get(name, ()) + self.release(owner, name)
        return freed

    def _owners_of(self, uid: PodUid) -> list[Owner]:
        return [owner for owner in self._assignments if owner.pod_uid == uid]

    def _current(self, resource: ResourceName, generation: int) -> Resource | None:
        state = self._resources.get(resource)
        return state if state is not None and state.endpoint.generation == generation else None


def in_order(ids: Iterable[DeviceId]) -> tuple[DeviceId, ...]:
    """The fixed order of ALLOC-8: natural, so that ``gpu-2`` comes before ``gpu-10``."""
    return tuple(sorted(ids, key=natural_order))
