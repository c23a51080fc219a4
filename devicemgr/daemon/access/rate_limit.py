"""How often something may be done, or said: a bucket of tokens that fills at a steady rate (PR-2), and a tally."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field


@dataclass(slots=True)
class TokenBucket:
    """``rate`` tokens a second, never more than ``burst`` of them; full at the start."""

    rate: float
    burst: float
    _tokens: float = field(init=False)
    _filled_at: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._tokens = float(self.burst)

    def take(self, *, now: float) -> bool:
        """Take one token, if there is one."""
        self._fill(now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def reserve(self, *, now: float) -> float:
        """Take a token that may be due only later: seconds until then, so that callers stand in a queue."""
        self._fill(now)
        self._tokens -= 1
        return max(-self._tokens / self.rate, 0.0)

    def take_or_wait(self, *, now: float) -> float:
        """Take one token, or say in how many seconds there will be one; 0.0 when it was taken."""
        if self.take(now=now):
            return 0.0
        return max((1 - self._tokens) / self.rate, 1e-6)

    def spend(self, amount: float, *, now: float, max_debt: float = float("inf")) -> None:
        """Take so many tokens; going into debt, for that many seconds at most, is allowed."""
        self._fill(now)
        self._tokens = max(self._tokens - amount, -max_debt * self.rate)

    def debt(self, *, now: float) -> float:
        """Seconds until what was spent is there again."""
        self._fill(now)
        return max(-self._tokens / self.rate, 0.0)

    def _fill(self, now: float) -> None:
        if self._filled_at is not None:
            self._tokens = min(self.burst, self._tokens + (now - self._filled_at) * self.rate)
        self._filled_at = now


@dataclass(slots=True)
class Tally:
    """Counts what happens too often to be told each time: at the first time, then once in ``period`` seconds.

    When there are more than ``max_keys`` different things, all counts that were not told are given up.
    """

    period: float = 1.0
    max_keys: int = 1000
    _unreported: dict[Hashable, int] = field(default_factory=dict, init=False)
    _reported_at: dict[Hashable, float] = field(default_factory=dict, init=False)

    def count(self, what: Hashable, *, now: float) -> int:
        """How often it happened since it was last told; 0 when it is too soon to tell."""
        if len(self._reported_at) >= self.max_keys and what not in self._reported_at:
            self._unreported.clear()
            self._reported_at.clear()
        times = self._unreported.get(what, 0) + 1
        if now - self._reported_at.get(what, float("-inf")) < self.period:
            self._unreported[what] = times
            return 0
        self._reported_at[what] = now
        self._unreported[what] = 0
        return times
