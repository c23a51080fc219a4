"""The manager's whole state: for each resource its plug-in and its devices, and who holds them.

The resources are here: for each name the endpoint and the last list, split into healthy and unhealthy ids. The base
class, ``PodDevices``, knows who holds what. Queries change nothing (LIM-5); a mutation returns the events it caused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

from ...concurrency.steps import Steps
from ...errors import AllocationRefused, PeerLimitExceeded
from ...events import (
    DeviceHealthChanged,
    DeviceListApplied,
    DevicesAllocated,
    EndpointStopped,
    Event,
    PluginEnded,
    PluginPromoted,
    PluginRegistered,
    PluginStandsBy,
    ResourceRemoved,
)
from ...model import (
    Device,
    DeviceId,
    DeviceList,
    Owner,
    PluginOptions,
    Pod,
    PodUid,
    ResourceCounts,
    ResourceName,
    RunOptions,
)
from .endpoint import GRACE_PERIOD, RESTORED, Endpoint, State, Trigger
from .free_devices import FreeDevices
from .last_list import LastList, comparing, memory_of
from .pod_devices import Assignment, PodDevices, in_order
from .report import MAX_ID_LENGTH, Difference, difference, normalising
from .resource import NOTHING_REPORTED, Reported, Resource, health_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that must survive a restart. ``registered`` has the healthy ids by resource, in list order (CKPT-4);
    ``unconfirmed`` has the pods that have not been admitted again since the machine was started (ALLOC-10)."""

    version: int = 0
    assignments: tuple[tuple[Owner, ResourceName, Assignment], ...] = ()
    registered: Mapping[ResourceName, tuple[DeviceId, ...]] = field(default_factory=dict)
    pods: tuple[Pod, ...] = ()
    options: Mapping[ResourceName, PluginOptions] = field(default_factory=dict)
    removed: tuple[ResourceName, ...] = ()
    unconfirmed: tuple[PodUid, ...] = ()


MAX_STANDBYS = 8
MAX_REMOVED = 1000
"""Removed resources that are published as zero until that is acknowledged. They are in the checkpoint as well."""


