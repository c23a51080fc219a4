"""``retain``: which pods still exist; all others are removed."""

from __future__ import annotations

from pathlib import Path

import click

from ..model import Pod
from ..printable import printable
from ..rpc.admin.client import ManagerClient
from . import root_dir_option
from .ask import ask
from .input_file import read_input


@click.command("retain")
@root_dir_option
@click.argument("uids", nargs=-1, required=True, metavar="UID...")
def command(root_dir: Path | None, uids: tuple[str, ...]) -> None:
    """These pods exist, and no others: all others are removed, and their devices are free at once.

    For a node whose checkpoint was taken over from a kubelet: it may still list devices of pods
    that were refused or have ended, and only you know which pods those are. "-" reads the uids from standard input.
    Name them all in one call: the next one would remove what this one kept.
    """
    wanted = [uid for word in uids for uid in (read_input(word) if word == "-" else word).split()]
    if not wanted:
        raise click.UsageError("no pod is named, and all of them would be removed")

    async def retain(client: ManagerClient) -> list[Pod]:
        return await client.retain(wanted)

    removed = ask(root_dir, retain)
    for pod in removed:
        click.echo(printable(f"removed {pod.full_name}" + (f" (uid {pod.uid})" if pod.name else "")))
    if not removed:
        click.echo("there was no other pod")
