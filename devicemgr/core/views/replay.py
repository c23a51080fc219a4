"""The state again, from recorded events: what a trace shows of a moment.

The events of a trace are what the mutations of a store returned; here they cause the same mutations of a store again,
so every view of the state can be had of any moment. What a trace does not have is not there: the requests of pods, what
plug-ins answered, and, in a trace of an older version, who held what before it began.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
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

    def applying(self, event: Recorded) -> Steps[None]:
        """Apply the next event, in steps. One that tells nothing about the state, or that is not as ours are, changes
        nothing."""
        if event["event"] == "DeviceListReceived":
            with _as_far_as_it_can_be_read():
                self._has_lists = True
                yield from self._list_received(**_fields(event))
        elif event["event"] == "DeviceListApplied" and not self._has_lists:
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

    def _restored(self, *, resources: list[str], removed: list[str] | None = None, **_: Any) -> None:
        self._begin()
        snapshot = Snapshot(registered=dict.fromkeys(resources, ()), removed=tuple(removed or ()))
        self.store.restore(snapshot, now=0.0)

    def _ready(self, **_: Any) -> None:
        """After another one that has stopped, or was killed. Had this one read a checkpoint, StateRestored would have
        come before."""
        if not self._is_new:
            self._begin()
        self._is_new = False

    # --- plug-ins --------------------------------------------------------------------------------

    def _registered(self, *, resource: str, endpoint: str, generation: int, **_: Any) -> None:
        self.store.connect(Endpoint(resource=resource, generation=generation, socket=endpoint))

    def _stream_ended(self, *, resource: str, generation: int, **_: Any) -> None:
        self.store.stop_endpoint(resource, generation, reason="", now=0.0)

    def _removed(self, *, resource: str, **_: Any) -> None:
        self.store.sweep(now=inf, only=resource)
        self._changed.pop(resource, None)

    def _list_received(self, *, resource: str, generation: int, devices: list[Any], **_: Any) -> Steps[None]:
        listed = [
            Device(id=one["id"], health=one["health"], numa_nodes=_nodes(one.get("numa_nodes"))) for one in devices
        ]
        yield from self.store.applying(resource, generation, DeviceList(devices=listed))

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
        """The list is the one before with what was changed. Nothing is made up: if that does not give the numbers of
        the event, which names some of many devices only, the list stays as it was."""
        before = self._changed.get(resource, {})
        listed = {id: is_healthy for id, is_healthy in before.items() if id not in removed}
        listed |= {id: id not in unhealthy for id in (*added, *changed)}
        if (len(listed), sum(listed.values())) != (capacity, allocatable):
            return
        self._changed[resource] = listed
        devices = [Device(id=id, health=HEALTHY if is_healthy else UNHEALTHY) for id, is_healthy in listed.items()]
        yield from self.store.applying(resource, generation, DeviceList(devices=devices))

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
        "PluginEnded": _stream_ended,
        "EndpointStopped": _stream_ended,
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
