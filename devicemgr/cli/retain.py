"""``retain``: which pods still exist; all others are removed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import click

from ..model import Pod, PodStatus
from ..printable import printable
from ..rpc.admin.client import ManagerClient
from .shared.ask import ask
from .shared.input_file import read_input
from .shared.parameters import root_dir_option


@click.command("retain")
@root_dir_option
@click.argument("uids", nargs=-1, required=True, metavar="UID...")
def command(root_dir: Path | None, uids: tuple[str, ...]) -> None:
    """Keep the pods with these uids; remove all others, whose devices are free at once.

    For a node whose checkpoint was taken over from a kubelet: it may still list devices of pods
    that were refused or have ended, and only you know which pods those are. "-" reads the uids from standard input.
    Name them all in one call: the next one would remove what this one kept.
    """
    wanted = [uid for word in uids for uid in (read_input(word) if word == "-" else word).split()]
    if not wanted:
        raise click.UsageError("no pod is named, and all of them would be removed")

    async def retain(client: ManagerClient) -> list[Pod]:
        _, pods, _ = await client.status()
        _check_for_names(wanted, pods)
        return await client.retain(wanted)

    removed = ask(root_dir, retain)
    for pod in removed:
        click.echo(printable(f"removed {pod.full_name}" + (f" (uid {pod.uid})" if pod.name else "")))
    if not removed:
        click.echo("there was no other pod")


def _check_for_names(wanted: Collection[str], pods: Sequence[PodStatus]) -> None:
    """Raises BadParameter for the name of a pod: nobody has it as a uid, so that very pod would be removed."""
    uids = {pod.uid for pod in pods}
    for pod in pods:
        if named := {pod.name, pod.full_name}.intersection(wanted) - uids:
            raise click.BadParameter(f"{named.pop()} is the name of a pod: its uid is {pod.uid}", param_hint="UID...")
