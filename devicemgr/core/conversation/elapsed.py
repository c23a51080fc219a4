"""How much time passes from event to event: by their times, which the clock of the machine had, and which somebody may
have set meanwhile. And how long an answer took, as text."""

from __future__ import annotations


class Elapsed:
    """``seconds`` have passed since the first time that was given: never less than before. If a clock is set back, the
    time goes on from there."""

    def __init__(self) -> None:
        self.first: float | None = None
        self.seconds = 0.0
        self._last = 0.0

    def until(self, time: float | None) -> float:
        """The seconds at the next event, or whatever has a time, in the order in which they were recorded. None is the
        same time as before."""
        if time is None:
            return self.seconds
        if self.first is None:
            self.first = self._last = time
        self.seconds += max(0.0, time - self._last)
        self._last = time
        return self.seconds


def with_duration(answer: str, seconds: float | None) -> str:
    """``1 device node (1.2 ms)``; a golden trace does not say how long it took."""
    if seconds is None:
        return answer
    return f"{answer} ({seconds * 1000:.1f} ms)" if seconds < 1 else f"{answer} ({seconds:.1f} s)"
