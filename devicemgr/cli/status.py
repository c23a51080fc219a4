"""``status``: the resources, and who holds which devices."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click
import trio
from rich.console import Group
from rich.live import Live

from ..rpc.admin.client import ManagerClient
from . import no_headers_option, root_dir_option
from .ask import ask, ask_without_end
from .output import console, draw_names, draw_status, readable, settings_data, show, status_data, status_tables

REFRESH_PERIOD = 0.5
"""Seconds between two looks with --watch."""


@click.command("status")
@root_dir_option
@click.option(
    "-o", "--output", type=click.Choice(["table", "json", "yaml", "name"]), default="table", show_default=True
)
@no_headers_option
@click.option(
    "--watch",
    is_flag=True,
    help="Refresh in place until interrupted; off a terminal, show each change. (Tables only.)",
)
def command(root_dir: Path | None, output: str, no_headers: bool, watch: bool) -> None:
    """Show per resource what there is and what is held, and per pod the devices of each container."""
    if watch and output != "table":
        raise click.UsageError("--watch shows tables; leave out -o")
    if watch:
        ask_without_end(root_dir, _refresh if console().is_terminal else _print_changes)
    else:
        draw = draw_names if output == "name" else partial(draw_status, headers=not no_headers)
        show(ask(root_dir, _look), output, draw)


async def _look(client: ManagerClient) -> dict[str, Any]:
    capacity, pods, settings = await client.status()
    return status_data(capacity, pods) | {"settings": settings_data(settings)}


async def _refresh(client: ManagerClient) -> None:
    with Live(console=console(), auto_refresh=False) as live:
        while True:
            tables = status_tables(await _look(client))
            live.update(Group(*(readable(table, live.console.width) for table in tables)), refresh=True)
            await trio.sleep(REFRESH_PERIOD)


async def _print_changes(client: ManagerClient) -> None:
    shown: dict[str, Any] | None = None
    while True:
        data = await _look(client)
        if data != shown:
            draw_status(data)
        shown = data
        await trio.sleep(REFRESH_PERIOD)
