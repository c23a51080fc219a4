"""``tree``: the tasks of a manager, each under its nursery, with what it waits for."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import trio
from rich.text import Text

from ..concurrency.exception_groups import collapse_exception_group
from ..core.views.fitted_tree import fitted_lines, folded_lines
from ..core.views.recorded_tree import RecordedTree
from ..core.views.task_tree import TaskTree, TreeNode, mermaid, tree_from_json, tree_lines
from ..events.summary import counted
from ..printable import printable
from ..rpc.admin.client import ManagerClient
from .shared.ask import ask, ask_without_end
from .shared.in_place import can_draw_in_place, open_place
from .shared.parameters import Seconds, root_dir_option
from .shared.trace_input import TraceInput
from .terminal.columns import columns

TICK = 0.5
"""Seconds between two refreshes on a terminal, when only the time has changed."""


@click.command("tree")
@root_dir_option
@click.option("-o", "--output", type=click.Choice(["text", "json", "mermaid"]), default="text", show_default=True)
@click.option(
    "--watch",
    is_flag=True,
    help="Refresh in place until interrupted, also when the manager restarts; without a terminal, print each change. "
    "With -o json one object a line.",
)
@click.option(
    "--trace",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Show the tree of a recorded trace (- reads standard input), as far as its events record it: nurseries, "
    "plug-ins, admissions and calls.",
)
@click.option(
    "--at",
    type=Seconds(0),
    metavar="SECONDS",
    help="With --trace: so long after its first event.  [default: the end of the trace, or of its last manager]",
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
        ask_without_end(root_dir, lambda client: client.read_tree(_print_line, watch=True))
    else:
        ask_without_end(root_dir, _refresh if can_draw_in_place() else _print_changes)


def _show_recorded(file: Path, at: float | None, render: Callable[[dict[str, Any]], None]) -> None:
    trace, recorded = TraceInput(file), RecordedTree(at)
    for line in trace.lines():
        if line.event is not None:
            recorded.add(line.event)
    if at is not None and at > recorded.seconds:
        raise click.BadParameter(f"{trace.name} ends after {recorded.seconds:g} s", param_hint="--at")
    render(recorded.tree().as_json())
    if recorded.missing:
        click.echo(
            f"The trace does not have {counted(recorded.missing, 'event')} before this moment. "
            "What only they record is not in the tree.",
            err=True,
        )
    if (ended_after := recorded.ended_after) is not None:
        click.echo(f"The manager began to end {ended_after:.3f} s after the first event: this is then.", err=True)
    trace.complain()


def _print_text(tree: dict[str, Any]) -> None:
    shown, wide = tree_from_json(tree), columns()
    click.echo(text_of(shown) if wide is None else "\n".join(folded_lines(shown, width=wide)))


def text_of(tree: TaskTree) -> str:
    """Its lines, safe for a terminal."""
    return "\n".join(map(printable, tree_lines(tree)))


_RENDER: dict[str, Callable[[dict[str, Any]], None]] = {
    "text": _print_text,
    "json": lambda tree: click.echo(json.dumps(tree, indent=2)),
    "mermaid": lambda tree: click.echo(mermaid(tree_from_json(tree)).encode(), nl=False),
}


def _print_line(tree: dict[str, Any]) -> None:
    """For ``--watch``: one object a line."""
    click.echo(json.dumps(tree))


async def _refresh(client: ManagerClient) -> None:
    """Between two trees of the manager the ages go on by our own clock."""
    shown: TaskTree | None = None
    received = 0.0
    with collapse_exception_group():
        async with open_place() as draw, trio.open_nursery() as nursery:

            def draw_tree(tree: TaskTree) -> None:
                now = tree.at + time.monotonic() - received
                draw(lambda width, height: Text("\n".join(fitted_lines(tree, now=now, width=width, height=height - 1))))

            def on_tree(tree: dict[str, Any]) -> None:
                nonlocal shown, received
                shown, received = tree_from_json(tree), time.monotonic()
                draw_tree(shown)

            async def tick() -> None:
                while True:
                    await trio.sleep(TICK)
                    if shown is not None:
                        draw_tree(shown)

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
