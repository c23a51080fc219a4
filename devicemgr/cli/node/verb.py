"""``node``: joins a cluster, as one node or as many, each with a manager and device plug-ins of its own."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click

from ...errors import requires_extra
from ...kubernetes_versions import LATEST, VERSIONS
from ..shared.input_file import read_input
from ..shared.parameters import DEFAULT_ROOT, Number, root_dir_option, root_of

MAX_NODES = 1000
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def _read_pairs(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """``NAME=VALUE``; the last of a name counts."""
    for text in given:
        if "=" not in text or text.startswith("="):
            raise click.BadParameter(f"{text!r:.100}: write {param.metavar}", ctx, param)
    return dict(text.split("=", 1) for text in given)


def _read_name(ctx: click.Context, param: click.Parameter, given: str | None) -> str:
    """By default the name of this machine, as a kubelet has it."""
    name = socket.gethostname().lower() if given is None else given
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise click.BadParameter(f"{name!r:.100}: must be lower-case letters, digits, '-' and '.'", ctx, param)
    return name


def _read_address(ctx: click.Context, param: click.Parameter, given: str | None) -> str | None:
    try:
        return given and str(ip_address(given))
    except ValueError:
        raise click.BadParameter(f"{given!r:.100}: must be an IP address", ctx, param) from None


@click.command("node")
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path, dir_okay=False),
    help="How to reach the cluster.  [default: the files of KUBECONFIG, or ~/.kube/config, or this pod's account]",
)
@click.option("--context", default="", metavar="NAME", help="A context of the kubeconfig.  [default: its current one]")
@click.option("--name", metavar="NAME", callback=_read_name, help="The node's name.  [default: that of this machine]")
@click.option(
    "--nodes",
    "count",
    type=Number(1, MAX_NODES),
    default=1,
    show_default=True,
    help="How many nodes to be. Several are NAME-0, NAME-1 … with directories of those names in the root directory.",
)
@click.option(
    "--plugin",
    "script",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Simulated plug-ins for each node, as for the verb plugin.",
)
@root_dir_option
@click.option(
    "--capacity",
    multiple=True,
    metavar="NAME=QUANTITY",
    callback=_read_pairs,
    help="For example cpu=4, memory=16Gi or pods=10. May be given several times.",
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_read_pairs,
    help="A label. May be given several times.",
)
@click.option(
    "--no-taint",
    is_flag=True,
    help="Give a new node no taint. By default devicemgr.dev/simulated keeps pods away that do not tolerate it.",
)
@click.option(
    "--as-node",
    is_flag=True,
    help="Be system:node:NAME to the API server, by impersonation, which an administrator is allowed.",
)
@click.option(
    "--address",
    callback=_read_address,
    metavar="IP",
    help="The node's address, which its pods have as hostIP.  [default: from which the API server is reached]",
)
@click.option(
    "--delete-on-exit", is_flag=True, help="Delete the Node at the end. Otherwise it stays, and is not Ready."
)
@click.option(
    "--config",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    metavar="FILE",
    help="The kubelet's configuration, as for the manager: its topology policy counts.",
)
@click.option("--numa", metavar="NODES", help="The NUMA nodes, as for the manager.  [default: the machine's]")
@click.option(
    "--kubernetes-version",
    type=click.Choice(VERSIONS),
    default=LATEST,
    show_default=True,
    help="The version of the kubelet to behave like.",
)
@click.option(
    "--trace", type=click.Path(path_type=Path, dir_okay=False), help="Write every event to this file. For one node."
)
@click.option("-v", "--verbose", is_flag=True, help="Show every event of each manager, too.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    kubeconfig: Path | None,
    context: str,
    name: str,
    count: int,
    script: Path | None,
    root_dir: Path | None,
    no_taint: bool,
    trace: Path | None,
    **options: Any,
) -> None:
    """Be a node of a Kubernetes cluster, until Ctrl-C or SIGTERM.

    Pods that are bound to it are admitted as by a kubelet: they get their devices from the device plug-ins that
    register in the root directory, and their status says that they run. Their containers are not run.

    Without --root-dir, several nodes and nodes with --plugin are in a temporary directory, which is removed at the end.
    One node without --plugin is in /var/lib/kubelet, where the machine's plug-ins look for it.
    """
    _check(capacity=options["capacity"], labels=options["labels"])
    if trace is not None and count > 1:
        raise click.UsageError("--trace is for one node: an event does not say of which it is")
    with requires_extra("cluster"):
        from ...cluster.api.kubeconfig import find_connection
        from .run import run_until_signal
    from ...testing.plugin.script import parse_scripts

    connection = find_connection(kubeconfig, context)
    scripts = [] if script is None else parse_scripts(read_input(script), file=str(script))
    is_own = root_dir is None and _root_of_parents(ctx) is None and (count > 1 or bool(scripts))
    ctx.exit(
        run_until_signal(
            connection,
            names=[name] if count == 1 else [f"{name}-{number}" for number in range(count)],
            scripts=scripts,
            root=None if is_own else root_of(root_dir),
            tainted=not no_taint,
            trace=trace,
            **options,
        )
    )


def _check(*, capacity: Mapping[str, str], labels: Mapping[str, str]) -> None:
    """Raises BadParameter, which names the resource or the label."""
    from ...cluster.objects.node import check_capacity, check_labels

    for option, check, given in (("--capacity", check_capacity, capacity), ("--label", check_labels, labels)):
        try:
            check(given)
        except ValueError as error:
            raise click.BadParameter(str(error)[:200], param_hint=option) from error


def _root_of_parents(ctx: click.Context) -> Path | None:
    found = root_of(None)
    return None if found == Path(DEFAULT_ROOT) else found
