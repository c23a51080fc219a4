"""Something has changed, look again: a condition variable, without the lock that threads need beside it.

A notification carries nothing and is true of nothing: the state is, and whoever waits looks at it, before and after.
That is level-triggered, as a controller of Kubernetes is, so a notification that comes too early, too often or together
with others does no harm. None is lost between looking and waiting, because Trio's tasks switch only at an ``await``.
"""

from __future__ import annotations

from collections.abc import Callable

import trio


class ConditionVariable:
    """Any number of tasks wait until a condition of theirs holds; whoever changes the state calls :meth:`notify`."""

    def __init__(self) -> None:
        self._waiting: dict[trio.Event, Callable[[], bool]] = {}

    def notify(self) -> None:
        """The state may have changed: wake those whose condition holds now.

        Conditions are evaluated here, in the task that notifies: most changes concern few of those who wait, and to
        look is cheaper than to wake.
        """
        for woken, condition in self._waiting.items():
            if condition():
                woken.set()

    async def wait(self) -> None:
        """Return after the next :meth:`notify`."""
        await self._wait(lambda: True)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return when ``condition`` holds, at once if it does already. It holds on return: it is evaluated again when
        the task runs, since another task may have been faster."""
        while not condition():
            await self._wait(condition)

    async def _wait(self, condition: Callable[[], bool]) -> None:
        woken = trio.Event()
        self._waiting[woken] = condition
        try:
            await woken.wait()
        finally:
            del self._waiting[woken]
