"""``explain``: why a pod got its devices, or none, in plain words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..core.decision import tell
from ..rpc.manager_client import ManagerClient
from . import output_option, pod_argument, root_dir_option
from .ask import ask
from .output import show


@click.command("explain")
@root_dir_option
@output_option
@pod_argument
@click.pass_context
def command(ctx: click.Context, root_dir: Path | None, output: str, pod: tuple[str, str]) -> None:
    """Tell which devices were considered, which rule took which, what the plug-in was asked and what it said.

    Decisions are kept for the pods that are here and for the last 100 that were refused or have ended, until the
    manager stops. The rule ids (ALLOC-7d, TM-12 …) are those of the README's reference table.
    """
    namespace, name = pod

    async def explain(client: ManagerClient) -> dict[str, Any] | None:
        return await client.explain(namespace, name)

    decision = ask(root_dir, explain)
    if decision is None:
        click.echo(
            f"Error: no decision about {namespace}/{name} is remembered; "
            "only those of this manager's life are, and 'status' lists the pods that are here",
            err=True,
        )
        ctx.exit(1)
    show(decision, output, lambda data: click.echo("\n".join(tell(data))))
