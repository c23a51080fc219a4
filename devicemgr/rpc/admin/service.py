"""The service of the Admin API, on admin.sock: a thin skin over a manager.

What becomes of errors is the server's business: see :mod:`~devicemgr.rpc.transport.server`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Protocol

from ...errors import Refused
from ...model import Admission, EffectiveSettings, Fault, NodeStatus, Pod, PodStatus, ResourceCounts, ResourceName
from ...turns import in_turns
from ..deviceplugin import convert
from ..stubs.devicemgr import v1 as own
from ..transport.server_call import ClosesStreams
from . import convert as convert_own
from . import status


class AdminApi(Protocol):
    """What the admin service needs of a manager."""

    def capacity(self) -> Mapping[ResourceName, ResourceCounts]: ...
    async def pods_in_turns(self) -> Sequence[PodStatus]: ...
    def node_status(self) -> NodeStatus: ...
    def settings(self) -> EffectiveSettings: ...
    def explain(self, namespace: str, name: str) -> Mapping[str, Any] | None: ...
    async def acknowledge_removed(self, resource: str) -> None: ...
    def acknowledge_reset(self) -> None: ...
    async def admit(self, pod: Pod, *, start: bool = ...) -> Admission: ...
    async def remove(self, namespace: str, name: str) -> bool: ...
    async def retain(self, uids: Iterable[str]) -> Sequence[Pod]: ...
    async def events_of_life(self, sequence: int, *, wait: bool) -> Sequence[tuple[int, Mapping[str, Any]]]: ...


class FaultsApi(Protocol):
    async def inject(self, fault: Fault) -> None: ...


class AdminService(ClosesStreams, own.AdminBase):
    """``/devicemgr.v1.Admin`` on admin.sock."""

    def __init__(self, manager: AdminApi, faults: FaultsApi | None = None) -> None:
        self._manager = manager
        self._faults = faults
        self._status = status.Encoder()

    async def status(self, message: own.StatusRequest) -> Any:
        capacity, settings = self._manager.capacity(), self._manager.settings()
        return await in_turns(self._status.encoding(capacity, await self._manager.pods_in_turns(), settings))

    async def admit(self, message: own.AdmitRequest) -> own.AdmitResponse:
        pod = convert.checked_request(convert_own.pod_from_wire, message.pod)
        admission = await self._manager.admit(pod, start=bool(message.start))
        return convert_own.admission_to_wire(admission)

    async def remove(self, message: own.RemoveRequest) -> own.RemoveResponse:
        return own.RemoveResponse(removed=await self._manager.remove(message.namespace, message.name))

    async def retain(self, message: own.RetainRequest) -> own.RetainResponse:
        uids = convert.checked_request(lambda message: list(map(convert.text, message.uids)), message)
        return own.RetainResponse(removed=list(map(convert_own.pod_to_wire, await self._manager.retain(uids))))

    async def events(self, message: own.EventsRequest) -> AsyncIterator[own.Event]:
        sequence = 0
        while batch := await self._manager.events_of_life(sequence, wait=message.follow):
            for sequence, event in batch:
                yield own.Event(sequence=sequence, json=json.dumps(event))

    async def explain(self, message: own.ExplainRequest) -> own.ExplainResponse:
        decision = self._manager.explain(message.namespace, message.name)
        return own.ExplainResponse(json="" if decision is None else json.dumps(decision))

    async def node_status(self, message: own.NodeStatusRequest) -> own.NodeStatusResponse:
        return convert_own.node_status_to_wire(self._manager.node_status())

    async def acknowledge_removed(self, message: own.AcknowledgeRemovedRequest) -> own.AcknowledgeRemovedResponse:
        if message.reset:
            self._manager.acknowledge_reset()
        else:
            await self._manager.acknowledge_removed(str(message.resource))
        return own.AcknowledgeRemovedResponse()

    async def inject_fault(self, message: own.InjectFaultRequest) -> own.InjectFaultResponse:
        if self._faults is None:
            raise Refused("this manager allows no faults; start it with --allow-faults")
        await self._faults.inject(convert.checked_request(convert_own.fault_from_wire, message))
        return own.InjectFaultResponse()
