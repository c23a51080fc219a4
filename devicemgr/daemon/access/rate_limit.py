"""A token bucket, as the kubelet has for calls of the PodResources API (PR-2)."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class TokenBucket:
    """Gains ``rate`` tokens a second, up to ``burst`` of them. Full at the start.

    ``now`` is in seconds, on any clock, as long as it is always the same one.
    """

    rate: float
    burst: float
    _tokens: float = field(init=False)
    _filled_at: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._tokens = float(self.burst)

    def take(self, *, now: float) -> bool:
        """Take one token; False when there is none."""
        self._fill(now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def reserve(self, *, now: float) -> float:
        """Take one token, perhaps one that is not there yet: returns the seconds until it is, so callers queue up."""
        self._fill(now)
        self._tokens -= 1
        return max(-self._tokens / self.rate, 0.0)

    def take_or_wait(self, *, now: float) -> float:
        """Take one token and return 0.0; when there is none, return the seconds until there will be one."""
        if self.take(now=now):
            return 0.0
        return max((1 - self._tokens) / self.rate, 1e-6)

    def spend(self, amount: float, *, now: float, max_debt: float = float("inf")) -> None:
        """Take so many tokens, and go into debt when there are fewer, but not for more than ``max_debt`` seconds."""
        self._fill(now)
        self._tokens = max(self._tokens - amount, -max_debt * self.rate)

    def debt(self, *, now: float) -> float:
        """Seconds until there are no more tokens owed."""
        self._fill(now)
        return max(-self._tokens / self.rate, 0.0)

    def _fill(self, now: float) -> None:
        if self._filled_at is not None:
            self._tokens = min(self.burst, self._tokens + (now - self._filled_at) * self.rate)
        self._filled_at = now
