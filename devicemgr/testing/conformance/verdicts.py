"""What comes of a check: a verdict with its evidence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class Weight(StrEnum):
    """What a broken rule means: ``ERROR`` that a cluster suffers, ``WARNING`` that something is only untidy, or says
    more about the machine that the checks run on."""

    ERROR = "error"
    WARNING = "warning"


class Verdict(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    WARNING = "warning"
    """The rule is broken, and nobody is hurt: no failure of the run."""
    SKIPPED = "skipped"
    NOT_RUN = "not run"
    """The run ended before its turn; the evidence says why."""

    @property
    def is_broken(self) -> bool:
        """Has it been seen that the rule does not hold?"""
        return self in (Verdict.FAILED, Verdict.WARNING)


class Failed(Exception):
    """The rule is broken; the text is the evidence. ``weight`` is by default that of the check."""

    def __init__(self, evidence: str, weight: Weight | None = None) -> None:
        super().__init__(evidence)
        self.weight = weight


class ConclusiveFailure(Failed):
    """It follows from all that was seen, so nothing is gained by a second try."""


class Skipped(Exception):
    """The check could not be run; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """``evidence`` is what proves the verdict: calls, ids, times. ``seconds`` is how long the check took.

    ``calls`` are the RPCs that were seen meanwhile, each a line with the seconds since the check began.
    ``blocked_by`` are the checks whose own verdict is why this one was not run. Of a plug-in with several resources
    ``failed_resources`` are those that failed, or could not be tried, where others did not.
    """

    check: str
    title: str
    rule: str
    verdict: Verdict
    evidence: str
    seconds: float = 0.0
    calls: tuple[str, ...] = ()
    blocked_by: tuple[str, ...] = ()
    failed_resources: tuple[str, ...] = ()

    def blocks(self, resource: str) -> bool:
        """Is it in vain to run for this resource what needs this check? Not for want of something else, as of a healthy
        device, which others can do without."""
        if self.failed_resources:
            return resource in self.failed_resources
        return self.verdict is Verdict.FAILED or bool(self.blocked_by)

    def strictly(self) -> Result:
        """The same where a warning is a failure."""
        return replace(self, verdict=Verdict.FAILED) if self.verdict is Verdict.WARNING else self
