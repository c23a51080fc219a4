"""``cluster up``: a control plane and nodes, until a signal comes."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

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
from .signals import termination_signals


def up(*, controllers: bool, directory: Path | None, port: int) -> None:
    with own_directory(directory) as own, collapse_exception_group():
        trio.run(_until_signal, own, controllers, port)


async def _until_signal(directory: Path, controllers: bool, port: int) -> None:
    with trio.open_signal_receiver(*termination_signals()) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_run, directory, controllers, port)
            await anext(signals)
            nursery.cancel_scope.cancel()


async def _run(directory: Path, controllers: bool, port: int) -> None:
    began = time.monotonic()
    programs = await find_programs([*COMPONENTS, SCHEDULER, *([CONTROLLERS] if controllers else [])])
    click.echo(f"starting {described(programs)}")
    async with open_control_plane(directory, programs, port=port) as cluster:
        click.echo(f"ready after {time.monotonic() - began:.1f} s: {cluster.url}, with all its files in {directory}")
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
