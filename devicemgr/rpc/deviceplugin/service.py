"""What is served: one class per gRPC service, each a thin skin over a few Trio functions.

The functions come in as arguments. What becomes of their errors is the server's business: see
:mod:`~devicemgr.rpc.transport.server`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from ...errors import Refused
from ...model import (
    Admission,
    Device,
    DeviceId,
    EffectiveSettings,
    Fault,
    NodeStatus,
    PluginOptions,
    Pod,
    PodStatus,
    Registration,
    ResourceCounts,
    ResourceName,
    RunOptions,
)
from ...turns import in_turns
from ..admin import convert as convert_own
from ..admin import status
from ..pluginregistration import PluginInfo
from ..stubs import pluginregistration as found
from ..stubs import v1beta1 as wire
from ..stubs.devicemgr import v1 as own
from ..transport.server_call import ClosesStreams
from . import convert


class RegistrationService(wire.RegistrationBase):
    """``/v1beta1.Registration`` on kubelet.sock."""

    def __init__(self, register: Callable[[Registration], Awaitable[None]]) -> None:
        self._register = register

    async def register(self, message: wire.RegisterRequest) -> wire.Empty:
        await self._register(convert.checked(convert.registration_from_wire, message))
        return wire.Empty()


class AllocationApi(Protocol):
    """What the allocation service needs of a manager."""

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


class AllocationService(ClosesStreams, own.AllocationBase):
    """``/devicemgr.v1.Allocation`` on allocation.sock."""

    def __init__(self, manager: AllocationApi, faults: FaultsApi | None = None) -> None:
        self._manager = manager
        self._faults = faults
        self._status = status.Encoder()

    async def status(self, message: own.StatusRequest) -> Any:
        capacity, settings = self._manager.capacity(), self._manager.settings()
        return await in_turns(self._status.encoding(capacity, await self._manager.pods_in_turns(), settings))

    async def admit(self, message: own.AdmitRequest) -> own.AdmitResponse:
        pod = convert.checked(convert_own.pod_from_wire, message.pod)
        admission = await self._manager.admit(pod, start=bool(message.start))
        return convert_own.admission_to_wire(admission)

    async def remove(self, message: own.RemoveRequest) -> own.RemoveResponse:
        return own.RemoveResponse(removed=await self._manager.remove(message.namespace, message.name))

    async def retain(self, message: own.RetainRequest) -> own.RetainResponse:
        uids = convert.checked(lambda message: list(map(convert.text, message.uids)), message)
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
        await self._faults.inject(convert.checked(convert_own.fault_from_wire, message))
        return own.InjectFaultResponse()


class PluginApi(Protocol):
    """What a device plug-in does, as Trio functions. The stand-in for tests implements it."""

    def get_info(self) -> PluginInfo: ...
    def notify(self, registered: bool, error: str) -> None: ...
    async def get_options(self) -> PluginOptions: ...
    async def next_report(self, seen: int) -> tuple[int, Sequence[Device]] | None: ...
    async def get_preferred_allocation(
        self, available: Sequence[DeviceId], must_include: Sequence[DeviceId], size: int
    ) -> Sequence[DeviceId]: ...
    async def allocate(self, devices: Sequence[DeviceId]) -> RunOptions | None: ...
    async def pre_start_container(self, devices: Sequence[DeviceId]) -> None: ...


class DevicePluginService(ClosesStreams, wire.DevicePluginBase):
    """``/v1beta1.DevicePlugin`` on a plug-in's own socket."""

    def __init__(self, plugin: PluginApi) -> None:
        self._plugin = plugin

    async def get_device_plugin_options(self, message: wire.Empty) -> wire.DevicePluginOptions:
        return convert.options_to_wire(await self._plugin.get_options())

    async def list_and_watch(self, message: wire.Empty) -> AsyncIterator[wire.ListAndWatchResponse]:
        seen = -1
        while report := await self._plugin.next_report(seen):
            seen, devices = report
            yield wire.ListAndWatchResponse(devices=[convert.device_to_wire(device) for device in devices])

    async def get_preferred_allocation(
        self, message: wire.PreferredAllocationRequest
    ) -> wire.PreferredAllocationResponse:
        answers = [
            await self._plugin.get_preferred_allocation(
                question.available_deviceIDs,
                question.must_include_deviceIDs,
                question.allocation_size,
            )
            for question in message.container_requests
        ]
        return wire.PreferredAllocationResponse(
            container_responses=[wire.ContainerPreferredAllocationResponse(device_i_ds=list(ids)) for ids in answers]
        )

    async def allocate(self, message: wire.AllocateRequest) -> wire.AllocateResponse:
        answers = [await self._plugin.allocate(one.devices_ids) for one in message.container_requests]
        given = [convert.answer_to_wire(answer) for answer in answers if answer is not None]
        return wire.AllocateResponse(container_responses=given)

    async def pre_start_container(self, message: wire.PreStartContainerRequest) -> wire.PreStartContainerResponse:
        await self._plugin.pre_start_container(message.devices_ids)
        return wire.PreStartContainerResponse()


class PluginInfoService(found.RegistrationBase):
    """``/pluginregistration.Registration`` on a plug-in's own socket, for the watcher (API-4)."""

    def __init__(self, plugin: PluginApi) -> None:
        self._plugin = plugin

    async def get_info(self, message: found.InfoRequest) -> found.PluginInfo:
        info = self._plugin.get_info()
        return found.PluginInfo(
            type=info.type,
            name=info.name,
            endpoint=info.endpoint,
            supported_versions=list(info.supported_versions),
        )

    async def notify_registration_status(self, message: found.RegistrationStatus) -> found.RegistrationStatusResponse:
        self._plugin.notify(message.plugin_registered, message.error)
        return found.RegistrationStatusResponse()
