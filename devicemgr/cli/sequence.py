"""``sequence``: who called whom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from ..core.conversation.drawing import drawing_of
from ..core.conversation.items import Item
from ..core.conversation.mermaid import mermaid
from ..core.conversation.stream import Conversation
from ..core.conversation.svg import svg
from ..core.conversation.text import line_of
from ..daemon.serving.trace import timestamp
from ..rpc.admin.client import ManagerClient
from . import read_resource, root_dir_option
from .ask import ask, ask_without_end
from .trace_input import TraceInput, about


def _read_resource(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    return None if value is None else read_resource(ctx, param, value)


@click.command("sequence")
@root_dir_option
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True), required=False)
@click.option("--follow", is_flag=True, help="Go on with what happens from now on, until the manager ends or restarts.")
@click.option(
    "--resource", callback=_read_resource, metavar="NAME", help="Only what concerns this resource, and its pods."
)
@click.option("-o", "--output", type=click.Choice(["text", "mermaid", "svg"]), default="text", show_default=True)
def command(root_dir: Path | None, file: Path | None, follow: bool, resource: str | None, output: str) -> None:
    """Show who called whom, and how it ended: plug-ins, the manager, and those who admit pods.

    The events are those of a running manager (the last 1000), or of FILE: a file of --trace, or a golden trace (- reads
    standard input). A picture shows the last 500 steps, the text has all. A call is told when it has ended.
    """
    if follow and (file is not None or output != "text"):
        raise click.UsageError("--follow is for a running manager, and for -o text")
    if file is not None:
        trace = TraceInput(file)
        _RENDER[output](about(trace.items(), resource))
        trace.complain()
    elif output == "text":
        _print_live(root_dir, resource, follow=follow)
    else:
        items: list[Item] = []
        conversation = Conversation()
        _ask(root_dir, lambda event: items.extend(conversation.tell(event)), follow=False)
        _RENDER[output](about(items, resource))


def _print_live(root_dir: Path | None, resource: str | None, *, follow: bool) -> None:
    conversation, lines = Conversation(), _Lines()

    def show(event: dict[str, Any]) -> None:
        for item in about(conversation.tell(event), resource):
            lines.show(item)

    _ask(root_dir, show, follow=follow)


def _ask(root_dir: Path | None, on_event: Callable[[dict[str, Any]], None], *, follow: bool) -> None:
    async def read(client: ManagerClient) -> None:
        await client.read_events(on_event, follow=follow)

    (ask_without_end if follow else ask)(root_dir, read)


class _Lines:
    """Prints items as lines, with seconds since the first one."""

    def __init__(self) -> None:
        self._since: float | None = None

    def show(self, item: Item) -> None:
        if self._since is None and item.time is not None:
            self._since = item.time
            click.echo(f"Seconds since {timestamp(max(0.0, item.time))}:")
        click.echo(line_of(item, since=self._since))


def _print_lines(items: Iterable[Item]) -> None:
    lines = _Lines()
    for item in items:
        lines.show(item)


_RENDER: dict[str, Callable[[Iterator[Item]], None]] = {
    "text": _print_lines,
    "mermaid": lambda items: click.echo(mermaid(drawing_of(items)), nl=False),
    "svg": lambda items: click.echo(svg(drawing_of(items)), nl=False),
}
