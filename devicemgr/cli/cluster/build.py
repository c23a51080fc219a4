"""``cluster build``, and what it shows meanwhile: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterable, Iterator
from types import FrameType

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ...cluster.control_plane.go_program import KUBERNETES, BuildStep
from ...cluster.control_plane.programs import CONTROL_PLANE
from ...printable import printable

LINES = 20
"""How many lines there are about what is compiled, where there is no terminal."""
_WIDEST = 40
"""Characters of a package's name on a terminal: the end says more than the beginning."""


def build() -> None:
    """Build the programs, and say what is done. Raises ProgramUnavailable."""
    signal.signal(signal.SIGTERM, _leave)
    began, was_there = time.monotonic(), CONTROL_PLANE.is_built
    err = Console(stderr=True, highlight=False)
    if err.is_terminal:
        _show_bar(CONTROL_PLANE.building(), err)
    else:
        for line in lines(CONTROL_PLANE.building()):
            click.echo(line, err=True)
    took = "was built before" if was_there else f"was built in {time.monotonic() - began:.0f} s"
    click.echo(f"Kubernetes {KUBERNETES} {took}: {CONTROL_PLANE.path}")
    if removed := CONTROL_PLANE.remove_others():
        click.echo(f"removed, since they are of other versions: {', '.join(one.name for one in removed)}")
    if used := CONTROL_PLANE.others():
        click.echo(f"kept, since a cluster uses them: {', '.join(one.name for one in used)}")


def _leave(_number: int, _frame: FrameType | None) -> None:
    """On its way out, go is asked to end as well."""
    sys.exit(128 + signal.SIGTERM)


def _show_bar(steps: Iterable[BuildStep], err: Console) -> None:
    columns = BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("looking at what has been compiled before", total=None)
        for step in steps:
            packages = "" if step.total is None else f"{step.done} of {step.total} packages: "
            what = f"{packages}{step.does} {printable(step.what)[-_WIDEST:]}"
            progress.update(task, description=what, completed=step.done, total=step.total)


def lines(steps: Iterable[BuildStep]) -> Iterator[str]:
    """A line when something else is done than before, and some while packages are compiled."""
    shown: tuple[str, int] | None = None
    for step in steps:
        tenth = 0 if step.total is None else step.done * LINES // step.total
        if (step.does, tenth) != shown:
            shown = (step.does, tenth)
            yield step.does if step.total is None else f"{step.does}: {step.done} of {step.total} packages"
