"""Plug-ins that claim the same resource, and register again whenever they are cut: the newest wins (REG-10), for ever.

None of them sees the others; the manager sees them all. In a rolling update, too, the new plug-in cuts the old one,
which may come back before it ends, and be cut again. So it is no take-over that tells, but how often plug-ins come
*back*.
"""

from __future__ import annotations

from dataclasses import dataclass, field

TOLERATED_RETURNS = 2
"""The old plug-in comes back once, and the new one after it."""
CALM_PERIOD = 60.0
"""Seconds without a take-over after which all of them are forgotten."""
TURN = 3.0
"""Seconds for which the one that serves is left alone then: less than the other one's patience, which is often five."""
MAX_CLAIMANTS = 10


@dataclass(frozen=True, slots=True, order=True)
class Claimant:
    """A plug-in, as it can be told from another one: where it serves, and the process."""

    socket: str
    pid: int

    def __str__(self) -> str:
        return f"{self.socket} (process {self.pid})"


@dataclass(slots=True)
class Contention:
    """What happened to one resource of late."""

    _cut: dict[Claimant, None] = field(default_factory=dict, init=False)  # the newest last
    _returns: int = field(default=0, init=False)
    _last: float = field(default=float("-inf"), init=False)

    def pause(self, *, now: float) -> float:
        """Seconds for which the one that serves must not be cut by another one."""
        return max(self._last + TURN - now, 0.0) if self._returns > TOLERATED_RETURNS else 0.0

    def turn_begins(self, *, now: float) -> None:
        """Somebody serves who has cut nobody: the one before has ended. Others who wait do so for a turn, too."""
        if self._returns > TOLERATED_RETURNS:
            self._last = now

    def taken_over(self, *, old: Claimant, new: Claimant, now: float) -> tuple[Claimant, ...]:
        """``new`` has cut ``old``. Returns all who contend when that should be told: once, until they are calm."""
        if new == old:
            return ()
        if now - self._last > CALM_PERIOD:
            self._cut.clear()
            self._returns = 0
        self._last = now
        is_back = new in self._cut
        self._returns += is_back
        self._cut.pop(old, None)
        self._cut[old] = None
        if len(self._cut) > MAX_CLAIMANTS:
            del self._cut[next(iter(self._cut))]
        return tuple(sorted({*self._cut, new})) if is_back and self._returns == TOLERATED_RETURNS + 1 else ()
