"""The state again, from recorded events: what a trace shows of a moment.

The events of a trace are what the mutations of a store returned; here they cause the same mutations of a store again,
so every view of the state can be had of any moment. What a trace does not have is not there: the requests of pods, what
plug-ins answered, and, in a trace of an older version, who held what before it began.

A trace may also begin in the middle, or have gaps. Then a resource may be held of which nothing else is known, and the
overview says so. What later events show is taken from them: a list that came into force is that of the plug-in that
serves, whether or not its registration is in the trace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from math import inf
from typing import Any

from ...concurrency.steps import Steps
from ...errors import DeviceManagerError
from ...model import (
    HEALTHY,
    UNHEALTHY,
    Container,
    Device,
    DeviceId,
    DeviceList,
    Owner,
    Pod,
    PodUid,
    ResourceName,
    RunOptions,
)
from ..devices.endpoint import Endpoint, IllegalTransition
from ..devices.pod_devices import Assignment
from ..devices.store import DeviceStore, Snapshot
from .missing_events import MissingEvents
from .overview import Overview, ResourceOverview, overview

Recorded = Mapping[str, Any]
"""An event as JSON, its name under ``event``."""


class Replay:
    """``store`` is the state after the events that were applied."""

    def __init__(self) -> None:
        self.store = DeviceStore()
        self._is_new = True
        """Has no manager run with this state yet?"""
        self._has_lists = False
        """Does the trace have the lists? A golden trace has only what they changed."""
        self._taken: dict[PodUid, list[tuple[Owner, ResourceName]]] = {}
        """What pods have taken since their admission began: that is released if it fails."""
        self._changed: dict[ResourceName, dict[DeviceId, bool]] = {}
        """Without lists, the latest one of each resource as its changes give it: which devices are healthy."""
        self._missing = MissingEvents()
        self._listed: set[ResourceName] = set()
        """The resources whose devices are known, by a list."""
        self._heard: dict[ResourceName, tuple[int, DeviceList]] = {}
        """Where the registration is missing: the latest list of each resource, and from which generation it is. It may
        be that of a plug-in that stands by, until it is known to be in force."""

    @property
    def missing(self) -> int:
        """How many events are missing on which the state depends."""
        return self._missing.number

    def overview(self) -> Steps[Overview]:
        """The state at a glance, as far as it is known."""
        seen = yield from overview(self.store)
        if not self.missing:
            return seen
        return replace(seen, resources=tuple(map(self._as_far_as_known, seen.resources)))

    def _as_far_as_known(self, seen: ResourceOverview) -> ResourceOverview:
        is_listed = seen.name in self._listed
        is_unknown = not is_listed and self.store.endpoint(seen.name) is None
        counts = replace(seen.counts, endpoint="unknown") if is_unknown else seen.counts
        return replace(seen, counts=counts, knows_devices=is_listed, knows_holders=False)

    def applying(self, event: Recorded) -> Steps[None]:
        """Apply the next event, in steps. One that tells nothing about the state, or that is not as ours are, changes
        nothing."""
        if self._missing.note(event):
            self._begin()
        if event["event"] == "DeviceListReceived":
            with _as_far_as_it_can_be_read():
                self._has_lists = True
                yield from self._list_received(**_fields(event))
        elif event["event"] == "DeviceListApplied":
            with _as_far_as_it_can_be_read():
                yield from self._list_applied(**_fields(event))
        elif handle := self._handlers.get(event["event"]):
            with _as_far_as_it_can_be_read():
                handle(self, **_fields(event))
        yield

    # --- the manager -----------------------------------------------------------------------------

    def _stops(self, **_: Any) -> None:
        self._is_new = False

    def _begin(self) -> None:
        self.store, self._changed, self._taken, self._is_new = DeviceStore(), {}, {}, True
        self._listed, self._heard = set(), {}

    def _restored(self, *, resources: list[str], removed: list[str] | None = None, **_: Any) -> None:
        self._begin()
        self._missing.forget()
        self._listed.update(resources, removed or ())
        snapshot = Snapshot(registered=dict.fromkeys(resources, ()), removed=tuple(removed or ()))
        self.store.restore(snapshot, now=0.0)

    def _ready(self, **_: Any) -> None:
        """After another one that has stopped, or was killed. Had this one read a checkpoint, StateRestored would have
        come before."""
        if not self._is_new:
            self._begin()
            self._missing.forget()
        self._is_new = False

    # --- plug-ins --------------------------------------------------------------------------------

    def _registered(self, *, resource: str, endpoint: str, generation: int, **_: Any) -> None:
        known = self.store.endpoint(resource)
        if known is not None and not known.socket:  # then it counts as replaced; if it stands by, that is not shown
            known.socket = endpoint
        self.store.connect(Endpoint(resource=resource, generation=generation, socket=endpoint))

    def _adopt(self, resource: str, generation: int, endpoint: str = "") -> None:
        """An event shows that the plug-in of this generation serves. Where its registration is missing, that counts as
        one, and what another plug-in has listed does not count any more."""
        known = self.store.endpoint(resource)
        if self.missing and (known is None or known.generation != generation):
            self._forget(resource)
            self.store.connect(Endpoint(resource=resource, generation=generation, socket=endpoint))

    def _forget(self, resource: str) -> None:
        """What is known of its plug-ins is over."""
        while (known := self.store.endpoint(resource)) is not None and known.is_live:
            self.store.stop_endpoint(resource, known.generation, reason="", now=0.0)
        self.store.sweep(now=inf, only=resource)
        self._listed.discard(resource)

    def _promoted(self, *, resource: str, endpoint: str, generation: int, **_: Any) -> None:
        self._adopt(resource, generation, endpoint)

    def _stopped(self, *, resource: str, generation: int, **_: Any) -> None:
        self._adopt(resource, generation)
        self.store.stop_endpoint(resource, generation, reason="", now=0.0)

    def _ended(self, *, resource: str, generation: int, **_: Any) -> None:
        """It stood by, or another one takes over, which the next event names."""
        known = self.store.endpoint(resource)
        is_last = known is not None and known.generation == generation and not self.store.counts(resource).standbys
        if self.missing and is_last:
            self._forget(resource)
        self.store.stop_endpoint(resource, generation, reason="", now=0.0)

    def _removed(self, *, resource: str, **_: Any) -> None:
        self.store.sweep(now=inf, only=resource)
        self._changed.pop(resource, None)
        self._heard.pop(resource, None)
        self._listed.add(resource)

    def _list_received(self, *, resource: str, generation: int, devices: list[Any], **_: Any) -> Steps[None]:
        listed = [
            Device(id=one["id"], health=one["health"], numa_nodes=_nodes(one.get("numa_nodes"))) for one in devices
        ]
        yield from self._apply(resource, generation, DeviceList(devices=listed))

    def _apply(self, resource: str, generation: int, devices: DeviceList) -> Steps[None]:
        serves = self.store.endpoint(resource)
        if self.missing and (serves is None or serves.generation != generation):
            self._heard[resource] = generation, devices
        yield from self.store.applying(resource, generation, devices)
        if serves is not None and serves.generation == generation:
            self._listed.add(resource)

    def _list_applied(
        self,
        *,
        resource: str,
        generation: int,
        capacity: int,
        allocatable: int,
        added: list[str],
        removed: list[str],
        changed: list[str],
        unhealthy: list[str],
        **_: Any,
    ) -> Steps[None]:
        """A list is in force. Without lists, it is the one before with what was changed. Nothing is made up: if that
        does not give the numbers of the event, which names some of many devices only, the list stays as it was."""
        self._adopt(resource, generation)
        heard = self._heard.pop(resource, None)
        if heard is not None and heard[0] == generation:
            yield from self._apply(resource, generation, heard[1])
        if self._has_lists:
            counts = self.store.counts(resource)
            if (counts.capacity, counts.allocatable) != (capacity, allocatable):  # the list itself is missing
                self._listed.discard(resource)
            return
        before = self._changed.get(resource, {})
        listed = {id: is_healthy for id, is_healthy in before.items() if id not in removed}
        listed |= {id: id not in unhealthy for id in (*added, *changed)}
        if (len(listed), sum(listed.values())) != (capacity, allocatable):
            return
        self._changed[resource] = listed
        devices = [Device(id=id, health=HEALTHY if is_healthy else UNHEALTHY) for id, is_healthy in listed.items()]
        yield from self._apply(resource, generation, DeviceList(devices=devices))

    # --- pods ------------------------------------------------------------------------------------

    def _requested(self, *, uid: PodUid, **_: Any) -> None:
        self._taken[uid] = []

    def _allocated(self, *, pod_uid: str, container: str, resource: str, devices: list[str], **_: Any) -> None:
        known = self.store.devices(resource)
        nodes = {id: known[id].numa_nodes if id in known else None for id in devices}
        owner = Owner(pod_uid, container)
        self._record(owner, resource, nodes)
        self._taken.setdefault(pod_uid, []).append((owner, resource))

    def _held_before(
        self, *, pod_uid: str, container: str, resource: str, devices: Mapping[str, Any], **_: Any
    ) -> None:
        self._record(Owner(pod_uid, container), resource, {id: _nodes(nodes) for id, nodes in devices.items()})

    def _record(self, owner: Owner, resource: str, nodes: dict[str, tuple[int, ...] | None]) -> None:
        self.store.record(owner, resource, Assignment(devices=nodes, answer=RunOptions()))

    def _admitted(self, *, namespace: str, name: str, uid: PodUid, **_: Any) -> None:
        names = dict.fromkeys(owner.container for owner in self.store.owners_of(uid))
        containers = tuple(Container(name=container) for container in names)
        self.store.add_pod(Pod(namespace=namespace, name=name, uid=uid, containers=containers))
        self._taken.pop(uid, None)

    def _rolled_back(self, *, uid: PodUid, **_: Any) -> None:
        """What it held before, if it was admitted again, it keeps."""
        for owner, resource in reversed(self._taken.pop(uid, [])):
            self.store.release(owner, resource)

    def _gone(self, *, uid: PodUid, **_: Any) -> None:
        self._taken.pop(uid, None)
        self.store.remove_pod(uid)

    _handlers: Mapping[str, Callable[..., None]] = {
        "ManagerReady": _ready,
        "ManagerStopping": _stops,
        "StateRestored": _restored,
        "PluginRegistered": _registered,
        "PluginEnded": _ended,
        "PluginPromoted": _promoted,
        "EndpointStopped": _stopped,
        "ResourceRemoved": _removed,
        "PodAdmissionRequested": _requested,
        "DevicesAllocated": _allocated,
        "AssignmentRestored": _held_before,
        "PodAdmitted": _admitted,
        "PodRestored": _admitted,
        "PodRefused": _rolled_back,
        "PodAdmissionCancelled": _rolled_back,
        "PodRemoved": _gone,
    }


def _fields(event: Recorded) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name not in ("sequence", "time", "event")}


def _nodes(nodes: Any) -> tuple[int, ...] | None:
    return None if nodes is None else tuple(nodes)


def _as_far_as_it_can_be_read() -> suppress:
    """A trace may be cut, be of another version, or have been written by anybody."""
    return suppress(KeyError, TypeError, ValueError, AttributeError, IllegalTransition, DeviceManagerError)
