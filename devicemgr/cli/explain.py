"""``explain``: why a pod got its devices, or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..core.allocation.explanation import render
from ..printable import printable
from ..rpc.admin.client import ManagerClient
from ..rules.book import sentences_in
from .shared.ask import ask, did_you_mean
from .shared.output import show
from .shared.parameters import output_option, pod_argument, root_dir_option, uid_option


@click.command("explain")
@root_dir_option
@output_option
@pod_argument
@uid_option
@click.pass_context
def command(ctx: click.Context, root_dir: Path | None, output: str, pod: tuple[str, str], uid: bool) -> None:
    """Explain which devices were considered, which rule took which, what the plug-in was asked and what it said.

    Explanations are kept for the pods on the node and for the last 100 that were refused or have ended, until the
    manager stops. The ids in brackets (ALLOC-7d, TM-12 …) are rules of the kubelet; the verb rule prints one in full.
    """
    namespace, name = pod

    async def explain(client: ManagerClient) -> dict[str, Any] | str:
        """A text suggests another pod."""
        return await client.explain("" if uid else namespace, name) or await did_you_mean(client, namespace, name)

    explanation = ask(root_dir, explain)
    if isinstance(explanation, str):
        which = f"with the uid {name}" if uid else f"{namespace}/{name}"
        click.echo(
            f"Error: there is no pod {which}, nor is it among the last 100 that were refused or have ended since the "
            f"manager was started{explanation}",
            err=True,
        )
        ctx.exit(1)
    show(explanation | {"rules": sentences_in("\n".join(render(explanation)))}, output, _draw)


def _draw(data: dict[str, Any]) -> None:
    width = max(map(len, data["rules"]), default=0)
    rules = [f"  {id:{width}}  {sentence}" for id, sentence in data["rules"].items()]
    click.echo("\n".join(map(printable, [*render(data), "Rules:", *rules])))
