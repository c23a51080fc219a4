"""``admit``: admit the pods of a manifest, and start their containers."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..errors import BadInput
from ..manifest import parse_pods
from ..model import Admission, Pod
from ..rpc.manager_client import ManagerClient
from . import output_option, root_dir_option
from .ask import ask
from .output import admission_data, draw_admission, show


@click.command("admit")
@root_dir_option
@output_option
@click.option("-f", "--filename", required=True, metavar="FILE", help="A pod manifest; - reads standard input.")
@click.option("--no-start", is_flag=True, help="Stop after admission; do not start the containers.")
@click.pass_context
def command(ctx: click.Context, root_dir: Path | None, output: str, filename: str, no_start: bool) -> None:
    """Admit the pods of FILE, in order. A refused pod makes the exit status 1; the next one is still tried."""
    pods = parse_pods(_read(filename), file="<stdin>" if filename == "-" else filename)

    async def admit_all(client: ManagerClient) -> list[tuple[Pod, Admission]]:
        return [(pod, await client.admit(pod, start=not no_start)) for pod in pods]

    admissions = ask(root_dir, admit_all)
    data = [admission_data(pod, admission) for pod, admission in admissions]
    show(data if len(data) > 1 else data[0], output, lambda _: _draw(pods, data))
    if any(not admission.admitted or admission.failed_container for _, admission in admissions):
        ctx.exit(1)


def _draw(pods: list[Pod], data: list[dict[str, object]]) -> None:
    for pod, one in zip(pods, data, strict=True):
        draw_admission(pod, one)


def _read(filename: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if filename == "-" else Path(filename).read_bytes()
        return raw.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot be read: {error}", file=filename) from error
