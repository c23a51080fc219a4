"""The method calls that the tasks of an embedding program make: none outlasts the manager.

Calls that come through a socket are tasks of the manager, and end with its nursery. The tasks of a program may call at
any time, also when the manager has ended. Without this they would read a store that is no longer kept up to date, or
wait for a task that has ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from ..concurrency.condition_variable import ConditionVariable
from ..concurrency.trio_program import require_trio
from ..errors import ManagerClosed


class OpenCalls:
    """The calls that are in progress, until :meth:`close`."""

    def __init__(self) -> None:
        self.open: dict[trio.CancelScope, tuple[trio.lowlevel.Task, float]] = {}
        """Those that are in progress, by their cancel scopes: the task that calls, and when it began."""
        self._closed = False
        self._ended = ConditionVariable()

    def check(self) -> None:
        """Raises ManagerClosed."""
        if self._closed:
            raise ManagerClosed("the manager has ended: the block of open_device_manager was left")

    @contextmanager
    def track(self) -> Iterator[None]:
        """Wraps a call, which is cancelled when the manager ends. Raises ManagerClosed.

        The call releases what it holds, as when its caller is cancelled. A call that has its result already returns it.
        """
        self.check()
        require_trio("this method of the manager")
        with trio.CancelScope() as scope:
            self.open[scope] = trio.lowlevel.current_task(), trio.current_time()
            try:
                yield
            finally:
                del self.open[scope]
                self._ended.notify()
        if scope.cancelled_caught:
            raise ManagerClosed("the manager ended during the call")

    def close(self) -> None:
        self._closed = True
        for scope in self.open:
            scope.cancel()

    async def wait_ended(self) -> None:
        """Return when every call has ended. They are cancelled, so that is soon."""
        with trio.CancelScope(shield=True):
            await self._ended.wait_until(lambda: not self.open)
