"""``node-status``: what a kubelet would publish in the node's status."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import click

from ..model import NodeStatus
from ..rpc.admin.client import ManagerClient
from .shared.ask import ask
from .shared.output import console, listing, plain, print_listing, show
from .shared.parameters import no_headers_option, output_option, root_dir_option


@click.command("node-status")
@root_dir_option
@output_option
@click.option(
    "--acknowledge", is_flag=True, help="The zeroes of removed resources, and a reset, are published: forget them."
)
@no_headers_option
def command(root_dir: Path | None, output: str, acknowledge: bool, no_headers: bool) -> None:
    """Show capacity and allocatable as the node publishes them; removed resources have 0 until acknowledged."""

    async def look(client: ManagerClient) -> NodeStatus:
        status = await client.node_status()
        for resource in status.removed if acknowledge else ():
            await client.acknowledge_removed(resource)
        if status.reset and acknowledge:
            await client.acknowledge_reset()
        return status

    status = ask(root_dir, look)
    show(
        {**dataclasses.asdict(status), "removed": list(status.removed)}, output, partial(_draw, headers=not no_headers)
    )


def _draw(data: dict[str, Any], *, headers: bool) -> None:
    numbers = ("capacity", "allocatable")
    table = listing("Node status", "resource", *numbers, "", right=numbers, headers=headers)
    for name, count in data["capacity"].items():
        removed = "removed, not acknowledged" if name in data["removed"] else ""
        table.add_row(plain(name), str(count), str(data["allocatable"][name]), removed)
    print_listing(table)
    if data["reset"] and headers:
        console().print("There was no checkpoint at the start: the node's other extended resources are void (CAP-6).")
