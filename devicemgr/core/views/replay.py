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

from ...errors import DeviceManagerError
from ...model import HEALTHY, UNHEALTHY, Container, Device, DeviceList, Owner, Pod, PodUid, RunOptions
from ...steps import Steps
from ..devices.endpoint import Endpoint, IllegalTransition
from ..devices.pod_devices import Assignment
from ..devices.store import DeviceStore, Snapshot

Recorded = Mapping[str, Any]
"""An event as JSON, its name under ``event``."""


class Replay:
    """``store`` is the state after the events that were applied."""

    def __init__(self) -> None:
        self.store = DeviceStore()
        self._has_stopped = False
        self._has_lists = False
        """Does the trace have the lists? A golden trace has only what they changed."""

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
        self._has_stopped = True

    def _restored(self, *, resources: list[str], removed: list[str] | None = None, **_: Any) -> None:
        self.store, self._has_stopped = DeviceStore(), False
        snapshot = Snapshot(registered=dict.fromkeys(resources, ()), removed=tuple(removed or ()))
        self.store.restore(snapshot, now=0.0)

    def _ready(self, **_: Any) -> None:
        """Had the manager read a checkpoint since it stopped, StateRestored would have come before."""
        if self._has_stopped:
            self.store, self._has_stopped = DeviceStore(), False

    # --- plug-ins --------------------------------------------------------------------------------

    def _registered(self, *, resource: str, endpoint: str, generation: int, **_: Any) -> None:
        self.store.connect(Endpoint(resource=resource, generation=generation, socket=endpoint))

    def _stream_ended(self, *, resource: str, generation: int, **_: Any) -> None:
        self.store.stop_endpoint(resource, generation, reason="", now=0.0)

    def _removed(self, *, resource: str, **_: Any) -> None:
        self.store.sweep(now=inf, only=resource)

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
        **_: Any,
    ) -> Steps[None]:
        """The list is the one before with what was changed. Nothing is made up: if that does not give the numbers of
        the event, or leaves open which of the new devices are healthy, the list stays as it was."""
        listed = {id: one.is_healthy for id, one in self.store.devices(resource).items() if id not in removed}
        listed.update({id: not listed[id] for id in changed})
        healthy = allocatable - sum(listed.values())
        if len(listed) + len(added) != capacity or healthy not in (0, len(added)):
            return
        listed.update(dict.fromkeys(added, healthy > 0))
        devices = [Device(id=id, health=HEALTHY if is_healthy else UNHEALTHY) for id, is_healthy in listed.items()]
        yield from self.store.applying(resource, generation, DeviceList(devices=devices))

    # --- pods ------------------------------------------------------------------------------------

    def _allocated(self, *, pod_uid: str, container: str, resource: str, devices: list[str], **_: Any) -> None:
        known = self.store.devices(resource)
        nodes = {id: known[id].numa_nodes if id in known else None for id in devices}
        self._record(Owner(pod_uid, container), resource, nodes)

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

    def _gone(self, *, uid: PodUid, **_: Any) -> None:
        self.store.remove_pod(uid)

    _handlers: Mapping[str, Callable[..., None]] = {
        "ManagerReady": _ready,
        "ManagerStopping": _stops,
        "StateRestored": _restored,
        "PluginRegistered": _registered,
        "PluginEnded": _stream_ended,
        "EndpointStopped": _stream_ended,
        "ResourceRemoved": _removed,
        "DevicesAllocated": _allocated,
        "AssignmentRestored": _held_before,
        "PodAdmitted": _admitted,
        "PodRestored": _admitted,
        "PodRefused": _gone,
        "PodRemoved": _gone,
    }


def _fields(event: Recorded) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name not in ("sequence", "time", "event")}


def _nodes(nodes: Any) -> tuple[int, ...] | None:
    return None if nodes is None else tuple(nodes)


def _as_far_as_it_can_be_read() -> suppress:
    """A trace may be cut, be of another version, or have been written by anybody."""
    return suppress(KeyError, TypeError, ValueError, AttributeError, IllegalTransition, DeviceManagerError)
