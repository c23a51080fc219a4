"""``checkpoint show``: any kubelet's checkpoint, readable, with its checksum verified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.table import Table

from ..core.checkpoint import Checkpoint, parse_checkpoint
from ..core.holdings import in_order
from ..errors import BadInput, CorruptCheckpoint
from ..model import RunOptions
from ..rpc.convert import answer_from_bytes
from . import output_option
from .output import answer_data, answer_rows, console, plain, show


@click.group("checkpoint")
def command() -> None:
    """Read kubelet_internal_checkpoint files."""


@command.command("show")
@output_option
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def show_checkpoint(file: Path, output: str) -> None:
    """Show FILE: who holds which devices, what the plug-ins answered, and the registered resources.

    Exit status 2 when it cannot be believed: not JSON, another layout, or a checksum that does not fit.
    """
    try:
        checkpoint = parse_checkpoint(file.read_bytes().decode())
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot be read: {error}", file=str(file)) from error
    except CorruptCheckpoint as error:
        raise BadInput(f"this checkpoint cannot be believed: {error}", file=str(file)) from error
    show(_data(checkpoint), output, _draw)


def _data(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "checksum": "ok",
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
    return None if answer is None else answer_data(answer)


def _draw(data: dict[str, Any]) -> None:
    entries = Table(title="Assignments", title_justify="left")
    for column in ("pod uid", "container", "resource", "devices", "NUMA nodes", "answer"):
        entries.add_column(column, overflow="fold")
    for entry in data["entries"]:
        nodes = {id: "-" if at is None else ",".join(map(str, at)) for id, at in entry["devices"].items()}
        answer = entry["answer"]
        rows = [f"{what} {value}" for what, value in answer_rows(answer)] if answer is not None else ["unreadable"]
        entries.add_row(
            plain(entry["pod_uid"]),
            plain(entry["container"]),
            plain(entry["resource"]),
            "\n".join(map(plain, nodes)),
            "\n".join(nodes.values()),
            "\n".join(map(plain, rows)),
        )
    registered = Table(title="Registered resources", title_justify="left")
    for column in ("resource", "healthy devices"):
        registered.add_column(column, overflow="fold")
    for name, ids in data["registered"].items():
        registered.add_row(plain(name), plain(", ".join(ids) or "none"))
    console().print(entries, registered)
    console().print("The checksum is right.")
