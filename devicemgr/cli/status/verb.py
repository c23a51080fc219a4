"""``status``: the resources, and who holds which devices."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import click
import trio
from rich.console import Group, RenderableType
from rich.table import Table

from ...rpc.admin.client import ManagerClient
from ..shared.ask import ask, ask_without_end, run_until_interrupted
from ..shared.in_place import can_draw_in_place, open_place
from ..shared.output import draw_names, draw_parts, readable, settings_data, show, status_data, status_parts
from ..shared.parameters import no_headers_option, root_dir_option, root_of
from .kubelet import SOCKET, KubeletWatch, kubelet_parts, kubelet_status

REFRESH_PERIOD = 0.5
"""Seconds between two looks with --watch."""
Data: TypeAlias = dict[str, Any]
Parts: TypeAlias = Callable[[Data], tuple[list[Table], list[str]]]
"""Data as tables, and what is to be said below them."""


@click.command("status")
@root_dir_option
@click.option(
    "--pod-resources",
    type=click.Path(),
    is_flag=False,
    flag_value="",
    metavar="[SOCKET]",
    help="Ask a kubelet, on its PodResources socket, and not a manager. "
    f"[default socket: {SOCKET} in the root directory]",
)
@click.option(
    "-o", "--output", type=click.Choice(["table", "json", "yaml", "name"]), default="table", show_default=True
)
@no_headers_option
@click.option(
    "--watch",
    is_flag=True,
    help="Refresh in place until interrupted, also when the manager restarts; without a terminal, print each change. "
    "(Tables only.)",
)
def command(root_dir: Path | None, pod_resources: str | None, output: str, no_headers: bool, watch: bool) -> None:
    """Show per resource what there is and what is held, and per pod the devices of each container.

    With --pod-resources, of any node: it asks the kubelet, needs no manager of ours, and changes nothing. A kubelet
    lists no init containers (except sidecars) and no health. So a device that only an init container has asked for
    looks available until its pod ends.
    """
    if watch and output != "table":
        raise click.UsageError("--watch shows tables; leave out -o")
    socket = None if pod_resources is None else _socket(pod_resources, root_dir)
    parts = partial(status_parts if socket is None else kubelet_parts, headers=not no_headers)
    if not watch:
        data = ask(root_dir, _look) if socket is None else trio.run(kubelet_status, socket)
        show(data, output, draw_names if output == "name" else lambda shown: draw_parts(parts(shown)))
    elif socket is None:
        ask_without_end(root_dir, lambda client: _show_again(partial(_look, client), parts))
    else:
        run_until_interrupted(partial(_show_again, KubeletWatch(socket).look, parts))


def _socket(given: str, root_dir: Path | None) -> Path:
    """A path, perhaps as the address that gRPC takes."""
    return Path(given.removeprefix("unix://").removeprefix("unix:")) if given else root_of(root_dir) / SOCKET


async def _look(client: ManagerClient) -> Data:
    capacity, pods, settings = await client.status()
    return status_data(capacity, pods) | {"settings": settings_data(settings)}


async def _show_again(look: Callable[[], Awaitable[Data]], parts: Parts) -> None:
    """What there is now, again and again: in place on a terminal, and elsewhere after each change."""
    await (_refresh if can_draw_in_place() else _print_changes)(look, parts)


async def _refresh(look: Callable[[], Awaitable[Data]], parts: Parts) -> None:
    async with open_place() as draw:
        while True:
            tables, notes = parts(await look())
            draw(partial(_picture, tables, notes))
            await trio.sleep(REFRESH_PERIOD)


def _picture(tables: Sequence[Table], notes: Sequence[str], width: int, _: int) -> RenderableType:
    return Group(*(readable(table, width) for table in tables), *notes)


async def _print_changes(look: Callable[[], Awaitable[Data]], parts: Parts) -> None:
    shown: Data | None = None
    while True:
        data = await look()
        if data != shown:
            draw_parts(parts(data))
        shown = data
        await trio.sleep(REFRESH_PERIOD)
