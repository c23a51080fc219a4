"""``cluster up``: a control plane and nodes, until a signal comes."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from ...cluster.control_plane.directory import own_directory, writing
from ...cluster.control_plane.processes import open_control_plane
from ...cluster.control_plane.programs import (
    COMPONENTS,
    CONTROLLERS,
    KUBECTL,
    SCHEDULER,
    Program,
    all_in_use,
    find_programs,
)
from ...concurrency.exception_groups import collapse_exception_group, first_of_many
from ...errors import DeviceManagerError, ProgramUnavailable
from ...testing.plugin.script import Script
from ..node.lines import Tell, open_output
from ..node.run import Nodes, open_files, run_nodes
from ..shared.process_limits import raise_descriptor_limit
from ..terminal.signals import until_signal
from ..terminal.standard_output import end_with_reader

OPEN_FILES_OF_CONTROL_PLANE = 300
"""Its programs may open as many as this one. etcd keeps 150 of them for itself, and needs as many again for the API
server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The cluster that is asked for, with ``count`` nodes."""

    count: int
    scripts: Sequence[Script]
    controllers: bool
    directory: Path
    port: int

    @property
    def components(self) -> list[str]:
        """The programs of the control plane."""
        return [*COMPONENTS, SCHEDULER, *([CONTROLLERS] if self.controllers else [])]

    def nodes(self, tell: Tell) -> Nodes:
        """Without a taint: there are no pods here that it would have to keep away."""
        names = [f"node-{number}" for number in range(self.count)]
        root = self.directory / names[0] if self.count == 1 else self.directory
        return Nodes(names=names, root=root, scripts=self.scripts, tainted=False, as_node=True, tell=tell)


def up(*, count: int, scripts: Sequence[Script], controllers: bool, directory: Path | None, port: int) -> None:
    """Run a cluster until a signal comes. Without ``directory`` its files are in a temporary one."""

    async def run() -> None:
        with own_directory(directory) as own:
            wanted = Wanted(count=count, scripts=scripts, controllers=controllers, directory=own, port=port)
            await _run(wanted, tell)

    needed = max(OPEN_FILES_OF_CONTROL_PLANE, open_files(count, len(scripts)))
    raise_descriptor_limit(needed, what=f"a cluster of --nodes {count}")
    with open_output() as tell, collapse_exception_group(), first_of_many(DeviceManagerError):
        trio.run(until_signal, run)


async def _run(wanted: Wanted, tell: Tell) -> None:
    began = time.monotonic()
    programs = await find_programs(wanted.components)
    kubectl = await _find_kubectl(programs)
    tell(f"starting {described(programs)}")
    async with (
        open_control_plane(wanted.directory, programs, port=wanted.port) as cluster,
        cluster.client() as api,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(end_with_reader)
        nodes = wanted.nodes(tell)
        if nodes.names:
            await nursery.start(run_nodes, api, nodes)
        tell(f"ready after {time.monotonic() - began:.1f} s: {cluster.url}, with all its files in {wanted.directory}")
        for name in nodes.names[:1]:
            tell(f"device plug-ins of {name} register at {nodes.root_of(name)}/device-plugins/kubelet.sock")
        tell(f"export KUBECONFIG={shlex.quote(str(cluster.kubeconfig()))}")
        with _reachable(kubectl, cluster.directory, tell):
            await trio.sleep_forever()


async def _find_kubectl(programs: Mapping[str, Program]) -> Program | ProgramUnavailable:
    """One that fits, or why there is none: a cluster does without."""
    try:
        return (await find_programs([KUBECTL], beside=programs))[KUBECTL]
    except ProgramUnavailable as error:
        return error


@contextmanager
def _reachable(kubectl: Program | ProgramUnavailable, directory: Path, tell: Tell) -> Iterator[None]:
    """Tell how to call it: by a link, if there is no other way, which is of use for as long as the block lasts."""
    if isinstance(kubectl, ProgramUnavailable):
        tell(f"# no kubectl: {kubectl}")
        yield
        return
    with all_in_use([kubectl]):
        if kubectl.argv[0] != shutil.which(KUBECTL):
            link = directory / "bin" / KUBECTL
            with writing(link):
                link.parent.mkdir()
                link.symlink_to(kubectl.argv[0])  # by this name the program that is built here is kubectl
            tell(f'export PATH={shlex.quote(str(link.parent))}:"$PATH"  # for kubectl {kubectl.version}')
        yield


def described(programs: Mapping[str, Program]) -> str:
    """``etcd 3.7.0, kube-apiserver 1.37.2``, each with where it is unless it was built here."""
    places = {name: "" if one.was_built_here else f" ({one.argv[0]})" for name, one in programs.items()}
    return ", ".join(f"{name} {one.version}{places[name]}" for name, one in programs.items())
