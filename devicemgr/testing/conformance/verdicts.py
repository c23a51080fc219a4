"""The outcome of a check: a verdict with its evidence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class Weight(StrEnum):
    """``ERROR``: a cluster suffers. ``WARNING``: something is only untidy, or says more about the machine that the
    checks run on."""

    ERROR = "error"
    WARNING = "warning"


class Verdict(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    WARNING = "warning"
    """The rule is broken without harm: no failure of the run."""
    SKIPPED = "skipped"
    NOT_RUN = "not run"
    """The run ended before; the evidence says why."""

    @property
    def is_broken(self) -> bool:
        """Does the rule not hold?"""
        return self in (Verdict.FAILED, Verdict.WARNING)


class Failed(Exception):
    """The rule is broken; the text is the evidence. ``weight`` is by default that of the check."""

    def __init__(self, evidence: str, weight: Weight | None = None) -> None:
        super().__init__(evidence)
        self.weight = weight


class ConclusiveFailure(Failed):
    """It follows from all that was seen, so a second try would gain nothing."""


class Skipped(Exception):
    """The check could not be run; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """``evidence`` is what proves the verdict: calls, ids, times. ``seconds`` is how long the check took.

    ``calls`` are the RPCs that were seen meanwhile, each a line with the seconds since the check began;
    ``conversation`` is everything that was said meanwhile, by whom and to whom, its last hundred lines.
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
    conversation: tuple[str, ...] = ()
    blocked_by: tuple[str, ...] = ()
    failed_resources: tuple[str, ...] = ()

    def blocks(self, resource: str) -> bool:
        """Does it keep the checks that need this one from being run for the resource? Not if this one lacked something
        else, such as a healthy device, that others do without."""
        if self.failed_resources:
            return resource in self.failed_resources
        return self.verdict is Verdict.FAILED or bool(self.blocked_by)

    def strictly(self) -> Result:
        """The same result, with a warning as a failure."""
        return replace(self, verdict=Verdict.FAILED) if self.verdict is Verdict.WARNING else self
