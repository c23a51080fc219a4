"""``status``: the resources, and who holds which devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import trio
from rich.console import Group
from rich.live import Live

from ..rpc.manager_client import ManagerClient
from . import output_option, root_dir_option
from .ask import ask, ask_without_end
from .output import console, draw_status, settings_data, show, status_data, status_tables

REFRESH_PERIOD = 0.5
"""Seconds between two looks with --watch."""


@click.command("status")
@root_dir_option
@output_option
@click.option(
    "--watch",
    is_flag=True,
    help="Refresh in place until interrupted; off a terminal, show each change. (Tables only.)",
)
def command(root_dir: Path | None, output: str, watch: bool) -> None:
    """Show per resource what there is and what is held, and per pod the devices of each container."""
    if watch and output != "table":
        raise click.UsageError("--watch shows tables; leave out -o")
    if watch:
        ask_without_end(root_dir, _refresh if console().is_terminal else _print_changes)
    else:
        show(ask(root_dir, _look), output, draw_status)


async def _look(client: ManagerClient) -> dict[str, Any]:
    capacity, pods, settings = await client.status()
    return status_data(capacity, pods) | {"settings": settings_data(settings)}


async def _refresh(client: ManagerClient) -> None:
    with Live(console=console(), auto_refresh=False) as live:
        while True:
            live.update(Group(*status_tables(await _look(client))), refresh=True)
            await trio.sleep(REFRESH_PERIOD)


async def _print_changes(client: ManagerClient) -> None:
    shown: dict[str, Any] | None = None
    while True:
        data = await _look(client)
        if data != shown:
            draw_status(data)
        shown = data
        await trio.sleep(REFRESH_PERIOD)
