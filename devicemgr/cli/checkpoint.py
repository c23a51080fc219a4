"""``checkpoint show``: any kubelet's checkpoint, readable, with its checksum verified."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from typing import Any

import click

from ..core.allocation.container_options import as_data
from ..core.checkpoint.any_format import AnyCheckpoint, parse_any_checkpoint
from ..core.devices.pod_devices import in_order
from ..errors import BadInput, CorruptCheckpoint
from ..model import RunOptions
from ..printable import printable
from ..rpc.deviceplugin.convert import answer_from_bytes
from .shared.group import Group
from .shared.input_file import display_name, read_input
from .shared.output import answer_rows, console, listing, plain, print_listing, show
from .shared.parameters import output_option

_LARGEST = 256 * 2**20
"""Bytes: of 100,000 pods with a few devices each, and what their plug-ins answered."""


@click.group("checkpoint", cls=Group)
def command() -> None:
    """Read kubelet_internal_checkpoint files."""


@command.command("show")
@output_option
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.pass_context
def show_checkpoint(ctx: click.Context, file: Path, output: str) -> None:
    """Show FILE: who holds which devices, what the plug-ins answered, and the registered resources.

    FILE may have the layout of any kubelet since 1.8; - reads standard input. Exit status 1 when the checksum does not
    match the content, which is shown with a warning; 2 when it is no checkpoint: not JSON, or another layout.
    """
    name = display_name(file)
    try:
        found = parse_any_checkpoint(read_input(file, largest=_LARGEST))
    except CorruptCheckpoint as error:
        raise BadInput(f"this checkpoint cannot be read: {error}", file=name) from error
    show(_data(found), output, _draw)
    if found.problem:
        warning = f"{found.problem}; it was changed, or cut off, after it was written, and no kubelet will accept it"
        click.echo(f"warning: {printable(name)}: {warning}", err=True)
        ctx.exit(1)


def _data(found: AnyCheckpoint) -> dict[str, Any]:
    checkpoint = found.checkpoint
    return {
        "checksum": found.checksum,
        "layout": found.layout,
        "entries": [
            {
                "pod_uid": entry.owner.pod_uid,
                "container": entry.owner.container,
                "resource": entry.resource,
                "devices": {
                    id: None if (nodes := entry.devices[id]) is None else list(nodes) for id in in_order(entry.devices)
                },
                "answer": _answer(answer_from_bytes(entry.answer)),
            }
            for entry in checkpoint.entries
        ],
        "registered": {name: list(ids) for name, ids in checkpoint.registered.items()},
    }


def _answer(answer: RunOptions | None) -> dict[str, Any] | None:
    return None if answer is None else as_data(answer)


_CHECKSUM = {
    "ok": "The checksum is right.",
    "none": "A kubelet of this age wrote no checksum.",
    "wrong": "[red]The checksum is wrong.[/red]",
}


def _draw(data: dict[str, Any]) -> None:
    """One line for each device, so that its NUMA nodes are beside it however long its id is."""
    entries = listing("Assignments", "pod uid", "container", "resource", "devices", "NUMA nodes", "answer")
    for entry in data["entries"]:
        owner = [plain(entry[key]) for key in ("pod_uid", "container", "resource")]
        nodes = [(plain(id), "-" if at is None else ",".join(map(str, at))) for id, at in entry["devices"].items()]
        answer = entry["answer"]
        rows = [f"{what} {value}" for what, value in answer_rows(answer)] if answer is not None else ["unreadable"]
        devices, at = zip(*nodes, strict=True) if nodes else ((), ())
        lines = [*zip_longest(devices, at, map(plain, rows), fillvalue="")] or [("", "", "")]
        for index, line in enumerate(lines):
            entries.add_row(*(owner if index == 0 else [""] * 3), *line, end_section=index == len(lines) - 1)
    registered = listing("Registered resources", "resource", "healthy devices")
    for name, ids in data["registered"].items():
        registered.add_row(plain(name), plain(", ".join(ids) or "none"))
    print_listing(entries, registered)
    console().print(f"The layout is that of Kubernetes {data['layout']}. {_CHECKSUM[data['checksum']]}")
