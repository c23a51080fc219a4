"""``admit``: admit the pods of a manifest, and start their containers."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import BadInput
from ..input.manifest import parse_manifest
from ..model import Pod, PodAdmitResult
from ..printable import printable
from ..rpc.admin.client import ManagerClient
from .shared.ask import ask
from .shared.input_file import display_name, read_input
from .shared.output import admission_data, draw_admission, show
from .shared.parameters import Number, output_option, root_dir_option

_SUFFIXES = (".json", ".yaml", ".yml")


@click.command("admit")
@root_dir_option
@output_option
@click.option(
    "-f",
    "--filename",
    "filenames",
    required=True,
    multiple=True,
    metavar="FILE",
    help="A manifest, or a directory of them; - reads standard input. May be given several times.",
)
@click.option(
    "--replicas",
    type=Number(1, 10_000),
    default=1,
    show_default=True,
    help="How many pods of each Deployment, StatefulSet, Job, … (a DaemonSet has one on a node).",
)
@click.option("--strict", is_flag=True, help="A field that pods do not have is an error, not a warning.")
@click.option("--no-start", is_flag=True, help="Stop after admission; do not start the containers.")
@click.pass_context
def command(
    ctx: click.Context,
    root_dir: Path | None,
    output: str,
    filenames: tuple[str, ...],
    replicas: int,
    strict: bool,
    no_start: bool,
) -> None:
    """Admit the pods of FILE, in order. A refused pod makes the exit status 1; the next one is still tried.

    An object that makes pods (Deployment, StatefulSet, DaemonSet, Job, CronJob, ReplicaSet …) stands for one pod, named
    as its controller would name it. In an object of another kind (JobSet, RayCluster …) each pod template stands for
    one pod. What has none is skipped.
    """
    pods = _pods(filenames, replicas=replicas, strict=strict)

    async def admit_all(client: ManagerClient) -> list[tuple[Pod, PodAdmitResult]]:
        return [(pod, await client.admit(pod, start=not no_start)) for pod in pods]

    admissions = ask(root_dir, admit_all)
    data = [admission_data(pod, admission) for pod, admission in admissions]
    show(data if len(data) > 1 else data[0], output, lambda _: _draw(pods, data))
    if any(not admission.admitted or admission.failed_container for _, admission in admissions):
        ctx.exit(1)


def _pods(filenames: tuple[str, ...], *, replicas: int, strict: bool) -> list[Pod]:
    """The pods of the files; warnings and notes are printed on standard error. Raises BadInput."""
    names = [name for filename in filenames for name in _files(filename)]
    if names.count("-") > 1:
        raise click.UsageError("standard input can be read only once; give -f - once")
    found = parse_manifest(((display_name(name), read_input(name)) for name in names), replicas=replicas)
    if strict and found.warnings:
        raise found.warnings[0]
    for line in found.notes:
        click.echo(printable(str(line)), err=True)
    for line in found.warnings:
        click.echo(f"warning: {printable(str(line))}", err=True)
    return found.pods


def _files(filename: str) -> list[str]:
    """The files of a directory, as kubectl reads them: sorted by name, and not recursively."""
    directory = Path(filename)
    if not filename:
        raise click.BadParameter("the path is empty", param_hint="--filename")
    try:
        if filename == "-" or not directory.is_dir():
            return [filename]
        files = sorted(str(path) for path in directory.iterdir() if path.suffix in _SUFFIXES and path.is_file())
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror or error}", file=filename) from error
    if not files:
        raise BadInput(f"no file of this directory ends in {', '.join(_SUFFIXES)}", file=filename)
    return files


def _draw(pods: list[Pod], data: list[dict[str, object]]) -> None:
    for pod, one in zip(pods, data, strict=True):
        draw_admission(pod, one)
