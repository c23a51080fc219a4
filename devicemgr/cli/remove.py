"""``remove``: a pod has ended; its devices are free at once."""

from __future__ import annotations

from pathlib import Path

import click

from ..rpc.admin.client import ManagerClient
from .shared.ask import ask, did_you_mean
from .shared.parameters import pod_argument, root_dir_option, uid_option


@click.command("remove")
@root_dir_option
@pod_argument
@uid_option
@click.pass_context
def command(ctx: click.Context, root_dir: Path | None, pod: tuple[str, str], uid: bool) -> None:
    """Remove a pod. Exit status 1 when there is no such pod."""
    namespace, name = pod
    shown = f"uid {name}" if uid else f"{namespace}/{name}"

    async def remove(client: ManagerClient) -> str | None:
        """None if it is done, otherwise a suggestion."""
        return (
            None if await client.remove("" if uid else namespace, name) else await did_you_mean(client, namespace, name)
        )

    hint = ask(root_dir, remove)
    if hint is not None:
        hint = hint or "; 'status' lists the pods"
        click.echo(f"Error: there is no pod {f'with the uid {name}' if uid else shown}{hint}", err=True)
        ctx.exit(1)
    click.echo(f"removed {shown}")
