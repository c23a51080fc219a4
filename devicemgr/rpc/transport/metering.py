"""The CPU time of one call: of its task's steps, and not of other tasks while it waits."""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from time import thread_time
from typing import Any

from ...concurrency.task_descriptions import describes_task


@describes_task(awaits="coroutine")  # not innermost: types.coroutine gives the function another code object
@types.coroutine
def metered(coroutine: Coroutine[Any, Any, Any], charge: Callable[[float], None]) -> Generator[Any, Any, Any]:
    """Await a coroutine, and call ``charge`` with the CPU time of each of its steps, in seconds."""
    step, value = coroutine.send, None
    while True:
        began = thread_time()
        try:
            trap = step(value)
        except StopIteration as end:
            return end.value
        finally:
            charge(thread_time() - began)
        try:
            value = yield trap
            step = coroutine.send
        except BaseException as error:
            value, step = error, coroutine.throw
