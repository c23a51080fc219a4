"""Long work (``steps``) in a task: other tasks run after each turn of a few milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter, thread_time
from typing import TypeVar

import trio

from .steps import Steps

T = TypeVar("T")

TURN = 0.005
"""Seconds of one turn, as long as one read of a connection may take. They are not of CPU time, as those are: that clock
takes a system call, for each step."""


async def run_in_turns(steps: Steps[T], charge: Callable[[float], None] | None = None) -> T:
    """Do the work, with a checkpoint after every turn. Work that takes less than one turn has no checkpoint.

    ``charge`` gets the CPU time of each turn in seconds, also of one that raises. When the task is cancelled, the rest
    of the work is not done.
    """
    while True:
        began = thread_time() if charge else 0.0
        try:
            ended = _turn(steps, perf_counter() + TURN)
        finally:
            if charge:
                charge(thread_time() - began)
        if ended is not None:
            return ended[0]
        await trio.lowlevel.checkpoint()


def _turn(steps: Steps[T], until: float) -> tuple[T] | None:
    """The result, if the work ends within this turn. Looking at the clock takes longer than most steps, and most work
    is one step, so the first one is done without."""
    try:
        next(steps)
        while perf_counter() < until:
            next(steps)
    except StopIteration as end:
        return (end.value,)
    return None
