"""A device plug-in for tests and demonstrations: real gRPC, real socket, scripted behaviour.

Change what it does while it runs: ``set_health``, ``set_devices``, ``end_stream``; replace ``on_allocate`` and its
siblings by functions of your own to answer differently, fail or hang. ``calls`` records the calls it received.
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import trio

from ...arguments import Count, checked
from ...concurrency.condition_variable import ConditionVariable
from ...concurrency.trio_program import require_trio
from ...daemon.file_watch import FileWatch
from ...errors import ManagerUnavailable, RegistrationRefused, RpcFailed
from ...model import (
    API_VERSION,
    HEALTHY,
    Device,
    DeviceId,
    DeviceSpec,
    PluginOptions,
    Registration,
    RunOptions,
)
from ...rpc.deviceplugin.client import register_plugin
from ...rpc.deviceplugin.service import DevicePluginService
from ...rpc.pluginregistration import PluginInfo, PluginInfoService
from ...rpc.transport.server import open_server
from ...rpc.transport.unix_socket import require_short
from .own_socket import own_endpoint, remove_leftovers

REGISTRY_CHECK_PERIOD = 0.2
"""Seconds between two tries to register in :meth:`SimulatedPlugin.keep_registered`."""

_LONGEST_ENDPOINT = 100
"""Bytes; the path of a unix socket has at most 107."""

MAX_DEVICES = 1_000_000
"""A longer list is larger than any manager accepts."""

DRAIN_TIMEOUT = 1.0
"""Seconds that calls may take to end when their socket is lost."""


@checked
def numbered_devices(count: Count, *, prefix: str = "dev", numa_nodes: Sequence[int] = ()) -> list[Device]:
    """``count`` healthy devices ``dev-0``, ``dev-1`` …, assigned to the NUMA nodes in turn."""
    return [
        Device(
            id=f"{prefix}-{number}",
            numa_nodes=(numa_nodes[number % len(numa_nodes)],) if numa_nodes else None,
        )
        for number in range(count)
    ]


def valid_endpoint(endpoint: str) -> str:
    """``endpoint``, which must be a valid name of a plug-in's socket. Raises ValueError."""
    if not endpoint or endpoint in (".", "..") or "/" in endpoint or "\0" in endpoint:
        raise ValueError(f"must be a plain file name, not {endpoint!r}")
    if len(os.fsencode(endpoint)) > _LONGEST_ENDPOINT:
        raise ValueError(f"{endpoint[:20]}… is too long: a socket's name has at most {_LONGEST_ENDPOINT} bytes")
    if endpoint == "kubelet.sock":
        raise ValueError(f"{endpoint} is the manager's own socket")
    return endpoint


