"""Doing long work (``steps``) as a task among others: a turn, then everybody else, then the next turn."""

from __future__ import annotations

from collections.abc import Callable
from time import thread_time
from typing import TypeVar

import trio

from .steps import Steps

T = TypeVar("T")

TURN = 0.005
"""Seconds of CPU time after which others have a turn: as long as reading the bytes of a connection takes."""


async def run_in_turns(steps: Steps[T], charge: Callable[[float], None] = lambda seconds: None) -> T:
    """Do the work, and give way after every turn; what takes no longer than one is done without a checkpoint.

    ``charge`` gets the CPU time of each turn, also of the one that raises. When the task is cancelled, the rest of the
    work is never done.
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
    """The result if the work ended within this turn."""
    try:
        while thread_time() < until:
            next(steps)
    except StopIteration as end:
        return (end.value,)
    return None
