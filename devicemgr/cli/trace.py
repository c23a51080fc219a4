"""``trace``: a recorded trace, shown, played or run."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import unified_diff
from pathlib import Path

import click
import trio
import trio.testing

from ..core.conversation.items import Item
from ..core.conversation.text import line_of
from ..daemon.serving.trace import format_values, timestamp
from ..printable import printable
from ..rules.book import read_book
from ..testing.scenario import ScenarioLine, parse_scenario, run_scenario
from ..trace_file import TraceLine
from . import Group
from .atomic_files import check_writable, write_atomically
from .input_file import display_name, read_input
from .trace_input import TraceInput, trace_argument


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
    time = line.event.get("time")
    values = {key: value for key, value in line.event.items() if key not in ("sequence", "time", "level")}
    when = f"{timestamp(max(0.0, float(time)))} " if isinstance(time, int | float) else ""
    return f"{when}{format_values(values)}"


@command.command("play")
@trace_argument
def play(file: Path) -> None:
    """Play FILE step by step: what was said, and the rule of the book that explains it.

    In a terminal the next step comes with Enter, or any key; q ends. Elsewhere all steps are shown.
    """
    trace, book, is_first = TraceInput(file), read_book(), True
    waits = sys.stdin.isatty() and sys.stdout.isatty()
    for step in _steps(trace):
        if waits and not is_first and click.getchar() in ("q", "Q"):
            return
        is_first = False
        click.echo(step.title)
        for item in step.items:
            click.echo(f"    {line_of(item, since=step.since)}")
        for rule in dict.fromkeys(item.rule for item in step.items if item.rule in book):
            click.echo(f"      {rule}: {book[rule].sentence}")
        for comment in step.comments:
            click.echo(comment)
    trace.complain()


@dataclass
class _Step:
    title: str
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
            step = _Step(printable(line.text))
            step.items += items
        elif step is not None:
            step.items += items
            if line.event is None:
                step.comments.append(f"      {printable(line.text.strip())}")
        elif items and line.event is not None:
            since = since if since is not None else next((item.time for item in items), None)
            yield _Step(printable(str(line.event["event"])), since, items)
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
    with tempfile.TemporaryDirectory(prefix="dm-") as directory:
        trio.run(run_scenario, Path(directory), lines, clock, show, clock=clock)
    if rewrite:
        write_atomically(file, "".join(f"{text}\n" for text in got))
    elif any(line.written for line in lines):
        said = [text for line in lines for text in (line.text, *(f"    {one}" for one in line.written))]
        if difference := list(unified_diff(said, got, "the file", "this run", lineterm="", n=0)):
            click.echo("\n".join(map(printable, difference)), err=True)
            raise SystemExit(1)