class SimulatedPlugin:
    """One plug-in serving one resource. Made by :func:`open_simulated_plugin`."""

    def __init__(
        self, directory: Path, resource: str, devices: Iterable[Device], options: PluginOptions, endpoint: str
    ) -> None:
        self.directory = directory
        self.resource = resource
        self.options = options
        self.endpoint = endpoint
        self.calls: list[tuple[str, Any]] = []
        self.info = PluginInfo(type="DevicePlugin", name=resource, endpoint="", supported_versions=(API_VERSION,))
        self.on_options: Callable[[], Awaitable[PluginOptions]] = self._default_options
        self.on_allocate: Callable[[Sequence[DeviceId]], Awaitable[RunOptions | None]] = self._answer_if_healthy
        self.on_preferred: Callable[..., Awaitable[Sequence[DeviceId]]] = self._prefer_first
        self.on_pre_start: Callable[[Sequence[DeviceId]], Awaitable[None]] = self._prepare_nothing
        self._devices = list(devices)
        self._version = 0
        self._changed = ConditionVariable()
        self._streams_ended = False
        self.restore_socket: Callable[[], bool] = lambda: False
        self.drain: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint

    # --- what a test does with it -----------------------------------------------------------------

    @property
    def registry(self) -> Path:
        return self.directory / "kubelet.sock"

    @property
    def devices(self) -> tuple[Device, ...]:
        return tuple(self._devices)

    @checked
    async def register(self, *, version: str = API_VERSION, endpoint: str | None = None) -> None:
        """Register the plug-in. Raises RegistrationRefused or ManagerUnavailable."""
        self._streams_ended = False
        registration = Registration(
            version=version,
            endpoint=self.endpoint if endpoint is None else endpoint,
            resource=self.resource,
        )
        await register_plugin(self.registry, registration)

    @checked
    def set_devices(self, devices: Iterable[Device]) -> None:
        """Report this list from now on, including its duplicates."""
        self._devices = list(devices)
        self._notify()

    @checked
    def set_health(self, device: str, health: str = HEALTHY) -> None:
        """Report a new health for one device."""
        self.set_devices(replace(d, health=health) if d.id == device else d for d in self._devices)

    def end_stream(self) -> None:
        """End every open ListAndWatch stream with status OK."""
        self._streams_ended = True
        self._notify()

    async def keep_registered(
        self, on_registered: Callable[[], None] = lambda: None, on_waiting: Callable[[str], None] = lambda reason: None
    ) -> None:
        """Register, and again when kubelet.sock is created again or its own socket deleted, until cancelled (REG-22).

        Both are signs of a kubelet's restart; the plug-in serves its socket before it calls Register. The end of its
        stream is not a reason to register again: a newer process may have taken over its socket.
        ``on_waiting`` gets the reason why it is not registered, whenever the reason changes.
        """
        registered_on: tuple[int, int] | None = None
        reported = ""
        with FileWatch() as watch:
            while True:
                watch.arm([self.registry, self.directory / self.endpoint])
                current = _identity(self.registry)
                own_is_lost = not os.path.lexists(self.directory / self.endpoint)
                reason = ""
                if current is None:
                    reason = f"there is no {self.registry}"
                elif current != registered_on or own_is_lost:
                    registered_on, reason = await self._try_to_register()
                    if registered_on:
                        on_registered()
                        continue  # its own socket may be another one by now
                if reason and reason != reported:
                    on_waiting(reason)
                reported = reason
                if reason:
                    await trio.sleep(REGISTRY_CHECK_PERIOD)
                else:
                    await watch.changed()

    async def _try_to_register(self) -> tuple[tuple[int, int] | None, str]:
        """Register; returns the kubelet.sock that was asked, or None and why that failed."""
        try:
            self.restore_socket()
            await self._drain_streams()
            asked = _identity(self.registry)  # now, since both may take a while
            await self.register()
        except (ManagerUnavailable, RegistrationRefused, OSError) as error:
            return None, str(error)
        return asked, ""

    async def _drain_streams(self) -> None:
        """A kubelet from v1.37 on refuses a socket while it has an open stream (D37-4)."""
        self.end_stream()
        with trio.move_on_after(DRAIN_TIMEOUT):
            await self.drain()

    # --- what a manager asks of it (rpc.deviceplugin.service.PluginApi) -----------------------------

    def get_info(self) -> PluginInfo:
        """For the plug-in watcher, when the socket is in plugins_registry (REG-16)."""
        self.calls.append(("GetInfo", None))
        return self.info

    def notify(self, registered: bool, error: str) -> None:
        self.calls.append(("NotifyRegistrationStatus", (registered, error)))

    async def get_options(self) -> PluginOptions:
        self.calls.append(("GetDevicePluginOptions", None))
        return await self.on_options()

    async def next_report(self, seen: int) -> tuple[int, Sequence[Device]] | None:
        """The list, as soon as it is newer than version ``seen``; None ends the stream."""
        if seen < 0:
            self.calls.append(("ListAndWatch", None))
        await self._changed.wait_until(lambda: self._version != seen or self._streams_ended)
        return None if self._streams_ended else (self._version, self.devices)

    async def get_preferred_allocation(
        self, available: Sequence[DeviceId], must_include: Sequence[DeviceId], size: int
    ) -> Sequence[DeviceId]:
        self.calls.append(("GetPreferredAllocation", (tuple(available), tuple(must_include), size)))
        return await self.on_preferred(available, must_include, size)

    async def allocate(self, devices: Sequence[DeviceId]) -> RunOptions | None:
        self.calls.append(("Allocate", tuple(devices)))
        return await self.on_allocate(devices)

    async def pre_start_container(self, devices: Sequence[DeviceId]) -> None:
        self.calls.append(("PreStartContainer", tuple(devices)))
        await self.on_pre_start(devices)

    async def _default_options(self) -> PluginOptions:
        return self.options

    async def _answer_if_healthy(self, devices: Sequence[DeviceId]) -> RunOptions:
        self.require_healthy(devices)
        return self.default_answer(devices)

    def require_healthy(self, devices: Sequence[DeviceId]) -> None:
        """Raise RpcFailed if one of these does not exist or is not healthy: the manager may not know yet."""
        healthy = {device.id for device in self._devices if device.is_healthy}
        if bad := [id for id in devices if id not in healthy]:
            raise RpcFailed(f"no healthy device {', '.join(map(repr, bad))}")

    def default_answer(self, devices: Sequence[DeviceId]) -> RunOptions:
        """An environment variable with the ids, and /dev/null as a device node per id."""
        variable = self.resource.rpartition("/")[2].upper().replace("-", "_").replace(".", "_")
        return RunOptions(
            envs={f"{variable}_DEVICES": ",".join(devices)},
            device_specs=tuple(
                DeviceSpec(container_path=f"/dev/{id}", host_path="/dev/null", permissions="rw") for id in devices
            ),
        )

    async def _prefer_first(
        self, available: Sequence[DeviceId], must_include: Sequence[DeviceId], size: int
    ) -> Sequence[DeviceId]:
        rest = [id for id in available if id not in must_include]
        return [*must_include, *rest][:size]

    async def _prepare_nothing(self, devices: Sequence[DeviceId]) -> None:
        return None

    def _notify(self) -> None:
        self._version += 1
        self._changed.notify()


