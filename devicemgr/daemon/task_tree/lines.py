"""The lines of the supervisor's picture: each of its context managers opens a nursery, which is shown by its name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import trio

P = ParamSpec("P")
T = TypeVar("T")


class HasLines(Protocol):
    """``lines`` are the nurseries that are open, with their names."""

    lines: dict[trio.Nursery, str]


Owner = TypeVar("Owner", bound=HasLines)


def line_of_the_tree(
    function: Callable[Concatenate[Owner, P], AsyncIterator[T]],
) -> Callable[Concatenate[Owner, P], AbstractAsyncContextManager[T]]:
    """``asynccontextmanager``, for a method that opens a nursery: from then until the nursery has ended, it is among
    ``lines`` under the method's name."""
    make: Any = asynccontextmanager(function)

    @wraps(function)
    @asynccontextmanager
    async def enter(self: Owner, *args: P.args, **options: P.kwargs) -> AsyncIterator[T]:
        task = trio.lowlevel.current_task()
        outer = task.child_nurseries
        opened: list[trio.Nursery] = []
        try:
            async with make(self, *args, **options) as value:
                opened = task.child_nurseries[len(outer) :]
                self.lines.update(dict.fromkeys(opened, function.__name__))
                yield value
        finally:
            for nursery in opened:
                self.lines.pop(nursery, None)

    entering: Any = enter
    return entering  # type: ignore[no-any-return]
