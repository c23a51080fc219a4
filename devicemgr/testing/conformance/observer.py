"""Somebody who hears of the checks as they are made."""

from __future__ import annotations

from ...arguments import checked
from .check import Check
from .verdicts import Result


class Observer:
    """Hears of every check that is made, also of those that are only needed; does nothing with it."""

    @checked
    def begins(self, check: Check) -> None:
        """It is being made now."""

    @checked
    def ends(self, result: Result) -> None:
        """What came of it."""
