"""Proxies of what lives in a portal's program; :mod:`devicemgr.daemon.threads.portal` is the portal itself."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from ..daemon.threads.blocking import BlockingManager, Program
from ..daemon.threads.portal import Portal, open_portal
from ..model import API_VERSION, HEALTHY, Device, DeviceId, PluginOptions, RunOptions

__all__ = [
    "AwaitedManager",
    "Blocking",
    "BlockingKube",
    "BlockingKubeNode",
    "BlockingManager",
    "BlockingPlugin",
    "BlockingProcess",
    "Portal",
    "open_portal",
]


class _PortalProxy:
    """A proxy of an object in a portal's program, for callers outside of it."""

    def __init__(self, portal: Program, target: Any) -> None:
        self._portal = portal
        self._target = target

    def __repr__(self) -> str:
        return f"<{type(self).__name__.lower()} {self._target!r}>"

    if not TYPE_CHECKING:  # a type checker sees what the subclasses say

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(name)
            value = self._portal.call(getattr, self._target, name)
            return self._method(value) if callable(value) else value

        def __setattr__(self, name: str, value: Any) -> None:
            if name.startswith("_"):
                object.__setattr__(self, name, value)
            else:
                self._portal.call(setattr, self._target, name, value)


class Blocking(_PortalProxy):
    """For ordinary code: the same methods, without ``await``."""

    def _method(self, method: Callable[..., Any]) -> Callable[..., Any]:
        return partial(self._portal.call, method)


class Awaited(_PortalProxy):
    """For another Trio program: the same methods, awaited where they are async. So a test can use a manager that
    outlives it."""

    def _method(self, method: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(inspect.unwrap(method)):
            return partial(self._await, method)
        return partial(self._portal.call, method)

    async def _await(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        future = self._portal.submit(method, *args, **kwargs)
        try:
            return await trio.to_thread.run_sync(future.result, abandon_on_cancel=True)
        finally:
            future.cancel()

    @asynccontextmanager
    async def _enter(self, opened: AbstractAsyncContextManager[Any]) -> AsyncIterator[Awaited]:
        """Open something for this in its own program."""
        entered = self._portal.enter(opened)
        target = await trio.to_thread.run_sync(entered.__enter__)
        try:
            yield Awaited(self._portal, target)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(entered.__exit__, None, None, None)


class AwaitedManager(Awaited):
    """A :class:`~devicemgr.DeviceManager` in another program."""

    def __init__(self, manager: BlockingManager) -> None:
        super().__init__(manager._portal, manager._target)

    @property
    def faults(self) -> Awaited:
        return Awaited(self._portal, self._target.faults)

    @property
    def pod_resources(self) -> Awaited:
        return Awaited(self._portal, self._portal.call(lambda: self._target.pod_resources))


class BlockingPlugin(Blocking):
    """A :class:`~devicemgr.testing.SimulatedPlugin`, which documents the methods. The functions that answer calls stay
    async: they run in the portal's program."""

    if TYPE_CHECKING:
        calls: list[tuple[str, Any]]
        options: PluginOptions
        on_options: Callable[[], Awaitable[PluginOptions]]
        on_allocate: Callable[[Sequence[DeviceId]], Awaitable[RunOptions | None]]
        on_preferred: Callable[..., Awaitable[Sequence[DeviceId]]]
        on_pre_start: Callable[[Sequence[DeviceId]], Awaitable[None]]

        @property
        def devices(self) -> tuple[Device, ...]: ...
        def register(self, *, version: str = API_VERSION, endpoint: str | None = None) -> None: ...
        def set_devices(self, devices: Iterable[Device]) -> None: ...
        def set_health(self, device: str, health: str = HEALTHY) -> None: ...
        def end_stream(self) -> None: ...


class BlockingKube(Blocking):
    """A :class:`~devicemgr.testing.Kube`, which documents the methods."""

    if TYPE_CHECKING:
        namespace: str

        def apply(self, what: Mapping[str, Any] | str | Path) -> Any: ...
        def get(self, obj: dict[str, Any] | str) -> dict[str, Any] | None: ...
        def delete(self, obj: dict[str, Any] | str, *, grace: int | None = None) -> None: ...
        def pods(self, selector: str = "") -> list[dict[str, Any]]: ...
        def wait_for_pod(
            self, pod: dict[str, Any] | str, *, phase: str = "Running", timeout: float = 5.0
        ) -> dict[str, Any]: ...
        def wait_until_deleted(self, obj: dict[str, Any] | str, *, timeout: float = 5.0) -> None: ...
        def wait_for(
            self, obj: dict[str, Any] | str, holds: Callable[[dict[str, Any]], bool], *, timeout: float = 5.0
        ) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class BlockingKubeNode:
    """A :class:`~devicemgr.testing.KubeNode`, for ordinary code."""

    name: str
    manager: BlockingManager


class BlockingProcess(Blocking):
    """A running :class:`~devicemgr.testing.Command`."""

    if TYPE_CHECKING:

        @property
        def is_running(self) -> bool: ...
        @property
        def output(self) -> str: ...
        def terminate(self) -> int: ...
        def kill(self) -> None: ...
        def change(self) -> None: ...
        def descriptors(self) -> int: ...
