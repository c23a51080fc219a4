"""``cluster build``, ``cluster up``: a real Kubernetes control plane on this machine, with nodes of ours."""

from __future__ import annotations

from pathlib import Path

import click

from ...errors import requires_extra
from ..shared.group import Group
from ..shared.input_file import read_input
from ..shared.parameters import Directory, Number


@click.group("cluster", cls=Group)
def command() -> None:
    """A real Kubernetes cluster on this machine: its own API server and scheduler, and nodes with your devices."""


@command.command("build")
def build_command() -> None:
    """Compile Kubernetes' control plane and kubectl, once: what `cluster up` runs.

    It takes some minutes and the go tool, and is kept in the user's cache. Builds of other versions are removed there.
    Not needed where KUBEBUILDER_ASSETS or PATH has etcd, kube-apiserver and kube-scheduler.
    """
    from .build import build

    build()


@command.command("up")
@click.option("--nodes", "count", type=Number(0, 1000), default=1, show_default=True, help="How many: node-0, node-1 …")
@click.option(
    "--plugin",
    "script",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Simulated plug-ins for each node, as for the verb plugin.",
)
@click.option("--controllers", is_flag=True, help="Run kube-controller-manager: Deployments, DaemonSets, Jobs …")
@click.option(
    "--dir",
    "directory",
    type=Directory(),
    help="Keep everything in this directory, which is kept at the end.  [default: a temporary one]",
)
@click.option("--port", type=Number(0, 65535), default=0, help="The API server's port.  [default: any free one]")
def up_command(count: int, script: Path | None, controllers: bool, directory: Path | None, port: int) -> None:
    """Start a cluster on loopback, and run it until Ctrl-C or SIGTERM.

    Each node has a directory of its name in that of the cluster, and device plug-ins register there. Its pods get their
    devices, and their status says that they run; their containers are not run.

    The programs of Kubernetes are those of the directory that KUBEBUILDER_ASSETS names, or those in PATH, or what
    `cluster build` has made. Nothing is left at the end but the directory of --dir.
    """
    with requires_extra("cluster"):
        from .up import up
    from ...testing.plugin.script import parse_scripts

    scripts = [] if script is None else parse_scripts(read_input(script), file=str(script))
    up(count=count, scripts=scripts, controllers=controllers, directory=directory, port=port)
