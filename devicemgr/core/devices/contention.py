"""Plug-ins that register for the same resource, and again whenever another one has replaced them.

The newest registration wins (REG-10), so without a limit they would replace each other for ever. Two processes with one
socket name do so when each watches its stream, which ends when the other one registers. On sockets of their own a
plug-in that was replaced stands by and notices nothing, but some register again by a timer. Neither can see what it
does to the other one, but the manager can. A replacement alone proves nothing: in a rolling update the new plug-in
replaces the old one, which may register again before it exits. So what is counted is how often plug-ins come *back*.
"""

from __future__ import annotations

from dataclasses import dataclass, field

TOLERATED_RETURNS = 2
"""In a rolling update the old plug-in may come back once, and then the new one."""
CALM_PERIOD = 60.0
"""Seconds without a replacement after which the earlier ones are forgotten."""
TURN = 3.0
"""Seconds for which each then serves undisturbed: many plug-ins wait five seconds for the answer to Register."""
MAX_CLAIMANTS = 10


@dataclass(frozen=True, slots=True, order=True)
class Claimant:
    """What distinguishes one plug-in from another: its socket and its process."""

    socket: str
    pid: int

    def __str__(self) -> str:
        return f"{self.socket} (process {self.pid})"


@dataclass(slots=True)
class Contention:
    """The recent replacements of one resource's plug-in."""

    _replaced: dict[Claimant, None] = field(default_factory=dict, init=False)  # the newest last
    _returns: int = field(default=0, init=False)
    _last: float = field(default=float("-inf"), init=False)

    def pause(self, *, now: float) -> float:
        """Seconds for which the plug-in that serves must not be replaced by another one."""
        return max(self._last + TURN - now, 0.0) if self._returns > TOLERATED_RETURNS else 0.0

    def turn_begins(self, *, now: float) -> None:
        """A plug-in serves whose predecessor had ended, so that it replaced nobody. It has a turn as well."""
        if self._returns > TOLERATED_RETURNS:
            self._last = now

    def taken_over(self, *, old: Claimant, new: Claimant, now: float) -> tuple[Claimant, ...]:
        """``new`` has replaced ``old``. Returns all contending plug-ins if that is to be reported, which is once until
        they are calm, and otherwise nothing."""
        if new == old:
            return ()
        if now - self._last > CALM_PERIOD:
            self._replaced.clear()
            self._returns = 0
        self._last = now
        is_back = new in self._replaced
        self._returns += is_back
        self._replaced.pop(old, None)
        self._replaced[old] = None
        if len(self._replaced) > MAX_CLAIMANTS:
            del self._replaced[next(iter(self._replaced))]
        return tuple(sorted({*self._replaced, new})) if is_back and self._returns == TOLERATED_RETURNS + 1 else ()
