"""Whether an API server answers: a state that all requests of a client find out together.

Whoever wants to tell somebody waits for its changes, so that an outage is reported once, and not once for each try.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import trio

from ...concurrency.condition_variable import ConditionVariable
from .retries import Failure, needs_somebody


@dataclass(frozen=True, slots=True)
class Lost:
    """It does not answer, or not as it has to: ``failure`` is the first that said so, or that needs somebody."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Reached:
    """It answers, after ``seconds`` in which it did not."""

    seconds: float


class Reachability:
    """Reached until a request fails; lost until one succeeds."""

    def __init__(self) -> None:
        self._lost: Lost | None = None
        self._since = 0.0
        self._last: Lost | Reached | None = None
        self._changed = ConditionVariable()

    @property
    def lost(self) -> Lost | None:
        """None while it answers."""
        return self._lost

    def failed(self, failure: Failure) -> Lost | None:
        """What has changed by that, if something has: also that an outage does not pass by itself any more."""
        if self._lost is None:
            self._since = trio.current_time()
        elif needs_somebody(self._lost.failure) or not needs_somebody(failure):
            return None
        self._lost = Lost(failure)
        self._record(self._lost)
        return self._lost

    def succeeded(self) -> Reached | None:
        """What has changed by that, if something has."""
        if self._lost is None:
            return None
        self._lost, reached = None, Reached(trio.current_time() - self._since)
        self._record(reached)
        return reached

    async def changes(self) -> AsyncIterator[Lost | Reached]:
        """Each change from now on, without end; of several that come at once only the last."""
        last = self._last
        while True:
            await self._changed.wait_until(lambda: self._last is not last)  # noqa: B023 - it is awaited here
            last = self._last
            assert last is not None
            yield last

    def _record(self, change: Lost | Reached) -> None:
        self._last = change
        self._changed.notify()
