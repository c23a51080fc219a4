"""Something has changed, look again: a condition variable, without the lock that threads need.

A notification carries no information: tasks look at the state itself, before they wait and after. This is
level-triggered, as Kubernetes' controllers are: a notification that comes too early, too often or together with others
does no harm, and none is lost between looking and waiting, because Trio switches tasks only at an ``await``.
"""

from __future__ import annotations

from collections.abc import Callable

import trio


class ConditionVariable:
    """Tasks wait, each until its own condition holds. A task that changes the state calls :meth:`notify`."""

    def __init__(self) -> None:
        self._waiting: dict[trio.Event, Callable[[], bool]] = {}

    def notify(self) -> None:
        """Wake the tasks whose condition holds now.

        The conditions are evaluated by the task that notifies: most changes concern few tasks, and to evaluate a
        condition is cheaper than to wake a task.
        """
        for woken, condition in self._waiting.items():
            if condition():
                woken.set()

    async def wait(self) -> None:
        """Return after the next :meth:`notify`."""
        await self._wait(lambda: True)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return when ``condition`` holds, at once if it does already. It is evaluated again when the task runs, since
        another task may have changed the state again."""
        while not condition():
            await self._wait(condition)

    async def _wait(self, condition: Callable[[], bool]) -> None:
        woken = trio.Event()
        self._waiting[woken] = condition
        try:
            await woken.wait()
        finally:
            del self._waiting[woken]
