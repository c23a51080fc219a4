"""``events``: what happened, oldest first."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from ..events.timestamp import MAX_TIMESTAMP
from ..input.yaml_fields import dump
from ..rpc.admin.client import ManagerClient
from .shared.ask import ask, ask_without_end
from .shared.event_filter import EventFilter, Unseen, read_about, read_since, read_types
from .shared.parameters import output_option, root_dir_option


@click.command("events")
@root_dir_option
@output_option
@click.option("--follow", is_flag=True, help="Go on with new events, also of the next manager, until interrupted.")
@click.option(
    "--for", "about", callback=read_about, metavar="pod/NAME|RESOURCE", help="Only what concerns this pod or resource."
)
@click.option("--since", callback=read_since, metavar="TIME", help="Only what is no older than 90s, 5m or 1h30m.")
@click.option(
    "--type", "types", multiple=True, callback=read_types, metavar="EVENT", help="Only events of this name. Repeatable."
)
def command(
    root_dir: Path | None,
    output: str,
    follow: bool,
    about: tuple[str, str] | str | None,
    since: float | None,
    types: list[str],
) -> None:
    """Show the last 1000 events. With -o json one object a line, with -o yaml one document each."""
    render = _RENDER[output]
    pod = about if isinstance(about, tuple) else None
    wanted = EventFilter(
        since=0.0 if since is None else time.time() - since,
        types=types,
        about={"/".join(pod) if pod else str(about)} if about else set(),
        pod=pod,
    )

    unseen = Unseen(lambda event: click.echo(render(event)) if wanted.wants(event) else None)

    async def read(client: ManagerClient) -> None:
        await wanted.prepare(client)
        await client.read_events(unseen, follow=follow)

    (ask_without_end if follow else ask)(root_dir, read)


def line_of(event: dict[str, Any]) -> str:
    rest = {key: value for key, value in event.items() if key not in ("sequence", "time", "event")}
    words = " ".join(f"{key}={json.dumps(value)}" for key, value in rest.items())
    clock = datetime.fromtimestamp(min(event["time"], MAX_TIMESTAMP)).strftime("%H:%M:%S.%f")[:-3]
    return f"{event['sequence']:5} {clock} {event['event']:22} {words}"


_RENDER: dict[str, Callable[[dict[str, Any]], str]] = {
    "table": line_of,
    "json": json.dumps,
    "yaml": lambda event: "---\n" + dump(event).rstrip(),
}
