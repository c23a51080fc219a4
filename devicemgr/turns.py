"""Long work (``steps``) in a task: other tasks run after each turn of a few milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from time import thread_time
from typing import TypeVar

import trio

from .steps import Steps

T = TypeVar("T")

TURN = 0.005
"""Seconds of CPU time of one turn, as long as one read of a connection may take."""


async def run_in_turns(steps: Steps[T], charge: Callable[[float], None] = lambda seconds: None) -> T:
    """Do the work, with a checkpoint after every turn. Work that takes less than one turn has no checkpoint.

    ``charge`` gets the CPU time of each turn in seconds, also of one that raises. When the task is cancelled, the rest
    of the work is not done.
    """
    while True:
        began = thread_time()
        try:
            ended = _turn(steps, began + TURN)
        finally:
            charge(thread_time() - began)
        if ended is not None:
            return ended[0]
        await trio.lowlevel.checkpoint()


def _turn(steps: Steps[T], until: float) -> tuple[T] | None:
    """The result, if the work ends within this turn. Looking at the clock takes longer than most steps, and most work
    is one step, so the first one is done without."""
    try:
        next(steps)
        while thread_time() < until:
            next(steps)
    except StopIteration as end:
        return (end.value,)
    return None
