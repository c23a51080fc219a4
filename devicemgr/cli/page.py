"""``page``: the page of a recorded trace. That of a running manager is an option of the daemon."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import trio

from ..concurrency.exception_groups import collapse_exception_group
from ..errors import BadInput, requires_extra
from ..printable import printable
from .daemon.options import parse_address
from .shared.trace_input import TraceInput
from .terminal.signals import until_signal


@click.command("page")
@click.option(
    "--trace",
    "file",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    required=True,
    help="A file of --trace, or a golden trace (- reads standard input).",
)
@click.option(
    "--address",
    callback=lambda ctx, param, given: parse_address(given),
    default=":0",
    metavar="[HOST]:PORT",
    help="Where to serve it. Without a host, on this machine only; port 0, the default, is any free one.",
)
def command(file: Path, address: tuple[str, int]) -> None:
    """Serve the page of a trace until interrupted; a slider selects any moment of it.

    To see a running manager, start it with --page.
    """
    with requires_extra("page"):
        from ..daemon.page.recorded import Recording
        from ..daemon.page.site import serve_recording
    trace = TraceInput(file)
    click.echo(f"Reading {printable(trace.name)} …", err=True)  # a second takes some megabytes
    recording = Recording(trace.name, _events(trace))
    try:
        trace.complain()
    except BadInput as problem:  # a manager that was killed leaves half a line
        click.echo(f"warning: {printable(str(problem))}; left out", err=True)

    async def serve() -> None:
        async with trio.open_nursery() as nursery:
            url = await nursery.start(serve_recording, recording, address)
            click.echo(f"The page of {printable(trace.name)} is at {url} (Ctrl-C ends it)")

    with collapse_exception_group():
        trio.run(until_signal, serve)


def _events(trace: TraceInput) -> Iterator[Mapping[str, Any]]:
    """Each with its ``level``, if the trace states it."""
    for line in trace.lines():
        if line.event is not None:
            yield {**line.event, "level": line.level} if line.level else line.event
