"""``trace``: a recorded trace, shown, played or run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import unified_diff
from pathlib import Path

import click
import trio
import trio.testing

from ..core.conversation.fields import number
from ..core.conversation.items import Item
from ..core.conversation.text import LEGEND, column_for, folded_line
from ..daemon.serving.trace import format_values
from ..events.timestamp import timestamp
from ..folding import folded
from ..input.trace_file import TraceLine
from ..printable import printable
from ..rules.book import Item as Rule
from ..rules.book import read_book
from ..temporary_directory import temporary_directory
from ..testing.scenario import ScenarioLine, parse_scenario, run_scenario
from .shared.atomic_files import check_writable, write_atomically
from .shared.group import Group
from .shared.input_file import display_name, read_input
from .shared.trace_input import TraceInput, trace_argument
from .terminal.columns import columns
from .terminal.readers_pace import is_enough


@click.group("trace", cls=Group)
def command() -> None:
    """Recorded traces: files of --trace, and golden traces (.trace), whose steps can be run."""


@command.command("show")
@trace_argument
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def show_trace(file: Path, output: str) -> None:
    """Show every event of FILE on a line of its own, with the steps of a golden trace between them.

    With -o json one object a line, whatever FILE is. Exit status 2 when a line cannot be read; the others are shown.
    """
    trace = TraceInput(file)
    for line in trace.lines():
        if output == "json":
            if line.event is not None:
                click.echo(json.dumps(line.event))
        else:
            click.echo(printable(_line_of(line)))
    trace.complain()


def _line_of(line: TraceLine) -> str:
    if line.event is None or line.text.startswith(" "):
        return line.text
    time = number(line.event, "time")
    values = {key: value for key, value in line.event.items() if key not in ("sequence", "time", "level")}
    when = "" if time is None else f"{timestamp(max(0.0, time))} "
    try:
        return f"{when}{format_values(values)}"
    except RecursionError:  # no event of ours is nested
        return line.text


@command.command("play")
@trace_argument
def play(file: Path) -> None:
    """Play FILE step by step: what was said, and the rule of the book that explains it.

    In a terminal the next step comes with Enter, or any key; q ends. Elsewhere all steps are shown.
    """
    trace = TraceInput(file)
    trio.run(_play, trace, read_book())
    trace.complain()


async def _play(trace: TraceInput, book: Mapping[str, Rule]) -> None:
    for place, step in enumerate(_steps(trace)):
        wide = columns()
        if not place:
            for legend in (LEGEND, *([_LEGEND_OF_STEPS] if step.is_of_scenario else []), _LEGEND_OF_RULES):
                click.echo("\n".join(folded(legend, wide)))
            click.echo()
        elif await is_enough():
            return
        for line in _told(step, book, wide):
            click.echo(line)


def _told(step: _Step, book: Mapping[str, Rule], wide: int | None) -> Iterator[str]:
    """Each rule once, below the first line that it explains. Folded for a terminal with so many columns."""
    yield from folded(step.title, wide, indent=2)
    beside = None if wide is None else wide - 4
    width = column_for(step.items, columns=beside)
    explained = set()
    for item in step.items:
        for line in folded_line(item, since=step.since, width=width, columns=beside):
            yield f"    {line}"
        if item.rule in book and item.rule not in explained:
            explained.add(item.rule)
            yield from folded(f"          {item.rule}: {book[item.rule].sentence}", wide, indent=12)
    for comment in step.comments:
        yield from folded(comment, wide, indent=8)


_LEGEND_OF_STEPS = (
    "Comments begin with #, steps with >; what a step causes is below it. A device with ! in a step is unhealthy."
)
_LEGEND_OF_RULES = "Below a line, the rule that explains it; all of a rule: python -m devicemgr rule ID."


@dataclass
class _Step:
    title: str
    is_of_scenario: bool = False
    since: float | None = None
    items: list[Item] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)


def _steps(trace: TraceInput) -> Iterator[_Step]:
    """Of a golden trace its steps, each with what it caused; otherwise each event that is part of the conversation."""
    step: _Step | None = None
    since: float | None = None
    for line in trace.lines():
        items = trace.items_of(line)
        if line.step or line.comment:
            if step is not None:
                yield step
            step = _Step(printable(line.text), is_of_scenario=True)
            step.items += items
        elif step is not None:
            step.items += items
            if line.event is None:
                step.comments.append(f"      {printable(line.text.strip())}")
        elif items and line.event is not None:
            since = since if since is not None else next((item.time for item in items), None)
            yield _Step(printable(str(line.event["event"])), since=since, items=items)
    if step is not None:
        yield step


@command.command("run")
@trace_argument
@click.option("--rewrite", is_flag=True, help="Write what the steps caused into FILE, in place of what it says.")
def run(file: Path, rewrite: bool) -> None:
    """Run the steps of a golden trace FILE on a manager of its own, and show what each causes.

    Exit status 1 when FILE says that they cause something else; a file with steps only is not compared.
    """
    name = display_name(file)
    lines = parse_scenario(read_input(file), file=name)
    if rewrite:
        if str(file) == "-":
            raise click.UsageError("--rewrite needs the name of a file")
        check_writable(file)
    got: list[str] = []

    def show(line: ScenarioLine, caused: Sequence[str]) -> None:
        for text in (line.text, *(f"    {one}" for one in caused)):
            got.append(text)
            click.echo(printable(text))

    clock = trio.testing.MockClock()
    with temporary_directory("dm-") as directory:
        trio.run(run_scenario, directory, lines, clock, show, clock=clock)
    if rewrite:
        write_atomically(file, "".join(f"{text}\n" for text in got))
    elif any(line.written for line in lines):
        said = [text for line in lines for text in (line.text, *(f"    {one}" for one in line.written))]
        if difference := list(unified_diff(said, got, "the file", "this run", lineterm="", n=0)):
            click.echo("\n".join(map(printable, difference)), err=True)
            raise SystemExit(1)
