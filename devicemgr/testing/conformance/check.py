"""What a check is: one sentence that holds for a good plug-in, and a function that tries to see it broken.

The function's docstring is what ``--explain`` prints. Its first line is the title; then why the rule exists and what
goes wrong in a cluster, what of it is a warning only, and, after "Mend it:", what plug-ins usually do.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from ...printable import printable

if TYPE_CHECKING:
    from .bench import Bench


class Weight(StrEnum):
    """What a broken rule means: ``ERROR`` that a cluster suffers, ``WARNING`` that something is only untidy, or says
    more about the machine that the checks are made on."""

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


class Proved(Failed):
    """By all that was seen, so that nothing is gained by a second try."""


class Skipped(Exception):
    """The check could not be made; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """``evidence`` is what proves the verdict: calls, ids, times. ``seconds`` is how long the check took.

    ``calls`` are the RPCs that were seen meanwhile, each a line with the seconds since the check began.
    ``blocked_by`` are the checks whose own verdict is why this one was not made. Of a plug-in with several resources
    ``lacking`` are those that failed, or could not be tried, where others did not.
    """

    check: str
    title: str
    rule: str
    verdict: Verdict
    evidence: str
    seconds: float = 0.0
    calls: tuple[str, ...] = ()
    blocked_by: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()

    def stops(self, resource: str) -> bool:
        """Is it in vain to make of this resource what needs this check? Not for want of something else, as of a healthy
        device, which others can do without."""
        if self.lacking:
            return resource in self.lacking
        return self.verdict is Verdict.FAILED or bool(self.blocked_by)

    def strictly(self) -> Result:
        """The same where a warning is a failure."""
        return replace(self, verdict=Verdict.FAILED) if self.verdict is Verdict.WARNING else self


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """``needs`` are checks without which this one says nothing; ``seen_in`` is a public issue or change
    that shows the defect, as owner/repository#number; ``whole`` is one of the whole plug-in, and not of each of its
    resources; ``weight`` is that of a failure which does not say its own."""

    name: str
    rule: str
    needs: tuple[str, ...]
    seen_in: str
    whole: bool
    weight: Weight
    run: Callable[[Bench], Awaitable[str]]

    @property
    def title(self) -> str:
        return self._text.splitlines()[0]

    @property
    def explanation(self) -> list[str]:
        """All paragraphs after the title, each on one line."""
        paragraphs = self._text.partition("\n")[2].strip().split("\n\n")
        return [" ".join(paragraph.split()) for paragraph in paragraphs]

    @property
    def remedy(self) -> str:
        """The paragraph that begins with "Mend it:"."""
        return next(paragraph for paragraph in self.explanation if paragraph.startswith("Mend it:"))

    @property
    def sources(self) -> str:
        return f"Rule: {self.rule}." + (f" Seen in public: {self.seen_in}." if self.seen_in else "")

    def report(self, evidence: str) -> list[str]:
        """The paragraphs of a failure: the rule, what was found, why it matters, how it is mended, where it is from."""
        return [self.title, f"Found: {printable(evidence)}", *self.explanation, self.sources]

    @property
    def _text(self) -> str:
        return inspect.getdoc(self.run) or ""


def check(
    name: str,
    *,
    rule: str,
    needs: tuple[str, ...] = (),
    seen_in: str = "",
    whole: bool = False,
    weight: Weight = Weight.ERROR,
) -> Callable[[Callable[[Bench], Awaitable[str]]], Check]:
    """Make a check of an async function that returns its evidence, or raises :class:`Failed` or :class:`Skipped`."""

    def make(run: Callable[[Bench], Awaitable[str]]) -> Check:
        return Check(name=name, rule=rule, needs=needs, seen_in=seen_in, whole=whole, weight=weight, run=run)

    return make
