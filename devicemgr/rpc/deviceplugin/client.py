"""The client of the device plug-in API: every call has a deadline and is reported as an event (LIM-1). Also registers,
as a plug-in does.

``PluginClient.call`` makes every unary call from its row in ``methods``; the methods around it build the request and
convert the response.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol, TypeVar

import trio

from ...concurrency.condition_variable import ConditionVariable
from ...concurrency.steps import Steps
from ...concurrency.task_descriptions import describes_task
from ...errors import ManagerUnavailable, PluginUnavailable, RegistrationRefused, RpcFailed
from ...events import CallFinished
from ...events.summary import MOST_NAMED, answer_in_short, devices_in_short, options_in_short, shortened
from ...model import Answer, DeviceId, DeviceList, Peer, PluginOptions, Registration
from ..calls import call, call_deadline, dial, dial_plugin, read_stream, translate_rpc_failed, unary_unary
from ..messages import checked
from ..stubs import v1beta1 as wire
from ..transport.channel import Channel
from ..transport.unix_socket import Place, SocketFile
from ..wire_format import RawMessage, raw_message
from . import convert
from .device_list import DeviceListDecoder
from .list_policy import ListPolicy
from .methods import (
    ALLOCATE,
    GET_OPTIONS,
    GET_PREFERRED_ALLOCATION,
    LIST_AND_WATCH,
    PRE_START_CONTAINER,
    Deadlines,
    Method,
)

V = TypeVar("V")


class ClientInterceptor(Protocol):
    """Runs before each call to a plug-in, like a gRPC client interceptor. Tests inject faults with it."""

    async def before_call(self, resource: str, method: str) -> None:
        """Runs as part of the call, under its deadline. May raise PluginUnavailable."""

    def reading_paused(self, resource: str) -> trio.Event | None:
        """None, or the event until which the stream must not be read."""


class PluginClient:
    """One connection to one plug-in. Every method raises PluginUnavailable when the call fails or takes too long."""

    def __init__(
        self,
        channel: Channel,
        socket: SocketFile,
        resource: str,
        deadlines: Deadlines,
        on_call: Callable[[CallFinished], None],
        policy: ListPolicy,
        interceptor: ClientInterceptor | None = None,
        endpoint: str = "",
    ) -> None:
        self.socket = socket
        self._endpoint = endpoint
        self._channel = channel
        self._policy = policy
        self._interceptor = interceptor
        self._resource = resource
        self._deadlines = deadlines
        self._on_call = on_call
        self._in_flight = 0
        self._answered = ConditionVariable()

    @property
    def peer(self) -> Peer:
        """The process that serves."""
        return self._channel.peer

    @describes_task(waits_for="calls in flight")
    async def wait_idle(self) -> None:
        """Wait until no call is in flight. Every call has a deadline, so this is bounded."""
        await self._answered.wait_until(lambda: not self._in_flight)

    def disconnect(self) -> None:
        """Close the connection; calls in flight fail."""
        self._channel.close()

    async def call(self, method: Method, **fields: Any) -> Any:
        """Make a unary call; returns the response, or its bytes if the row says so. ``fields`` fill in the request.

        The deadline includes the interceptor and, if one is needed, a new connection.
        """
        return await self._call(method, fields, lambda response: response)

    @describes_task(waits_for="{method.name} of {self._resource}", since="started")
    async def _call(
        self,
        method: Method,
        fields: Mapping[str, Any],
        conversion: Callable[[Any], V],
        *,
        sent: str = "",
        received: Callable[[V], str] = lambda value: "",
    ) -> V:
        """The same, with a conversion of the response. The event of the call has the request as ``sent`` and the
        converted response as ``received`` returns it."""
        request, seconds = getattr(wire, method.request)(**fields), getattr(self._deadlines, method.field)
        started = trio.current_time()
        outcome, answer = "CANCELLED", ""
        self._in_flight += 1
        try:
            with translate_rpc_failed(), call_deadline(method.name, seconds):
                if self._interceptor is not None:
                    await self._interceptor.before_call(self._resource, method.name)
                async with self._usable_channel() as channel:
                    response = await unary_unary(channel, method.path, request, _response_type(method))
            outcome = "OK"
            with translate_rpc_failed():
                value = checked(conversion, response)
            answer = received(value)
            return value
        except PluginUnavailable as error:
            outcome, answer = error.status, shortened(str(error))
            raise
        finally:
            self._in_flight -= 1
            self._answered.notify()
            took = round(trio.current_time() - started, 6)
            finished = CallFinished(
                resource=self._resource,
                method=method.name,
                seconds=took,
                outcome=outcome,
                endpoint=self._endpoint,
                sent=sent,
                received=answer,
            )
            self._on_call(finished)

    async def get_options(self) -> PluginOptions:
        return await self._call(GET_OPTIONS, {}, convert.options_from_wire, received=options_in_short)

    async def list_and_watch(self, on_report: Callable[[DeviceList], Steps[None] | None]) -> None:
        """Pass each complete list to ``on_report``, until the plug-in ends the stream.

        ``on_report`` may return the rest of its work as steps. When lists arrive faster than the policy allows, only
        the latest is passed on.
        """
        policy = self._policy
        decoder = DeviceListDecoder(policy.peer_limits)

        def receiving(raw: bytes) -> Steps[None]:
            report = yield from decoder.decoding(raw)
            if (rest := on_report(report)) is not None:
                yield from rest

        with translate_rpc_failed():
            await read_stream(
                self._channel,
                LIST_AND_WATCH.path,
                wire.Empty(),
                RawMessage,  # the decoder looks only at what has changed
                lambda raw: policy.work_on_list(receiving(raw)),
                paused=self._reading_paused,
                pace=policy.next_list,
                on_skipped=policy.lists_skipped,
            )

    async def get_preferred_allocation(
        self, available: Sequence[DeviceId], must_include: Sequence[DeviceId], size: int
    ) -> tuple[DeviceId, ...]:
        """The ids the plug-in prefers; empty when it has no preference (ALLOC-18)."""
        request = wire.ContainerPreferredAllocationRequest(
            available_deviceIDs=list(available),
            must_include_deviceIDs=list(must_include),
            allocation_size=size,
        )
        return await self._call(
            GET_PREFERRED_ALLOCATION,
            {"container_requests": [request]},
            convert.first_preference,
            sent=f"{size:,} of {devices_in_short(available)}",
            received=devices_in_short,
        )

    async def allocate(self, devices: Sequence[DeviceId]) -> Answer | None:
        """The plug-in's answer for one container, or None if it gave none (ALLOC-E10). Further answers are ignored."""
        answers = await self.allocate_each([devices])
        return answers[0] if answers else None

    async def allocate_each(self, containers: Sequence[Sequence[DeviceId]]) -> tuple[Answer, ...]:
        """All answers to one Allocate call for several containers. The manager itself asks for one at a time."""
        requests = [wire.ContainerAllocateRequest(devices_ids=list(devices)) for devices in containers]
        return await self._call(
            ALLOCATE,
            {"container_requests": requests},
            convert.answers_from_bytes,
            sent="; ".join(map(devices_in_short, containers[:MOST_NAMED])),
            received=lambda answers: "; ".join(answer_in_short(one.options) for one in answers[:MOST_NAMED]),
        )

    async def pre_start_container(self, devices: Sequence[DeviceId]) -> None:
        fields = {"devices_ids": list(devices)}
        await self._call(PRE_START_CONTAINER, fields, lambda response: None, sent=devices_in_short(devices))

    def _reading_paused(self) -> trio.Event | None:
        return None if self._interceptor is None else self._interceptor.reading_paused(self._resource)

    def _usable_channel(self) -> AbstractAsyncContextManager[Channel]:
        return self._new_channel() if self._channel.is_going_away else nullcontext(self._channel)

    @asynccontextmanager
    async def _new_channel(self) -> AsyncIterator[Channel]:
        """Another connection to the same socket, after GOAWAY on the first one.

        After GOAWAY a server finishes its open streams, perhaps never, but accepts no new call. The new connection
        must reach the same process: any other one has not registered.
        """
        async with AsyncExitStack() as stack:
            limits = self._policy.connection_limits
            gone = f"process {self._channel.peer.pid} no longer serves its socket"
            try:
                channel = await stack.enter_async_context(dial(self.socket, wait_for_ready=False, limits=limits))
            except OSError as error:
                raise PluginUnavailable(f"{gone}: {error.strerror}", status="UNAVAILABLE") from error
            if channel.peer != self._channel.peer:
                raise PluginUnavailable(gone, status="UNAVAILABLE")
            yield channel


