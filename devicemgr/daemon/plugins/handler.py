"""Kinds of plug-ins that register themselves: what the watcher needs of each, as the kubelet's plug-in manager does.

The watcher knows about sockets: which of them are there, who serves them, when to try again. What to do with a plug-in
of some type, its *handler* knows. There is one handler per type, and its methods are those of the kubelet's
PluginHandler (REG-16). To support another type, write a handler and add it where the watcher is made (``incarnation``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ...rpc.transport.unix_socket import Place

DEVICE_PLUGIN = "DevicePlugin"
"""The type of device plug-ins. The kubelet also knows CSIPlugin and DRAPlugin."""
SOCKET_REMOVED = "its socket was removed or recreated"


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveredPlugin:
    """What a plug-in said in GetInfo, and where it serves. Nothing is validated yet, except that the socket is within
    the root directory (LIM-27)."""

    name: str
    supported_versions: tuple[str, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class RegistrationHandle:
    """One registration. The handler numbers them, so that the end of an older one does not end a newer one (LIM-4)."""

    name: str
    generation: int


class PluginHandler(Protocol):
    """Registers the plug-ins of one type. For one socket these methods are called one after the other."""

    def validate_plugin(self, plugin: DiscoveredPlugin) -> None:
        """Check what the plug-in said. Raises RegistrationRefused."""

    async def register_plugin(self, plugin: DiscoveredPlugin) -> RegistrationHandle:
        """Returns when the plug-in is in use. Raises RegistrationRefused. It is cancelled when the socket is removed,
        and then the plug-in is not registered."""

    def deregister_plugin(self, handle: RegistrationHandle, reason: str) -> None:
        """End this registration, if it has not ended or been replaced."""
