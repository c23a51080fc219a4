"""The client with which checks call a plug-in themselves; it records each request and response."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import trio

from ....core.allocation.container_options import as_data
from ....errors import PluginUnavailable
from ....events import CallFinished
from ....model import Answer, DeviceId, DeviceList, PluginOptions
from ....rpc.deviceplugin.client import PluginClient

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckCallFinished(CallFinished):
    """A call of a check: ``request`` has the ids by their names in the message, ``response`` is what the plug-in
    answered, or the text of the error. Plain data."""

    request: dict[str, Any]
    response: Any


class RecordingClient:
    """A :class:`PluginClient` whose calls are recorded. As there, each raises PluginUnavailable."""

    def __init__(self, client: PluginClient, resource: str, record: Callable[[CheckCallFinished], None]) -> None:
        self._client = client
        self._resource = resource
        self._record = record

    async def get_options(self) -> PluginOptions:
        return await self._recorded("GetDevicePluginOptions", {}, self._client.get_options(), dataclasses.asdict)

    async def list_and_watch(self, on_report: Callable[[DeviceList], None]) -> None:
        started = trio.current_time()

        def receive(report: DeviceList) -> None:
            self._note("ListAndWatch", {}, started, "OK", list(map(dataclasses.asdict, report.devices)))
            on_report(report)

        await self._client.list_and_watch(receive)

    async def allocate_each(self, containers: Sequence[Sequence[DeviceId]]) -> tuple[Answer, ...]:
        request = {"containers": list(map(list, containers))}
        return await self._recorded("Allocate", request, self._client.allocate_each(containers), _data_of)

    async def get_preferred_allocation(
        self, available: Sequence[DeviceId], must_include: Sequence[DeviceId], size: int
    ) -> tuple[DeviceId, ...]:
        request = {"available": list(available), "must_include": list(must_include), "size": size}
        call = self._client.get_preferred_allocation(available, must_include, size)
        return await self._recorded("GetPreferredAllocation", request, call, list)

    async def pre_start_container(self, devices: Sequence[DeviceId]) -> None:
        request = {"containers": [list(devices)]}
        await self._recorded("PreStartContainer", request, self._client.pre_start_container(devices), lambda _: {})

    async def _recorded(
        self, method: str, request: dict[str, Any], call: Awaitable[T], render: Callable[[T], Any]
    ) -> T:
        started, outcome, response = trio.current_time(), "CANCELLED", None
        try:
            answer = await call
            outcome, response = "OK", render(answer)
            return answer
        except PluginUnavailable as error:
            outcome, response = error.status, str(error)
            raise
        finally:
            self._note(method, request, started, outcome, response)

    def _note(self, method: str, request: dict[str, Any], started: float, outcome: str, response: Any) -> None:
        seconds = round(trio.current_time() - started, 6)
        self._record(
            CheckCallFinished(
                resource=self._resource,
                method=method,
                seconds=seconds,
                outcome=outcome,
                request=request,
                response=response,
            )
        )


def _data_of(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    return [as_data(answer.options) for answer in answers]
