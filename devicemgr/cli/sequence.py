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
from ..core.conversation.text import LEGEND, column_for, folded_line
from ..events.timestamp import timestamp
from ..folding import folded
from ..input.yaml_fields import nearest
from ..printable import printable
from ..rpc.admin.client import ManagerClient
from .shared.ask import ask, ask_without_end
from .shared.event_filter import Unseen
from .shared.parameters import read_resource, root_dir_option
from .shared.trace_input import TraceInput
from .terminal.columns import columns


@click.command("sequence")
@root_dir_option
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True), required=False)
@click.option(
    "--follow", is_flag=True, help="Go on with what happens from now on, also to the next manager, until interrupted."
)
@click.option(
    "--resource", callback=read_resource, metavar="NAME", help="Only what concerns this resource, and its pods."
)
@click.option("-o", "--output", type=click.Choice(["text", "mermaid", "svg"]), default="text", show_default=True)
def command(root_dir: Path | None, file: Path | None, follow: bool, resource: str | None, output: str) -> None:
    """Show who called whom, and how it ended: plug-ins, the manager, and those who admit pods.

    The events are those of a running manager (the last 1000), or of FILE: a file of --trace, or a golden trace (- reads
    standard input). A picture shows the last 500 steps, the text has all. A call is shown once it has ended.
    """
    if follow and (file is not None or output != "text"):
        raise click.UsageError("--follow is for a running manager, and for -o text")
    wanted = _Wanted(resource)
    if file is not None:
        trace = TraceInput(file)
        _RENDER[output](wanted.of(trace.items()))
        trace.complain()
    elif output == "text":
        _print_live(root_dir, wanted, follow=follow)
    else:
        items: list[Item] = []
        conversation = Conversation()
        _ask(root_dir, conversation, lambda event: items.extend(conversation.tell(event)), follow=False)
        _RENDER[output](wanted.of(items))
    wanted.complain()


class _Wanted:
    """The items that concern one resource, or all."""

    def __init__(self, resource: str | None) -> None:
        self._resource = resource
        self._seen: set[str] = set()

    def of(self, items: Iterable[Item]) -> Iterator[Item]:
        for item in items:
            self._seen |= item.about
            if self._resource is None or not item.about or self._resource in item.about:
                yield item

    def complain(self) -> None:
        """At the end: say so if there was nothing about the resource, which may be misspelt."""
        if self._resource is not None and self._resource not in self._seen:
            hint = nearest(self._resource, self._seen) or f"; there are {', '.join(sorted(self._seen)) or 'none'}"
            click.echo(printable(f"nothing concerns a resource {self._resource}{hint}"), err=True)


def _print_live(root_dir: Path | None, wanted: _Wanted, *, follow: bool) -> None:
    conversation, lines = Conversation(), _Lines()

    def show(event: dict[str, Any]) -> None:
        for item in wanted.of(conversation.tell(event)):
            lines.show(item)

    _ask(root_dir, conversation, show, follow=follow)


def _ask(
    root_dir: Path | None, conversation: Conversation, on_event: Callable[[dict[str, Any]], None], *, follow: bool
) -> None:
    unseen = Unseen(on_event)

    async def read(client: ManagerClient) -> None:
        _, pods, _ = await client.status()
        for pod in pods:
            resources = {name for container in pod.containers for name in container.devices}
            conversation.know_pod(namespace=pod.namespace, name=pod.name, uid=pod.uid, resources=resources)
        await client.read_events(unseen, follow=follow)

    (ask_without_end if follow else ask)(root_dir, read)


class _Lines:
    """Prints items as lines, with seconds since the first one, below what their signs mean. The column of names widens
    with the first long one. On a terminal lines are folded."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._width = 0

    def show(self, item: Item) -> None:
        wide = columns()
        if not self._width:
            _echo(folded(LEGEND, wide))
        if self._since is None and item.time is not None:
            self._since = item.time
            click.echo(f"Seconds since {timestamp(max(0.0, item.time))}:")
        self._width = max(self._width, column_for([item]))
        _echo(folded_line(item, since=self._since, width=self._width, columns=wide))


def _echo(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


def _print_lines(items: Iterable[Item]) -> None:
    lines = _Lines()
    for item in items:
        lines.show(item)


_RENDER: dict[str, Callable[[Iterator[Item]], None]] = {
    "text": _print_lines,
    "mermaid": lambda items: click.echo(mermaid(drawing_of(items)).encode(), nl=False),
    "svg": lambda items: click.echo(svg(drawing_of(items)).encode(), nl=False),
}
"""A picture is a file of UTF-8, whatever the encoding of the terminal."""
