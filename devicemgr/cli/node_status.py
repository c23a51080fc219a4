"""``node-status``: what a kubelet would publish in the node's status."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from ..model import NodeStatus
from ..rpc.manager_client import ManagerClient
from . import output_option, root_dir_option
from .ask import ask
from .output import console, plain, show


@click.command("node-status")
@root_dir_option
@output_option
@click.option(
    "--acknowledge", is_flag=True, help="The zeroes of removed resources, and a reset, are published: forget them."
)
def command(root_dir: Path | None, output: str, acknowledge: bool) -> None:
    """Show capacity and allocatable as the node publishes them; removed resources stand with 0 until acknowledged."""

    async def look(client: ManagerClient) -> NodeStatus:
        status = await client.node_status()
        for resource in status.removed if acknowledge else ():
            await client.acknowledge_removed(resource)
        if status.reset and acknowledge:
            await client.acknowledge_reset()
        return status

    status = ask(root_dir, look)
    show({**dataclasses.asdict(status), "removed": list(status.removed)}, output, _draw)


def _draw(data: dict[str, Any]) -> None:
    table = Table(title="Node status", title_justify="left")
    for column in ("resource", "capacity", "allocatable", ""):
        table.add_column(column, justify="right" if column in ("capacity", "allocatable") else "left")
    for name, count in data["capacity"].items():
        removed = "removed, not acknowledged" if name in data["removed"] else ""
        table.add_row(plain(name), str(count), str(data["allocatable"][name]), removed)
    console().print(table)
    if data["reset"]:
        console().print("There was no checkpoint at the start: the node's other extended resources are void (CAP-6).")
