"""Somebody who hears of the checks as they run."""

from __future__ import annotations

from ...arguments import checked
from .check import Check
from .verdicts import Result


class Observer:
    """Hears of every check that runs, also of those that are only needed; does nothing with it."""

    @checked
    def begins(self, check: Check) -> None:
        """It runs now."""

    @checked
    def ends(self, result: Result) -> None:
        """What came of it."""
