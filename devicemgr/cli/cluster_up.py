"""``cluster up``: a control plane and nodes, until a signal comes."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import trio

from ..cluster.control_plane.directory import own_directory
from ..cluster.control_plane.processes import ControlPlane, open_control_plane
from ..cluster.control_plane.programs import (
    COMPONENTS,
    CONTROL_PLANE,
    CONTROLLERS,
    KUBECTL,
    SCHEDULER,
    Program,
    find_programs,
)
from ..errors import ProgramUnavailable, collapse_exception_group
from ..testing.plugin.script import Script
from .node_run import Nodes, run_nodes
from .run import raise_descriptor_limit
from .signals import termination_signals


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    count: int
    scripts: Sequence[Script]
    controllers: bool
    directory: Path
    port: int

    @property
    def components(self) -> list[str]:
        return [*COMPONENTS, SCHEDULER, *([CONTROLLERS] if self.controllers else [])]

    @property
    def nodes(self) -> Nodes:
        """Without a taint: there are no pods here that it would have to keep away."""
        names = [f"node-{number}" for number in range(self.count)]
        root = self.directory / names[0] if self.count == 1 else self.directory
        return Nodes(names=names, root=root, scripts=self.scripts, tainted=False, as_node=True)


def up(*, directory: Path | None, **wanted: Any) -> None:
    raise_descriptor_limit()
    with collapse_exception_group():
        trio.run(_until_signal, directory, wanted)


async def _until_signal(directory: Path | None, wanted: Mapping[str, Any]) -> None:
    # Signals often come in pairs, as when a terminal is closed: the second one waits until the directory is gone.
    with trio.open_signal_receiver(*termination_signals()) as signals, own_directory(directory) as own:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_run, Wanted(directory=own, **wanted))
            await anext(signals)
            nursery.cancel_scope.cancel()


async def _run(wanted: Wanted) -> None:
    began = time.monotonic()
    programs = await find_programs(wanted.components)
    click.echo(f"starting {described(programs)}")
    async with (
        open_control_plane(wanted.directory, programs, port=wanted.port) as cluster,
        cluster.client() as api,
        trio.open_nursery() as nursery,
    ):
        nodes = wanted.nodes
        if nodes.names:
            await nursery.start(run_nodes, api, nodes)
        click.echo(
            f"ready after {time.monotonic() - began:.1f} s: {cluster.url}, with all its files in {wanted.directory}"
        )
        for name in nodes.names[:1]:
            click.echo(f"device plug-ins of {name} register at {nodes.root_of(name)}/device-plugins/kubelet.sock")
        await _print_how_to_reach(cluster, programs)
        await trio.sleep_forever()


async def _print_how_to_reach(cluster: ControlPlane, programs: Mapping[str, Program]) -> None:
    click.echo(f"export KUBECONFIG={shlex.quote(str(cluster.kubeconfig()))}")
    try:
        kubectl = (await find_programs([KUBECTL], beside=programs))[KUBECTL]
    except ProgramUnavailable as error:
        click.echo(f"# no kubectl: {error}")
        return
    if kubectl.argv[0] != shutil.which(KUBECTL):
        link = cluster.directory / "bin" / KUBECTL
        link.parent.mkdir()
        link.symlink_to(kubectl.argv[0])  # by this name the program that is built here is kubectl
        click.echo(f'export PATH={shlex.quote(str(link.parent))}:"$PATH"  # for kubectl {kubectl.version}')


def described(programs: Mapping[str, Program]) -> str:
    """``etcd 3.7.0, kube-apiserver 1.37.2``, each with where it is unless it was built here."""
    built = str(CONTROL_PLANE.path)
    places = {name: "" if one.argv[0] == built else f" ({one.argv[0]})" for name, one in programs.items()}
    return ", ".join(f"{name} {one.version}{places[name]}" for name, one in programs.items())
