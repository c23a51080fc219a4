"""The plug-in watcher's API (API-4): which plug-in serves a socket, and whether its registration succeeded. The client
and, for tests, the service of a plug-in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from ..arguments import CheckedFields
from ..errors import PluginUnavailable, RpcFailed
from .calls import call, call_deadline, dial_plugin, translate_rpc_failed
from .messages import checked, text
from .stubs import pluginregistration as wire
from .transport.channel import Channel
from .transport.limits import ConnectionLimits
from .transport.unix_socket import Place
from .wire_format import unicode_text

DIAL_DEADLINE = 10.0
GET_INFO_DEADLINE = 1.0
NOTIFY_DEADLINE = 5.0
"""In seconds; the values of the kubelet's watcher (API-9)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginInfo(CheckedFields):
    """A plug-in's answer to GetInfo, not validated. ``name`` is a resource name, ``endpoint`` a path or empty."""

    type: str
    name: str
    endpoint: str
    supported_versions: tuple[str, ...]


class RegistrationClient:
    """The client of one plug-in socket. Every call raises PluginUnavailable when it fails or takes too long."""

    def __init__(self, channel: Channel, socket: Place) -> None:
        self._socket = socket
        self._stub = channel.stub(wire.RegistrationStub)

    async def get_info(self) -> PluginInfo:
        failed = f"failed to get plugin info using RPC GetInfo at socket {self._socket}"
        with _kubelet_error_text(failed), call_deadline("GetInfo", GET_INFO_DEADLINE):
            message = await call(self._stub.get_info, wire.InfoRequest())
        with translate_rpc_failed():
            return checked(info_from_wire, message)

    async def notify(self, *, registered: bool, error: str = "") -> None:
        status = wire.RegistrationStatus(plugin_registered=registered, error=unicode_text(error))
        failed = f"failed to send registration status at socket {self._socket}"
        with _kubelet_error_text(failed), call_deadline("NotifyRegistrationStatus", NOTIFY_DEADLINE):
            await call(self._stub.notify_registration_status, status)


@asynccontextmanager
async def connect_registration(place: Place, limits: ConnectionLimits) -> AsyncIterator[RegistrationClient]:
    """Connect to a socket that the watcher found. Raises PluginUnavailable."""
    async with dial_plugin(place, seconds=DIAL_DEADLINE, limits=limits) as (channel, _):
        yield RegistrationClient(channel, place)


@contextmanager
def _kubelet_error_text(failed: str) -> Iterator[None]:
    """Errors in the kubelet's words: which call failed, and ``rpc error: code = … desc = …``."""
    try:
        yield
    except RpcFailed as error:
        raise PluginUnavailable(f"{failed}, err: {error.rpc_error}", status=error.status) from error


def info_from_wire(message: wire.PluginInfo) -> PluginInfo:
    return PluginInfo(
        type=text(message.type),
        name=text(message.name),
        endpoint=text(message.endpoint),
        supported_versions=tuple(map(text, message.supported_versions)),
    )


class WatchedPlugin(Protocol):
    """What a plug-in that the watcher can find implements."""

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
