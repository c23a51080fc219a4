"""``remove``: a pod has ended; its devices are free at once."""

from __future__ import annotations

from pathlib import Path

import click

from ..rpc.manager_client import ManagerClient
from . import root_dir_option
from .ask import ask


@click.command("remove")
@root_dir_option
@click.argument("pod", metavar="NAMESPACE/NAME")
@click.pass_context
def command(ctx: click.Context, root_dir: Path | None, pod: str) -> None:
    """Remove a pod. Exit status 1 when there is no such pod."""
    namespace, slash, name = pod.rpartition("/")
    if not name or (slash and not namespace) or "/" in namespace:
        raise click.BadParameter(f"{pod!r}: write NAMESPACE/NAME", param_hint="NAMESPACE/NAME")

    async def remove(client: ManagerClient) -> bool:
        return await client.remove(namespace or "default", name)

    if not ask(root_dir, remove):
        click.echo(f"Error: there is no pod {namespace or 'default'}/{name}; 'status' lists the pods", err=True)
        ctx.exit(1)
    click.echo(f"removed {namespace or 'default'}/{name}")
