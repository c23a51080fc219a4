"""CPU time by call: what a task's steps take while it answers, and not what others do while it waits."""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from time import thread_time
from typing import Any


@types.coroutine
def metered(coroutine: Coroutine[Any, Any, Any], charge: Callable[[float], None]) -> Generator[Any, Any, Any]:
    """Await a coroutine, and charge the CPU time of each of its steps as it is spent."""
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
