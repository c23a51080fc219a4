"""The plug-in watcher and a socket it has found: who are you, and what became of it (API-4). Its client, and for tests
the service, which is a plug-in's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Protocol

import trio

from ..arguments import CheckedFields
from ..errors import PluginUnavailable, RpcFailed
from .calls import call, dial_place, translate_rpc_failed
from .messages import checked
from .stubs import pluginregistration as wire
from .transport.channel import Channel
from .transport.limits import ConnectionLimits
from .transport.unix_socket import Place
from .wire_format import unicode_text

DIAL_DEADLINE = 10.0
GET_INFO_DEADLINE = 1.0
NOTIFY_DEADLINE = 5.0
"""Seconds, as the kubelet's watcher has them (API-9)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginInfo(CheckedFields):
    """What GetInfo says; nothing of it is validated. ``name`` is a resource name, ``endpoint`` a path or empty."""

    type: str
    name: str
    endpoint: str
    supported_versions: tuple[str, ...]


class RegistrationClient:
    """One plug-in socket. Every call raises PluginUnavailable when it fails or takes too long."""

    def __init__(self, channel: Channel, socket: Place) -> None:
        self._socket = socket
        self._stub = channel.stub(wire.RegistrationStub)

    async def get_info(self) -> PluginInfo:
        failed = f"failed to get plugin info using RPC GetInfo at socket {self._socket}"
        with _kubelet_error_text(failed), _deadline("GetInfo", GET_INFO_DEADLINE):
            message = await call(self._stub.get_info, wire.InfoRequest())
        with translate_rpc_failed():
            return checked(info_from_wire, message)

    async def notify(self, *, registered: bool, error: str = "") -> None:
        status = wire.RegistrationStatus(plugin_registered=registered, error=unicode_text(error))
        failed = f"failed to send registration status at socket {self._socket}"
        with _kubelet_error_text(failed), _deadline("NotifyRegistrationStatus", NOTIFY_DEADLINE):
            await call(self._stub.notify_registration_status, status)


@asynccontextmanager
async def connect_registration(place: Place, limits: ConnectionLimits) -> AsyncIterator[RegistrationClient]:
    """Dial a socket that was found. Raises PluginUnavailable."""
    with translate_rpc_failed(), trio.CancelScope(deadline=trio.current_time() + DIAL_DEADLINE) as dialling:
        async with dial_place(place, limits=limits) as (channel, _):
            dialling.deadline = float("inf")
            yield RegistrationClient(channel, place)
    if dialling.cancelled_caught:
        raise PluginUnavailable(f"nobody accepts on {place}", status="DEADLINE_EXCEEDED")


@contextmanager
def _kubelet_error_text(failed: str) -> Iterator[None]:
    """Which call failed, and ``rpc error: code = … desc = …``, for which people look."""
    try:
        yield
    except RpcFailed as error:
        text = f"{failed}, err: {error.rpc_error}"
        raise PluginUnavailable(text, status=error.status) from error


@contextmanager
def _deadline(name: str, seconds: float) -> Iterator[None]:
    """``trio.fail_after`` whose lateness is the plug-in's failure."""
    try:
        with trio.fail_after(seconds):
            yield
    except trio.TooSlowError:
        raise PluginUnavailable(f"{name} was not answered within {seconds:g} s", status="DEADLINE_EXCEEDED") from None


def info_from_wire(message: wire.PluginInfo) -> PluginInfo:
    texts = (message.type, message.name, message.endpoint, *message.supported_versions)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a text is expected")
    return PluginInfo(
        type=message.type,
        name=message.name,
        endpoint=message.endpoint,
        supported_versions=tuple(message.supported_versions),
    )


class WatchedPlugin(Protocol):
    """What a plug-in that wants to be found can do."""

    def get_info(self) -> PluginInfo: ...
    def notify(self, registered: bool, error: str) -> None: ...


class PluginInfoService(wire.RegistrationBase):
    """``/pluginregistration.Registration`` on a plug-in's own socket, for the watcher (API-4)."""

    def __init__(self, plugin: WatchedPlugin) -> None:
        self._plugin = plugin

    async def get_info(self, message: wire.InfoRequest) -> wire.PluginInfo:
        info = self._plugin.get_info()
        return wire.PluginInfo(
            type=info.type,
            name=info.name,
            endpoint=info.endpoint,
            supported_versions=list(info.supported_versions),
        )

    async def notify_registration_status(self, message: wire.RegistrationStatus) -> wire.RegistrationStatusResponse:
        self._plugin.notify(message.plugin_registered, message.error)
        return wire.RegistrationStatusResponse()
