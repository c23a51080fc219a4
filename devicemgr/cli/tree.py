"""``tree``: the tasks of a manager, each under its nursery, with what it waits for."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import trio
from rich.live import Live
from rich.text import Text

from ..core.views.recorded_tree import RecordedTree
from ..core.views.task_tree import TaskTree, TreeNode, mermaid, tree_from_json, tree_lines
from ..printable import printable
from ..rpc.admin.client import ManagerClient
from . import root_dir_option
from .ask import ask, ask_without_end
from .output import console
from .trace_input import TraceInput

TICK = 0.5
"""Seconds between two refreshes on a terminal, when only the time has changed."""


@click.command("tree")
@root_dir_option
@click.option("-o", "--output", type=click.Choice(["text", "json", "mermaid"]), default="text", show_default=True)
@click.option(
    "--watch",
    is_flag=True,
    help="Refresh in place until interrupted or the manager ends; off a terminal, show each change. With -o json one "
    "object a line.",
)
@click.option(
    "--trace",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="The tree of a recorded trace (- reads standard input): as far as its events tell, so nurseries, plug-ins, "
    "admissions and calls only.",
)
@click.option(
    "--at", type=click.FloatRange(min=0), metavar="SECONDS", help="With --trace: when.  [default: the end of the trace]"
)
def command(root_dir: Path | None, output: str, watch: bool, trace: Path | None, at: float | None) -> None:
    """Show the running tasks of a manager: each under its nursery, with what it waits for and since when.

    A nursery ends after those inside it, so the tree is also the order in which the manager ends.
    """
    if at is not None and trace is None:
        raise click.UsageError("--at is a moment of a recorded trace; name it with --trace")
    if trace is not None:
        if watch:
            raise click.UsageError("--watch shows a running manager; leave out --trace")
        _show_recorded(trace, at, _RENDER[output])
        return
    if watch and output == "mermaid":
        raise click.UsageError("--watch shows text or JSON; leave out -o mermaid")
    if not watch:
        ask(root_dir, lambda client: client.read_tree(_RENDER[output], watch=False))
    elif output == "json":
        ask_without_end(
            root_dir, lambda client: client.read_tree(lambda tree: click.echo(json.dumps(tree)), watch=True)
        )
    else:
        ask_without_end(
            root_dir, _refresh if console().is_terminal and not console().is_dumb_terminal else _print_changes
        )


def _show_recorded(file: Path, at: float | None, render: Callable[[dict[str, Any]], None]) -> None:
    trace, recorded = TraceInput(file), RecordedTree(at)
    for line in trace.lines():
        if line.event is not None:
            recorded.add(line.event)
    if at is not None and at > recorded.seconds:
        raise click.BadParameter(f"{trace.name} ends after {recorded.seconds:g} s", param_hint="--at")
    render(recorded.tree().as_json())
    trace.complain()


def _print_text(tree: dict[str, Any]) -> None:
    click.echo(text_of(tree_from_json(tree)))


def text_of(tree: TaskTree, *, now: float | None = None) -> str:
    return "\n".join(map(printable, tree_lines(tree, now=now)))


_RENDER: dict[str, Callable[[dict[str, Any]], None]] = {
    "text": _print_text,
    "json": lambda tree: click.echo(json.dumps(tree, indent=2)),
    "mermaid": lambda tree: click.echo(mermaid(tree_from_json(tree)), nl=False),
}


def _print_line(tree: dict[str, Any]) -> None:
    click.echo(json.dumps(tree))


async def _refresh(client: ManagerClient) -> None:
    """Between two trees of the manager the ages go on by our own clock."""
    with Live(console=console(), auto_refresh=False) as live:
        shown: TaskTree | None = None
        received = 0.0

        def draw() -> None:
            if shown is not None:
                live.update(Text(text_of(shown, now=shown.at + time.monotonic() - received)), refresh=True)

        def on_tree(tree: dict[str, Any]) -> None:
            nonlocal shown, received
            shown, received = tree_from_json(tree), time.monotonic()
            draw()

        async def tick() -> None:
            while True:
                await trio.sleep(TICK)
                draw()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(tick)
            await client.read_tree(on_tree, watch=True)
            nursery.cancel_scope.cancel()
    if shown is not None:
        click.echo(_end_of(shown))


async def _print_changes(client: ManagerClient) -> None:
    shown: TaskTree | None = None
    shape: TreeNode | None = None

    def on_tree(tree: dict[str, Any]) -> None:
        nonlocal shown, shape
        shown = tree_from_json(tree)
        if shown.shape != shape:
            click.echo(f"{text_of(shown)}\n")
        shape = shown.shape

    await client.read_tree(on_tree, watch=True)
    if shown is not None:
        click.echo(_end_of(shown))


def _end_of(tree: TaskTree) -> str:
    """After the last tree, which has no listeners any more."""
    left = ", ".join(tree.nurseries[::-1])
    return f"The manager ends or restarts. The listeners have ended; the rest ends in this order: {left}."
