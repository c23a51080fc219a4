"""What a kubelet does with a container that ends: it is started again, a little later each time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import trio

from ...errors import collapse_exception_group

FIRST_DELAY = 1.0
"""Seconds until a container that has ended for the first time is running again."""
BACK_OFF = 10.0
"""Seconds of the first pause after that; each further one is twice as long."""
LONGEST_BACK_OFF = 300.0
_POLL = 0.05


class Respawned(Protocol):
    """What a bench is to somebody who starts its plug-in again."""

    @property
    def check(self) -> str | None: ...
    @property
    def disruptions(self) -> Sequence[float]: ...
    @property
    def has_exited(self) -> bool: ...

    async def respawn(self) -> None: ...


def back_off(exits: int) -> float:
    """Seconds before it is started again, when it has exited so many times."""
    return FIRST_DELAY if exits < 2 else min(BACK_OFF * 2 ** (exits - 2), LONGEST_BACK_OFF)


@asynccontextmanager
async def open_respawning(bench: Respawned | None) -> AsyncIterator[None]:
    """Within, the plug-in is started again whenever it ends unasked; None leaves it as it is."""
    with collapse_exception_group():
        async with trio.open_nursery() as nursery:
            if bench is not None:
                nursery.start_soon(_respawn, bench)
            yield
            nursery.cancel_scope.cancel()


async def _respawn(bench: Respawned) -> None:
    """Start the plug-in whenever it has ended though nobody asked it to, until cancelled.

    Restarts of a kubelet are further apart than the ten minutes after which it forgets, so each check, and each
    disruption, begins to count anew. Raises SubjectUnusable.
    """
    cause, exits = (bench.check, len(bench.disruptions)), 0
    while True:
        while not bench.has_exited:  # noqa: ASYNC110 - the end of what a program has started has no event
            await trio.sleep(_POLL)
        now = bench.check, len(bench.disruptions)
        cause, exits = now, exits + 1 if cause == now else 1
        await trio.sleep(back_off(exits))
        if bench.has_exited:  # and nobody was quicker
            await bench.respawn()
