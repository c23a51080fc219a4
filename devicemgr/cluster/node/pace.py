"""How soon something is written again that somebody else undoes: who has the same object to write, as a second agent of
another kind has, would undo it as fast as it is written, and both would do nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable

import trio

from ...concurrency.condition_variable import ConditionVariable
from ..api.retries import Backoff

STEADY = 2.0
"""Seconds after which what was written counts as not undone."""


class Pace:
    """Of one object, whose task is woken by ``changed``."""

    def __init__(self, changed: ConditionVariable) -> None:
        self._changed = changed
        self._backoff = Backoff()

    async def wait(self, since: float, is_news: Callable[[], bool]) -> None:
        """Before something is written again that was written at ``since``: a pause that grows each time, unless there
        ``is_news`` that nobody knows yet."""
        undone = Backoff() if trio.current_time() - since >= STEADY else self._backoff.failed()
        with trio.move_on_after(undone.delay(random.random())) as pause:
            await self._changed.wait_until(is_news)
        self._backoff = undone if pause.cancelled_caught else Backoff()
