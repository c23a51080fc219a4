"""What a check is: one sentence that holds for a good plug-in, and a function that tries to see it broken.

The function's docstring is what ``--explain`` prints. Its first line is the title; then why the rule exists and what
goes wrong in a cluster, what of it is a warning only, and, after "Fix:", what plug-ins usually do.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ...printable import printable
from .bench import Bench
from .verdicts import Weight


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """``needs`` are checks without which this one says nothing; ``seen_in`` is a public issue or change that shows the
    defect, as owner/repository#number. With ``whole_plugin`` the plug-in is checked as a whole, and not each of its
    resources. ``weight`` is that of a failure without one of its own."""

    name: str
    rule: str
    needs: tuple[str, ...]
    seen_in: str
    whole_plugin: bool
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
        """The paragraph that begins with "Fix:"."""
        return next(paragraph for paragraph in self.explanation if paragraph.startswith("Fix:"))

    @property
    def sources(self) -> str:
        return f"Rule: {self.rule}." + (f" Seen in public: {self.seen_in}." if self.seen_in else "")

    def report(self, evidence: str) -> list[str]:
        """The paragraphs of a failure: the rule, what was found, why it matters, how to fix it, the sources."""
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
    whole_plugin: bool = False,
    weight: Weight = Weight.ERROR,
) -> Callable[[Callable[[Bench], Awaitable[str]]], Check]:
    """Make a check of an async function that returns its evidence, or raises :class:`Failed` or :class:`Skipped`."""

    def make(run: Callable[[Bench], Awaitable[str]]) -> Check:
        return Check(
            name=name, rule=rule, needs=needs, seen_in=seen_in, whole_plugin=whole_plugin, weight=weight, run=run
        )

    return make
