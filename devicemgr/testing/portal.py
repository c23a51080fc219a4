"""What an ordinary test holds of its portal's program: see :mod:`devicemgr.daemon.portal` for the portal itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..daemon.blocking import BlockingManager
from ..daemon.portal import Portal, open_portal
from ..model import API_VERSION, HEALTHY, Device, DeviceId, PluginOptions, RunOptions

__all__ = ["Blocking", "BlockingManager", "BlockingPlugin", "BlockingProcess", "Portal", "open_portal"]


class Blocking:
    """An object that lives in a portal's program, for callers outside: the same methods, without ``await``."""

    def __init__(self, portal: Portal, target: Any) -> None:
        self._portal = portal
        self._target = target

    def __repr__(self) -> str:
        return f"<blocking {self._target!r}>"

    if not TYPE_CHECKING:  # a type checker sees what the subclasses say

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(name)
            value: Any = self._portal.call(getattr, self._target, name)
            return partial(self._portal.call, value) if callable(value) else value

        def __setattr__(self, name: str, value: Any) -> None:
            if name.startswith("_"):
                object.__setattr__(self, name, value)
            else:
                self._portal.call(setattr, self._target, name, value)


class BlockingPlugin(Blocking):
    """A :class:`~devicemgr.testing.SimulatedPlugin`, which says what each method does. The functions that answer stay
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


class BlockingProcess(Blocking):
    """A :class:`~devicemgr.testing.Command` that runs."""

    if TYPE_CHECKING:

        @property
        def is_running(self) -> bool: ...
        @property
        def output(self) -> str: ...
        def terminate(self) -> int: ...
        def kill(self) -> None: ...
        def change(self) -> None: ...
        def descriptors(self) -> int: ...
