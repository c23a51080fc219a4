"""What is told of the whole state, worked out once for all who ask while nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from ..core.devices.store import DeviceStore
from ..steps import SharedSteps, Steps

T = TypeVar("T")


class Kept(Generic[T]):
    """What was worked out from a store, until that changes; reservations do not count. Long work is done in steps, and
    the result is true of the moment of the first one."""

    def __init__(self, work_out: Callable[[DeviceStore], Steps[T]]) -> None:
        self._work_out = work_out
        self._of: tuple[DeviceStore, int, int] | None = None
        self._work: SharedSteps[T] | None = None

    def of(self, store: DeviceStore) -> Steps[T]:
        """The same object as before if nothing has changed. Do not change it."""
        state = store, store.version, store.reports
        if self._work is None or self._of != state:
            self._work, self._of = SharedSteps(self._work_out(store)), state
        return self._work.steps()