def _response_type(method: Method) -> type[Any]:
    kind = getattr(wire, method.response)
    return raw_message(kind) if method.keeps_bytes else kind


@asynccontextmanager
async def connect_plugin(
    place: Place,
    resource: str,
    *,
    deadlines: Deadlines,
    on_call: Callable[[CallFinished], None],
    policy: ListPolicy = ListPolicy(),  # noqa: B008 - it has no state
    interceptor: ClientInterceptor | None = None,
    endpoint: str = "",
) -> AsyncIterator[PluginClient]:
    """Connect to a plug-in's socket, within ``deadlines.dial`` seconds. ``endpoint`` is its name in the events of
    calls. Raises PluginUnavailable."""
    async with dial_plugin(place, seconds=deadlines.dial, limits=policy.connection_limits) as (channel, socket):
        yield PluginClient(channel, socket, resource, deadlines, on_call, policy, interceptor, endpoint)


async def register_plugin(registry: Path, registration: Registration, *, seconds: float = 15.0) -> None:
    """Register a plug-in on kubelet.sock, as a plug-in does.

    Raises RegistrationRefused with the manager's text, or ManagerUnavailable when it does not answer in time.
    """
    request = wire.RegisterRequest(
        version=registration.version, endpoint=registration.endpoint, resource_name=registration.resource
    )
    try:
        with trio.fail_after(seconds):
            async with dial(registry, wait_for_ready=False) as channel:
                await call(channel.stub(wire.RegistrationStub).register, request)
    except RpcFailed as error:
        if error.status in ("UNKNOWN", "PERMISSION_DENIED"):
            raise RegistrationRefused(str(error), rule="REG-5") from error
        raise ManagerUnavailable(f"{registry}: {error}") from error
    except trio.TooSlowError as error:
        raise ManagerUnavailable(f"{registry}: there was no answer within {seconds:g} s") from error
    except OSError as error:
        raise ManagerUnavailable(f"{registry}: {error}") from error