def _identity(path: Path) -> tuple[int, int] | None:
    """Differs for each socket that is bound there. Not by the time when its inode changed, as which the kernel counts a
    new mode, owner or link, too."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


@checked
@asynccontextmanager
async def open_simulated_plugin(
    directory: Path | str,
    resource: str,
    *,
    devices: Count | Iterable[Device] = 1,
    options: PluginOptions = PluginOptions(),  # noqa: B008 - frozen
    endpoint: str | None = None,
) -> AsyncIterator[SimulatedPlugin]:
    """Serve a simulated plug-in in ``directory``; then call ``register`` to register it.

    Its socket is ``endpoint``, or by default one that no other process uses; those that killed processes left behind
    are removed. In a directory under plugins_registry the manager finds it by itself: do not call ``register`` there.
    Leaving the block ends the plug-in like a crash: connections are cut and its socket is removed.

    Raises ValueError when ``endpoint`` is not a valid name for a plug-in's socket, DirectoryUnusable when its path is
    too long for a socket, FileExistsError when a file of that name is not a socket, and OSError when the directory
    cannot be used.
    """
    require_trio("open_simulated_plugin")
    listed = numbered_devices(devices) if isinstance(devices, int) else devices
    name = valid_endpoint(endpoint or own_endpoint(resource))
    plugin = SimulatedPlugin(Path(directory), resource, listed, options, name)
    path = plugin.directory / name
    require_short(path)
    if not endpoint:
        remove_leftovers(plugin.directory, resource)
    if path.is_socket():
        path.unlink(missing_ok=True)
    elif os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, "is no socket", str(path))
    services = [DevicePluginService(plugin), PluginInfoService(plugin)]
    async with open_server(path, services, grace=0, shutdown_message="the simulated plug-in was stopped") as server:
        plugin.restore_socket, plugin.drain = server.restore, server.drain
        yield plugin
