"""A view of the whole state, computed once for all callers until the state changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from ..concurrency.steps import SharedSteps, Steps
from ..core.devices.store import DeviceStore

T = TypeVar("T")


class CachedView(Generic[T]):
    """What was computed from a store, until that changes; reservations do not count. The work is done in steps, and
    the result is true of the moment of the first one."""

    def __init__(self, compute: Callable[[DeviceStore], Steps[T]]) -> None:
        self._compute = compute
        self._state: tuple[DeviceStore, int, int] | None = None
        self._work: SharedSteps[T] | None = None

    def steps(self, store: DeviceStore) -> Steps[T]:
        """The same object as before if nothing has changed. Do not change it."""
        state = store, store.version, store.reports
        if self._work is None or self._state != state:
            self._work, self._state = SharedSteps(self._compute(store)), state
        return self._work.steps()
