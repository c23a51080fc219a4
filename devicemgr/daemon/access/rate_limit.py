"""How often something may be done: a bucket of tokens that fills at a steady rate (PR-2)."""

from __future__ import annotations

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
