"""The services of the device plug-in API: the manager's Registration and, for tests, a plug-in's DevicePlugin.

Each converts messages and calls the Trio functions that it was given. The server translates their errors: see
:mod:`~devicemgr.rpc.transport.server`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol

from ...model import Device, DeviceId, PluginOptions, Registration, RunOptions
from ..messages import checked_request
from ..stubs import v1beta1 as wire
from ..transport.server_call import StreamClosingMixin
from . import convert


class RegistrationService(wire.RegistrationBase):
    """``/v1beta1.Registration`` on kubelet.sock."""

    def __init__(self, register: Callable[[Registration], Awaitable[None]]) -> None:
        self._register = register

    async def register(self, message: wire.RegisterRequest) -> wire.Empty:
        await self._register(checked_request(convert.registration_from_wire, message))
        return wire.Empty()


class PluginApi(Protocol):
    """What a device plug-in does, as Trio functions. ``testing.plugin.simulated`` implements it."""

    async def get_options(self) -> PluginOptions: ...
    async def next_report(self, seen: int) -> tuple[int, Sequence[Device]] | None: ...
    async def get_preferred_allocation(
        self, available: Sequence[DeviceId], must_include: Sequence[DeviceId], size: int
    ) -> Sequence[DeviceId]: ...
    async def allocate(self, devices: Sequence[DeviceId]) -> RunOptions | None: ...
    async def pre_start_container(self, devices: Sequence[DeviceId]) -> None: ...


class DevicePluginService(StreamClosingMixin, wire.DevicePluginBase):
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
