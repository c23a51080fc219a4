"""What follows the checks as they run."""

from __future__ import annotations

from ....arguments import checked
from ..check import Check
from ..verdicts import Result


class Observer:
    """Is called for every check that is run, including those that others need; these methods do nothing."""

    @checked
    def begins(self, check: Check) -> None:
        """The check is run now."""

    @checked
    def ends(self, result: Result) -> None:
        """The check has a result."""
