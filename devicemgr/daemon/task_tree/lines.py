"""The lines of the supervisor's picture: each of its context managers opens a nursery, which is shown by its name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import trio

from ...events import NurseryClosed, NurseryOpened
from ..event_log import EventLog

P = ParamSpec("P")
T = TypeVar("T")


class HasLines(Protocol):
    """``lines`` are the nurseries that are open, with their names; ``log`` gets their events."""

    lines: dict[trio.Nursery, str]
    log: EventLog


Owner = TypeVar("Owner", bound=HasLines)


def line_of_the_tree(
    function: Callable[Concatenate[Owner, P], AsyncIterator[T]],
) -> Callable[Concatenate[Owner, P], AbstractAsyncContextManager[T]]:
    """``asynccontextmanager``, for a method that opens a nursery: from then until the nursery has ended, it is among
    ``lines`` under the method's name, and both are recorded."""
    make = asynccontextmanager(function)
    name = function.__name__

    @wraps(function)
    @asynccontextmanager
    async def enter(self: Owner, /, *args: P.args, **options: P.kwargs) -> AsyncIterator[T]:
        task = trio.lowlevel.current_task()
        outer = task.child_nurseries
        opened: list[trio.Nursery] = []
        try:
            async with make(self, *args, **options) as value:
                opened = task.child_nurseries[len(outer) :]
                self.lines.update(dict.fromkeys(opened, name))
                self.log.record([NurseryOpened(nursery=name)])
                yield value
        finally:
            for nursery in opened:
                del self.lines[nursery]
                self.log.record([NurseryClosed(nursery=name)])

    return enter