class DeviceStore(PodDevices):
    """The state of the manager. ``grace`` is the seconds for which a stopped endpoint keeps its capacity (LW-11),
    ``id_length`` the most characters of a device id, ``listed_size`` the most bytes of all lists together, and
    ``max_standbys`` the most plug-ins of a resource that stand by; the node has ``node_resources`` without a plug-in.
    """

    def __init__(
        self,
        *,
        grace: float = GRACE_PERIOD,
        id_length: int = MAX_ID_LENGTH,
        listed_size: int | None = None,
        max_standbys: int = MAX_STANDBYS,
        node_resources: Mapping[ResourceName, int] | None = None,
    ) -> None:
        super().__init__()
        self._node_resources = dict(node_resources or {})
        self._id_length = id_length
        self._listed_size = listed_size
        self._max_standbys = max_standbys
        self.grace = grace
        self.should_reset = False
        """Was there no checkpoint at the start? Then what the node published before means nothing (CAP-6)."""
        self.reports = 0
        """Grows whenever plug-ins come or go, or the list in force changes: as long as it stays the same, so do the
        resources and the health of their devices. With ``version``, which counts changes that must be written to disk,
        that is everything."""
        self._resources: dict[ResourceName, Resource] = {}
        self._listed_sizes: dict[ResourceName, int] = {}
        self._removed: dict[ResourceName, None] = {}  # oldest first
        self._listed_as_zero: dict[ResourceName, None] = {}  # those whose removal was acknowledged, oldest first
        self._options: dict[ResourceName, PluginOptions] = {}

    # --- endpoints and lists -------------------------------------------------------------------

    def connect(self, endpoint: Endpoint) -> list[Event]:
        """A plug-in answered: ``endpoint`` serves. The one that did stands by, or drains if its socket is the same. The
        old list stays until the first one of the new plug-in (REG-9)."""
        endpoint.advance(Trigger.ANSWERED)
        resource = endpoint.resource
        state = self._resources.get(resource)
        replaced = state is not None and state.is_serving
        stands_by = None
        if state is None:
            self._resources[resource] = Resource(endpoint)
        else:
            stands_by = state.connect(endpoint, max_standbys=self._max_standbys)
        self._options[resource] = endpoint.options
        self._count_lists(resource)
        self.version += 1
        self.reports += 1
        registered = PluginRegistered(
            resource=resource,
            endpoint=endpoint.socket,
            generation=endpoint.generation,
            pre_start_required=endpoint.options.pre_start_required,
            get_preferred_allocation_available=endpoint.options.get_preferred_allocation_available,
            replaced=replaced,
        )
        if stands_by is None:
            return [registered]
        return [
            registered,
            PluginStandsBy(resource=resource, endpoint=stands_by.socket, generation=stands_by.generation),
        ]

    def applying(self, resource: ResourceName, generation: int, report: DeviceList) -> Steps[list[Event]]:
        """Apply a complete list (LW-3). That of an endpoint that stands by is only kept, unless newer ones have sent
        none; one of an endpoint whose stream is not read any more is dropped (LIM-2).

        A long list is examined in steps. The last one applies all of it, unless the endpoint has stopped or was
        replaced meanwhile. Only one list of a generation may be in progress at a time. Raises PeerLimitExceeded when
        all lists together would take more memory than they may.
        """
        state, endpoint = self._live(resource, generation)
        if state is None or endpoint is None:
            return []
        self._make_room(state, endpoint, memory_of(report.size, len(report.devices)))
        try:
            if (changed := self._difference(state, endpoint, report)) is not None:
                return self._apply_difference(state, endpoint, changed, report)
            whole = yield from normalising(resource, report.devices, id_length=self._id_length)
            new = yield from LastList.splitting(whole.devices)
            new.size, new.token = report.size, None if whole.problems else report.token
            while state.takes_lists_of(endpoint):  # which may change in between
                before = state.in_force
                comparison = yield from comparing(new, before)
                if state.takes_lists_of(endpoint) and before is state.in_force:
                    change = partial(state.apply_list, endpoint, new, comparison)
                    return [*whole.problems, *self._changing(state, change)]
            if not endpoint.is_live:
                return []
            endpoint.last_list = new
            return [*whole.problems]
        finally:
            endpoint.arriving = 0
            self._count_lists(resource)

    def stop_endpoint(self, resource: ResourceName, generation: int, *, reason: str, now: float) -> list[Event]:
        """The stream has ended. If it was the last one of the resource, the devices count as unhealthy until the grace
        period ends (LW-8). Otherwise another one serves: the newest, with its own last list."""
        state, endpoint = self._live(resource, generation)
        if state is None or endpoint is None:
            return []
        ended = PluginEnded(resource=resource, endpoint=endpoint.socket, generation=generation, reason=reason)
        if endpoint is not state.primary:
            state.end_standby(endpoint)
            events: list[Event] = [ended]
        elif state.standbys:
            changed = self._changing(state, partial(state.promote, now=now), changes_options=True)
            promoted = state.primary
            serves = PluginPromoted(resource=resource, endpoint=promoted.socket, generation=promoted.generation)
            events = [ended, serves, *changed]
            self._options[resource] = promoted.options
        else:
            stopped = EndpointStopped(resource=resource, generation=generation, reason=reason)
            events = [stopped, *self._changing(state, partial(state.stop, now=now))]
        self._count_lists(resource)
        return events

    def sweep(self, *, now: float, only: ResourceName | None = None) -> list[Event]:
        """Remove the resources whose grace period is over (CAP-3), or only this one. Their assignments stay: pods keep
        their record."""
        names = self._resources if only is None else {only} & self._resources.keys()
        expired = sorted(name for name in names if self._resources[name].primary.is_expired(now=now, grace=self.grace))
        for name in expired:
            self._resources.pop(name).primary.advance(Trigger.GRACE_PERIOD_OVER)
            self._removed[name] = None
            self._count_lists(name)
        while len(self._removed) > MAX_REMOVED:
            self.acknowledge_removed(next(iter(self._removed)))
        self.version += bool(expired)
        self.reports += bool(expired)
        return [ResourceRemoved(resource=name) for name in expired]

    def acknowledge_removed(self, resource: ResourceName) -> None:
        """The zero was published: forget the removed resource (LIM-5), but for that the node lists it now (CAP-5)."""
        if resource in self._removed:
            del self._removed[resource]
            self._listed_as_zero[resource] = None
            self.version += 1
            self.reports += 1
        if len(self._listed_as_zero) > MAX_REMOVED:
            del self._listed_as_zero[next(iter(self._listed_as_zero))]

    # --- over a restart ------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """What must be on disk now. Options are kept as long as they may be needed (LIM-39)."""
        wanted = self._resources.keys() | self.held_counts().keys()
        self._options = {name: options for name, options in self._options.items() if name in wanted}
        return Snapshot(
            version=self.version,
            assignments=tuple(self.all_assignments()),
            registered={
                name: healthy
                for name, state in sorted(self._resources.items())
                if (healthy := state.registered) is not None
            },
            pods=self.pods,
            options=dict(sorted(self._options.items())),
            removed=tuple(sorted(self._removed)),
            unconfirmed=tuple(sorted(self.unconfirmed)),
        )

    def restore(self, snapshot: Snapshot, *, now: float, rebooted: bool = False) -> None:
        """Start from what an earlier run left. Its resources count 0 until their plug-ins return (REG-19).

        After a reboot no container runs any more: the pods keep their devices, but are admitted again (ALLOC-10).
        """
        self._options = dict(snapshot.options)
        self._removed = dict.fromkeys(snapshot.removed)
        for owner, resource, assignment in snapshot.assignments:
            self.record(owner, resource, assignment)
        for pod in snapshot.pods:
            self.add_pod(pod)
        self.unconfirmed = set(self._pods if rebooted else snapshot.unconfirmed)
        for resource in snapshot.registered:
            endpoint = Endpoint(
                resource=resource,
                generation=RESTORED,
                socket="",
                options=self._options.get(resource, PluginOptions()),
                state=State.STOPPED,
                stopped_at=now,
            )
            self._resources[resource] = Resource(endpoint, in_force=LastList(is_stale=True), is_published=True)

    # --- queries -------------------------------------------------------------------------------

    def capacity(self) -> dict[ResourceName, ResourceCounts]:
        """What the node would publish, by name (CAP-1), including zeroes for removed resources (LIM-5)."""
        return {name: self.counts(name) for name in sorted(self.published)}

    @property
    def published(self) -> set[ResourceName]:
        """The names of these."""
        names = {name for name, state in self._resources.items() if state.is_published}
        return names.union(self._removed, self._node_resources)

    @property
    def removed(self) -> frozenset[ResourceName]:
        """The removed resources whose zero was not acknowledged yet (LIM-5)."""
        return frozenset(self._removed)

    def counts(self, resource: ResourceName) -> ResourceCounts:
        if (there := self.node_has(resource)) is not None:
            used = self.requested[resource]
            return ResourceCounts(
                capacity=there, allocatable=there, allocated=used, available=max(there - used, 0), endpoint="node"
            )
        state = self._resources.get(resource)
        held = self.held(resource)
        if state is None:
            return ResourceCounts(capacity=0, allocatable=0, allocated=len(held), available=0, endpoint="removed")
        return ResourceCounts(
            capacity=len(state.devices),
            allocatable=len(state.healthy or ()),
            allocated=len(held),
            available=state.count_free(held),
            endpoint=state.primary.state.value,
            standbys=tuple(one.socket for one in state.standbys),
        )

    def is_known(self, resource: ResourceName) -> bool:
        """Was a list ever applied, or does a pod hold a device? (Vocabulary: *known resource*)"""
        return self.healthy(resource) is not None or bool(self.held(resource))

    def is_published(self, resource: ResourceName) -> bool:
        """Does the node publish the resource, even if with zeroes?"""
        listed = resource in self._listed_as_zero or resource in self._node_resources
        return listed or self._is_reported(resource)

    def node_has(self, resource: ResourceName) -> int | None:
        """How many the node has without a plug-in. None if not configured, or a plug-in's list counts instead."""
        return None if self._is_reported(resource) else self._node_resources.get(resource)

    def is_expected_back(self, resource: ResourceName) -> bool:
        """Was it known before the restart, and has its plug-in not reported its devices since?"""
        state = self._resources.get(resource)
        return state is not None and state.is_expected_back

    def endpoint(self, resource: ResourceName) -> Endpoint | None:
        """The endpoint that serves, or did last."""
        state = self._resources.get(resource)
        return None if state is None else state.primary

    def options_of(self, resource: ResourceName) -> PluginOptions | None:
        """The plug-in's last options, also after it has stopped. None if they are not known (LIM-39)."""
        return self._options.get(resource)

    def healthy(self, resource: ResourceName) -> set[DeviceId] | None:
        """The healthy ids, or None if no list was applied yet. Do not change the set."""
        state = self._resources.get(resource)
        return None if state is None else state.healthy

    def devices(self, resource: ResourceName) -> Mapping[DeviceId, Device]:
        state = self._resources.get(resource)
        return {} if state is None else state.devices

    def served_devices(self) -> list[tuple[ResourceName, list[Device]]]:
        """The devices of each resource with a healthy one, held or not, in the order of the list (PR-5). The caller
        selects the healthy ones, because it can do so in steps."""
        return [
            (resource, list(state.devices.values()) if state.healthy else [])
            for resource, state in sorted(self._resources.items())
        ]

    def available(self, resource: ResourceName) -> set[DeviceId]:
        """The healthy devices that are not held."""
        return (self.healthy(resource) or set()) - self.held(resource).keys()

    def free_devices(self, resource: ResourceName) -> FreeDevices:
        """The same, in order and by NUMA nodes, and kept up to date from now on."""
        state = self._resources.get(resource)
        return FreeDevices({}, ()) if state is None else state.free_devices(self.held(resource))

    def sorting(self, resources: Iterable[ResourceName]) -> Steps[None]:
        """In steps, what the first :meth:`free_devices` after a new list would do at once, for each of these."""
        for resource in resources:
            if (state := self._resources.get(resource)) is not None:
                yield from state.sorting(partial(self.held, resource))

    def health_of(self, resource: ResourceName, ids: Iterable[DeviceId]) -> dict[DeviceId, str]:
        """Healthy, Unhealthy, or Unknown if no plug-in reports the device any more, by id (LIM-7)."""
        return health_of(ids, self._reported(resource))

    def reported(self, resource: ResourceName) -> Reported:
        """The healthy and the unhealthy ids, as copies."""
        healthy, unhealthy = self._reported(resource)
        return frozenset(healthy), frozenset(unhealthy)

    def _reported(self, resource: ResourceName) -> Reported:
        state = self._resources.get(resource)
        return NOTHING_REPORTED if state is None else state.reported

    # --- allocation ----------------------------------------------------------------------------

    def commit(
        self,
        owner: Owner,
        resource: ResourceName,
        devices: tuple[DeviceId, ...],
        answer: RunOptions,
        *,
        raw: bytes | None = None,
    ) -> list[Event]:
        """Record what was reserved, with the plug-in's answer, and the bytes of the answer.

        Raises AllocationRefused if a device is not healthy any more: the list may have changed while the plug-in was
        asked, and a container must not start with a device that is gone.
        """
        lost = in_order(set(devices) - (self.healthy(resource) or set()))
        if lost:
            raise AllocationRefused(
                f"devices of {resource} went away while the plug-in was asked to allocate them: {', '.join(lost)}",
                rule="LIM-6",
            )
        known = self.devices(resource)
        nodes = {id: known[id].numa_nodes for id in devices}
        self.record(owner, resource, Assignment(devices=nodes, answer=answer, raw=raw))
        return [DevicesAllocated(pod_uid=owner.pod_uid, container=owner.container, resource=resource, devices=devices)]

    def reserve(self, owner: Owner, resource: ResourceName, devices: Iterable[DeviceId]) -> None:
        devices = list(devices)
        super().reserve(owner, resource, devices)
        if (state := self._resources.get(resource)) is not None:
            state.mark_held(devices)

    def release(self, owner: Owner, resource: ResourceName) -> tuple[DeviceId, ...]:
        freed = super().release(owner, resource)
        if (state := self._resources.get(resource)) is not None:
            state.mark_free(freed)
        return freed

    # --- inside --------------------------------------------------------------------------------

    def _is_reported(self, resource: ResourceName) -> bool:
        """Does the node publish it because of a plug-in, even if with zeroes?"""
        state = self._resources.get(resource)
        return resource in self._removed or (state is not None and state.is_published)

    def _live(self, resource: ResourceName, generation: int) -> tuple[Resource, Endpoint] | tuple[None, None]:
        """The endpoint of this generation, if its stream is read."""
        if (state := self._resources.get(resource)) is not None:
            for endpoint in state.live:
                if endpoint.generation == generation:
                    return state, endpoint
        return None, None

    def _difference(self, state: Resource, endpoint: Endpoint, report: DeviceList) -> Difference | None:
        """How the list differs from the endpoint's last one, if that can be changed in place."""
        last = endpoint.last_list
        if last is None or last.token is None or last.token is not report.base or not state.may_change(endpoint):
            return None
        return difference(report, last.devices, id_length=self._id_length)

    def _apply_difference(
        self, state: Resource, endpoint: Endpoint, changed: Difference, report: DeviceList
    ) -> list[Event]:
        last, events = endpoint.last_list, []
        if last is None:
            raise RuntimeError("a difference from no list at all")
        if state.takes_lists_of(endpoint):
            held = self.held(endpoint.resource)
            events = self._changing(state, partial(state.apply_difference, changed, held))
        else:
            last.apply(changed)
        last.size, last.token = report.size, report.token
        return events

    def _changing(
        self, state: Resource, change: Callable[[], DeviceListApplied | None], *, changes_options: bool = False
    ) -> list[Event]:
        """Change the list in force; returns the events."""
        resource = state.primary.resource
        health, registrations = self._health_of_held(resource), state.registrations
        applied = change()
        if state.is_published:
            self._removed.pop(resource, None)
            self._listed_as_zero.pop(resource, None)
        self.version += changes_options or state.registrations != registrations
        self.reports += 1
        return [*([] if applied is None else [applied]), *self._health_changes(resource, health)]

    def _make_room(self, state: Resource, endpoint: Endpoint, size: int) -> None:
        """The list of an endpoint takes the place of its last one in memory. Raises PeerLimitExceeded."""
        sizes = self._listed_sizes
        others = sum(sizes.values()) - sizes.get(endpoint.resource, 0) + state.listed_size(without=endpoint)
        if self._listed_size is not None and others + size > self._listed_size:
            limit = f"{self._listed_size} are the limit (--peer-limit listed-size)"
            raise PeerLimitExceeded(
                f"a list of {size} bytes beside those of others, {others}; {limit}", limit="listed_size"
            )
        endpoint.arriving = size
        self._count_lists(endpoint.resource)

    def _count_lists(self, resource: ResourceName) -> None:
        state = self._resources.get(resource)
        if state is None:
            self._listed_sizes.pop(resource, None)
        else:
            self._listed_sizes[resource] = state.listed_size()

    def _health_of_held(self, resource: ResourceName) -> dict[DeviceId, str]:
        return self.health_of(resource, self.held(resource))

    def _health_changes(self, resource: ResourceName, before: Mapping[DeviceId, str]) -> list[Event]:
        """One event per holder of a device whose health has changed, in a fixed order (LIM-11, LIM-20)."""
        now = self.health_of(resource, before)
        return [
            DeviceHealthChanged(
                pod_uid=owner.pod_uid, container=owner.container, resource=resource, device=id, health=now[id]
            )
            for id in in_order(id for id, health in now.items() if health != before[id])
            for owner in sorted(self.holders(resource, id))
        ]
