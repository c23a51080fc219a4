"""``events``: what happened, oldest first."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from ..daemon.trace import LATEST
from ..rpc.manager_client import ManagerClient
from ..yaml_text import dump
from . import output_option, root_dir_option
from .ask import ask, ask_without_end


@click.command("events")
@root_dir_option
@output_option
@click.option("--follow", is_flag=True, help="Go on with the events to come, until interrupted.")
def command(root_dir: Path | None, output: str, follow: bool) -> None:
    """Show the last 1000 events. With -o json one object a line, with -o yaml one document each."""
    render = _RENDER[output]

    async def read(client: ManagerClient) -> None:
        await client.read_events(lambda event: click.echo(render(event)), follow=follow)

    (ask_without_end if follow else ask)(root_dir, read)


def _line(event: dict[str, Any]) -> str:
    rest = {key: value for key, value in event.items() if key not in ("sequence", "time", "event")}
    words = " ".join(f"{key}={json.dumps(value)}" for key, value in rest.items())
    clock = datetime.fromtimestamp(min(event["time"], LATEST)).strftime("%H:%M:%S.%f")[:-3]
    return f"{event['sequence']:5} {clock} {event['event']:22} {words}"


_RENDER: dict[str, Callable[[dict[str, Any]], str]] = {
    "table": _line,
    "json": json.dumps,
    "yaml": lambda event: "---\n" + dump(event).rstrip(),
}
