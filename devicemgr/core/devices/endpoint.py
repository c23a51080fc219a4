"""The life of an endpoint: the manager's view of one registration of one plug-in.

::

    SERVING ──stream ended──▶ STOPPED ──grace period over──▶ REMOVED
       ▲                          │
       └── a new registration ────┘   (a new endpoint with a higher generation takes over)

A registration that is still being connected has no endpoint yet: it takes over only when the plug-in has
answered (LIM-3). Generations are how late news of an old stream is told from news of the new one (LIM-2, LIM-4).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from ...model import PluginOptions, ResourceName

GRACE_PERIOD = 300.0
"""Seconds a stopped endpoint keeps its capacity; it ends strictly after (LW-11)."""
RESTORED = 0
"""The generation of an endpoint that is known from the checkpoint only (REG-19); registrations count from 1."""


class State(Enum):
    SERVING = "serving"
    STOPPED = "stopped"
    REMOVED = "removed"


class Change(Enum):
    STREAM_ENDED = "stream ended"
    GRACE_OVER = "grace period over"


NEXT = {
    (State.SERVING, Change.STREAM_ENDED): State.STOPPED,
    (State.STOPPED, Change.GRACE_OVER): State.REMOVED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """``stopped_at`` is None as long as it serves; ``socket`` is the plug-in's file name."""

    resource: ResourceName
    generation: int
    socket: str
    options: PluginOptions = PluginOptions()
    state: State = State.SERVING
    stopped_at: float | None = None

    def stopped(self, *, now: float) -> Endpoint:
        """This endpoint after its stream ended. Stopping twice keeps the first stop time."""
        state = NEXT.get((self.state, Change.STREAM_ENDED))
        return self if state is None else replace(self, state=state, stopped_at=now)

    def is_expired(self, *, now: float, grace: float = GRACE_PERIOD) -> bool:
        """Has the grace period run out? Strictly more than ``grace`` seconds must have passed (LW-11)."""
        return self.stopped_at is not None and now - self.stopped_at > grace
