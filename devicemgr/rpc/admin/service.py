"""The service of the Admin API, on admin.sock: converts messages and calls the manager.

The server translates errors: see :mod:`~devicemgr.rpc.transport.server`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from ...concurrency.task_descriptions import describes_task
from ...concurrency.turns import run_in_turns
from ...errors import Refused
from ...model import EffectiveSettings, Fault, NodeStatus, Pod, PodAdmitResult, PodStatus, ResourceCounts, ResourceName
from ..messages import checked_request, text
from ..stubs.devicemgr import v1 as wire
from ..transport.server_call import StreamClosingMixin
from . import convert, status


class TaskTree(Protocol):
    def as_json(self) -> Mapping[str, Any]: ...


class TreeWatcher(Protocol):
    async def next(self) -> str | None: ...


class AdminApi(Protocol):
    """What the admin service needs of a manager."""

    def capacity(self) -> Mapping[ResourceName, ResourceCounts]: ...
    async def pods_in_turns(self) -> Sequence[PodStatus]: ...
    def node_status(self) -> NodeStatus: ...
    def settings(self) -> EffectiveSettings: ...
    def explain(self, namespace: str, name: str) -> Mapping[str, Any] | None: ...
    async def acknowledge_removed(self, resource: str) -> None: ...
    def acknowledge_reset(self) -> None: ...
    async def admit(self, pod: Pod, *, start: bool = ...) -> PodAdmitResult: ...
    async def remove(self, namespace: str, name: str) -> bool: ...
    async def retain(self, uids: Iterable[str]) -> Sequence[Pod]: ...
    def task_tree(self) -> TaskTree: ...
    def watch_task_tree(self) -> AbstractContextManager[TreeWatcher]: ...
    async def events_of_incarnation(self, sequence: int, *, wait: bool) -> Sequence[tuple[int, Mapping[str, Any]]]: ...


class FaultsApi(Protocol):
    async def inject(self, fault: Fault) -> None: ...


class AdminService(StreamClosingMixin, wire.AdminBase):
    """``/devicemgr.v1.Admin`` on admin.sock."""

    def __init__(self, manager: AdminApi, faults: FaultsApi | None = None) -> None:
        self._manager = manager
        self._faults = faults
        self._status = status.Encoder()

    async def status(self, message: wire.StatusRequest) -> Any:
        capacity, settings = self._manager.capacity(), self._manager.settings()
        return await run_in_turns(self._status.encoding(capacity, await self._manager.pods_in_turns(), settings))

    async def admit(self, message: wire.AdmitRequest) -> wire.AdmitResponse:
        pod = checked_request(convert.pod_from_wire, message.pod)
        admission = await self._manager.admit(pod, start=bool(message.start))
        return convert.admission_to_wire(admission)

    async def remove(self, message: wire.RemoveRequest) -> wire.RemoveResponse:
        return wire.RemoveResponse(removed=await self._manager.remove(message.namespace, message.name))

    async def retain(self, message: wire.RetainRequest) -> wire.RetainResponse:
        uids = checked_request(lambda message: list(map(text, message.uids)), message)
        return wire.RetainResponse(removed=list(map(convert.pod_to_wire, await self._manager.retain(uids))))

    async def events(self, message: wire.EventsRequest) -> AsyncIterator[wire.Event]:
        sequence = 0
        while batch := await self._manager.events_of_incarnation(sequence, wait=message.follow):
            for sequence, event in batch:
                yield wire.Event(sequence=sequence, json=json.dumps(event))

    @describes_task(waits_for="the next look at the tree")
    async def tree(self, message: wire.TreeRequest) -> AsyncIterator[wire.TaskTree]:
        if not message.watch:
            yield wire.TaskTree(json=json.dumps(self._manager.task_tree().as_json()))
            return
        with self._manager.watch_task_tree() as watcher:
            while (tree := await watcher.next()) is not None:
                yield wire.TaskTree(json=tree)

    async def explain(self, message: wire.ExplainRequest) -> wire.ExplainResponse:
        explanation = self._manager.explain(message.namespace, message.name)
        return wire.ExplainResponse(json="" if explanation is None else json.dumps(explanation))

    async def node_status(self, message: wire.NodeStatusRequest) -> wire.NodeStatusResponse:
        return convert.node_status_to_wire(self._manager.node_status())

    async def acknowledge_removed(self, message: wire.AcknowledgeRemovedRequest) -> wire.AcknowledgeRemovedResponse:
        if message.reset:
            self._manager.acknowledge_reset()
        else:
            await self._manager.acknowledge_removed(str(message.resource))
        return wire.AcknowledgeRemovedResponse()

    async def inject_fault(self, message: wire.InjectFaultRequest) -> wire.InjectFaultResponse:
        if self._faults is None:
            raise Refused("this manager allows no faults; start it with --allow-faults")
        await self._faults.inject(checked_request(convert.fault_from_wire, message))
        return wire.InjectFaultResponse()
