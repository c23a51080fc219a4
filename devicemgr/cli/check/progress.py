"""What ``check`` shows on standard error while it runs: the checks that are running, or a line for each verdict.

If the reader or the terminal is gone, the checks go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ...printable import printable
from ...testing.conformance import Check, Observer, Result, Verdict
from ...testing.conformance.abbreviation import shortened_line
from ...testing.conformance.checks.catalogue import with_needs


@contextmanager
def open_progress(checks: Sequence[Check]) -> Iterator[Observer]:
    """On a terminal the checks that are running, and for how long; otherwise a line for each result."""
    err = Console(stderr=True, highlight=False)
    if not err.is_terminal:
        yield _LineProgress({check.name for check in checks})
        return
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    shown = Progress(*columns, console=err, transient=True)
    now = LiveProgress(shown, len(with_needs(checks)))
    shown.start()
    err.show_cursor()  # one that is hidden stays so when we are stopped with Ctrl-Z
    try:
        yield now
    finally:
        with suppress(OSError):
            shown.stop()


class LiveProgress(Observer):
    def __init__(self, shown: Progress, count: int) -> None:
        self._shown, self._count = shown, count
        self._begun: set[str] = set()
        self._now: dict[str, None] = {}
        self._task = shown.add_task("starting the plug-in")

    def begins(self, check: Check) -> None:
        self._begun.add(check.name)
        self._now[check.name] = None
        self._show()

    def ends(self, result: Result) -> None:
        """A check that ran in parallel and is run again alone ends here, too."""
        self._now.pop(result.check, None)
        if self._now:
            self._show()

    def _show(self) -> None:
        with suppress(OSError):
            names = ", ".join(self._now)
            self._shown.reset(self._task, description=f"{len(self._begun)} of {self._count}: {names}")


class _LineProgress(Observer):
    """Checks that could not be run have no line: what they needed has one, and the report counts them."""

    def __init__(self, wanted: set[str]) -> None:
        self._wanted = wanted

    def ends(self, result: Result) -> None:
        if (result.check in self._wanted or result.verdict is Verdict.FAILED) and not result.blocked_by:
            short = shortened_line(printable(result.evidence))  # the report has all of it
            with suppress(OSError):
                click.echo(f"{result.verdict:7} {result.check}: {short} ({result.seconds:.2f} s)", err=True)
