"""The plug-in watcher: registers the plug-ins whose sockets appear below plugins_registry (REG-14…REG-16b).

There is one task per socket, as long as it is there: it calls GetInfo, hands the plug-in to the handler of its type,
notifies it, and tries again with exponential backoff when that fails. When a socket is removed or recreated, its task
and its registration end, and only that registration: there may be a newer plug-in of the same resource (LIM-4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio

from ...concurrency.task_descriptions import describes_task
from ...errors import PluginUnavailable, RegistrationRefused
from ...events import PluginDirectoryUnwatched, PluginDiscovered, PluginSocketFailed
from ...rpc.pluginregistration import PluginInfo, connect_registration
from ..access.control import AccessControl
from ..event_log import EventLog
from ..layout import Layout, endpoint_of_found
from .directory_watch import DirectoryWatch, Identity
from .handler import SOCKET_REMOVED, DiscoveredPlugin, PluginHandler

MAX_CONCURRENT = 10
"""Sockets that are called at the same time; each has a second to answer GetInfo."""
INITIAL_BACKOFF = 0.5
MAX_BACKOFF = 122.0
"""Seconds between attempts, doubled each time from the one to the other (API-9)."""
MAX_ATTEMPTS = 12
"""Attempts to register one socket, which take a quarter of an hour. The kubelet never stops trying (LIM-35)."""


@dataclass(slots=True, eq=False)
class _Watched:
    identity: Identity
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    deregister: Callable[[str], None] | None = None


class PluginWatcher:
    """Reconciles the registered plug-ins with the sockets that are there. ``handlers`` are by type, as in GetInfo."""

    def __init__(
        self, layout: Layout, handlers: Mapping[str, PluginHandler], access: AccessControl, log: EventLog
    ) -> None:
        self._layout = layout
        self.handlers = handlers
        self._access = access
        self._log = log
        self._sockets: dict[Path, _Watched] = {}
        self._limiter = trio.CapacityLimiter(MAX_CONCURRENT)

    @property
    def desired(self) -> list[Path]:
        """The sockets that are there."""
        return sorted(self._sockets)

    @property
    def registered(self) -> list[Path]:
        """Those of them whose plug-in is registered."""
        return sorted(path for path, watched in self._sockets.items() if watched.deregister)

    @describes_task(name="plug-in watcher", waits_for="a change in {self._layout.plugins_registry.name}")
    async def watch(self) -> None:
        """Until cancelled."""
        with DirectoryWatch(
            self._layout.plugins_registry, self._report_unwatched, max_sockets=self._access.peer_limits.resources
        ) as directory:
            async with trio.open_nursery() as nursery:
                while True:
                    self._reconcile(directory.scan(), nursery)
                    await directory.wait_changed()

    def _reconcile(self, there: dict[Path, Identity], nursery: trio.Nursery) -> None:
        """First the sockets that were removed or recreated, then the new ones (REG-15)."""
        for path, watched in list(self._sockets.items()):
            if there.get(path) != watched.identity:
                del self._sockets[path]
                watched.scope.cancel()
                if watched.deregister:
                    watched.deregister(SOCKET_REMOVED)
        for path, identity in there.items():
            if path not in self._sockets:
                self._sockets[path] = _Watched(identity)
                nursery.start_soon(self._register, path, self._sockets[path])

    @describes_task(name="{path.name} in {path.parent.name}", waits_for="the next attempt")
    async def _register(self, path: Path, watched: _Watched) -> None:
        """Try until the plug-in is registered, its error is permanent, or the socket is removed."""
        backoff = INITIAL_BACKOFF
        with watched.scope:
            for attempt in range(1, MAX_ATTEMPTS + 1):
                try:
                    async with self._limiter:
                        await self._register_once(path, watched)
                    return
                except (PluginUnavailable, RegistrationRefused) as error:
                    again = attempt < MAX_ATTEMPTS and error.status != "UNIMPLEMENTED"
                    failed = PluginSocketFailed(
                        path=str(path), problem=str(error), attempt=attempt, retry_after=backoff if again else None
                    )
                    self._log.record([failed])
                    if not again:
                        return
                await trio.sleep(backoff)
                backoff = min(backoff * 2, MAX_BACKOFF)

    @describes_task(waits_for="the plug-in's answer")
    async def _register_once(self, path: Path, watched: _Watched) -> None:
        limits = self._access.registration_limits(path)
        async with connect_registration(endpoint_of_found(self._layout, path, ""), limits) as client:
            info = await client.get_info()
            try:
                handler = self._handler_of(info, path)
                plugin = self._discovered(info, path)
                handler.validate_plugin(plugin)
                handle = await handler.register_plugin(plugin)
            except RegistrationRefused as refusal:
                with suppress(PluginUnavailable):  # the refusal is reported
                    await client.notify(registered=False, error=str(refusal))
                raise
            watched.deregister = partial(handler.deregister_plugin, handle)
            if self._sockets.get(path) is not watched:  # it was removed meanwhile
                watched.deregister(SOCKET_REMOVED)
            try:
                await client.notify(registered=True)
            except PluginUnavailable:
                watched.deregister("NotifyRegistrationStatus failed")
                watched.deregister = None
                raise

    def _handler_of(self, info: PluginInfo, path: Path) -> PluginHandler:
        handler = self.handlers.get(info.type)
        if handler is None:
            known = ", ".join(sorted(self.handlers))
            raise RegistrationRefused(
                f"no handler registered for plugin type {info.type!r} at socket {path}; known types: {known}",
                rule="REG-16",
            )
        return handler

    def _discovered(self, info: PluginInfo, path: Path) -> DiscoveredPlugin:
        said = PluginDiscovered(
            path=str(path),
            type=info.type,
            versions=info.supported_versions,
            endpoint=info.endpoint,
            resource=info.name,
        )
        self._log.record([said])
        place = endpoint_of_found(self._layout, path, info.endpoint)
        return DiscoveredPlugin(name=info.name, supported_versions=info.supported_versions, place=place)

    def _report_unwatched(self, path: str, problem: str) -> None:
        self._log.record([PluginDirectoryUnwatched(path=path, problem=problem)])
