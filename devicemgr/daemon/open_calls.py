"""The calls that a program's own tasks make of its manager: none outlasts it.

Calls that come through a socket are tasks of the manager's, and end with their nursery. An embedder's tasks belong to
somebody else, and may call at any time, also when the manager has ended. Without this they would be told what a store
says that nobody keeps up to date, or wait for a task that is gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from ..condition_variable import ConditionVariable
from ..errors import ManagerClosed, require_trio


class OpenCalls:
    """Open until :meth:`close`, for good."""

    def __init__(self) -> None:
        self._scopes: set[trio.CancelScope] = set()
        self._closed = False
        self._ended = ConditionVariable()

    def check(self) -> None:
        """Raises ManagerClosed."""
        if self._closed:
            raise ManagerClosed("the manager has ended: the block of open_device_manager was left")

    @contextmanager
    def track(self) -> Iterator[None]:
        """Around one call, which is broken off when the manager ends. Raises ManagerClosed.

        What the call has taken it gives back, as when its caller is cancelled; a result that is there already counts.
        """
        self.check()
        require_trio("this method of the manager")
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                yield
            finally:
                self._scopes.discard(scope)
                self._ended.notify()
        if scope.cancelled_caught:
            raise ManagerClosed("the manager ended during the call")

    def close(self) -> None:
        self._closed = True
        for scope in self._scopes:
            scope.cancel()

    async def wait_ended(self) -> None:
        """Return when every call that was broken off has ended: none of them waits for anything then."""
        with trio.CancelScope(shield=True):
            await self._ended.wait_until(lambda: not self._scopes)
