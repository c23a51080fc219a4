"""Nodes of a cluster, until a signal comes: each with a manager, plug-ins, and a directory of its own."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import trio

from ...cluster.api.client import ApiClient, open_api_client
from ...cluster.api.connection import Connection
from ...cluster.api.impersonation import acting_as_node
from ...cluster.node.agent import open_node
from ...cluster.node.host import own_address
from ...cluster.node.options import NodeOptions
from ...concurrency.exception_groups import collapse_exception_group, first_of_many
from ...core.topology.policy import Topology
from ...daemon.event_log import Sink
from ...daemon.serving.trace import open_trace
from ...daemon.supervisor import open_device_manager
from ...errors import DeviceManagerError
from ...kubernetes_versions import LATEST
from ...temporary_directory import temporary_directory
from ...testing.plugin.script import Script
from ...testing.plugin.script_player import ScriptedCrash, open_scripted_plugin
from ..daemon.run import GATE_OFF, configure
from ..shared.process_limits import raise_descriptor_limit
from ..terminal.signals import until_signal
from ..terminal.standard_output import end_with_reader
from .lines import Tell, open_output, sink

OPEN_FILES = 40
OPEN_FILES_OF_NODE = 16
OPEN_FILES_OF_PLUGIN = 6
"""Those of the program itself, of each node with its watches, and of each simulated plug-in with its connections, with
a few to spare for what comes and goes."""


def open_files(nodes: int, plugins: int) -> int:
    """How many so many nodes need, with so many simulated plug-ins each."""
    return OPEN_FILES + nodes * (OPEN_FILES_OF_NODE + plugins * OPEN_FILES_OF_PLUGIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodes:
    """What nodes have in common. ``root`` is the directory of the only one, or that in which each has its own."""

    names: Sequence[str]
    root: Path
    scripts: Sequence[Script] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    capacity: Mapping[str, str] = field(default_factory=dict)
    tainted: bool = True
    address: str = "127.0.0.1"
    delete_on_exit: bool = False
    as_node: bool = False
    """Each is ``system:node:NAME`` to the API server, and not the user of the connection."""
    topology: Topology = Topology()
    kubernetes_version: str = LATEST
    verbose: bool = False
    tell: Tell
    """What is shown of each."""
    sinks: Sequence[Sink] = ()
    """They get every event of every manager."""

    def root_of(self, name: str) -> Path:
        """The directory of the manager of this node."""
        return self.root if len(self.names) == 1 else self.root / name

    def options_of(self, name: str) -> NodeOptions:
        """What this node is told."""
        return NodeOptions(
            name=name,
            labels=self.labels,
            tainted=self.tainted,
            capacity=self.capacity,
            address=self.address,
            delete_on_exit=self.delete_on_exit,
        )


def run_until_signal(
    connection: Connection,
    *,
    names: Sequence[str],
    scripts: Sequence[Script],
    root: Path | None,
    address: str | None,
    config: tuple[Path, ...],
    numa: str | None,
    kubernetes_version: str,
    trace: Path | None,
    **options: Any,
) -> int:
    """Returns the exit status. Without ``root`` a temporary directory is the root."""
    settings: dict[str, Any] = {"kubernetes_version": kubernetes_version}
    if configure(config, numa, settings, states_version=kubernetes_version != LATEST) is None:
        return GATE_OFF
    raise_descriptor_limit(open_files(len(names), len(scripts)), what=f"--nodes {len(names)}")
    node_address = address or _address_towards(connection.server)

    async def run() -> None:
        with _directory(root) as directory:
            nodes = Nodes(
                names=names,
                scripts=scripts,
                root=directory,
                address=node_address,
                tell=tell,
                sinks=sinks,
                **settings,
                **options,
            )
            await _run_and_tell(connection, nodes)

    with _tracing(trace) as sinks, open_output() as tell, collapse_exception_group(), first_of_many(DeviceManagerError):
        trio.run(until_signal, run)
    return 0


@contextmanager
def _tracing(path: Path | None) -> Iterator[Sequence[Sink]]:
    if path is None:
        yield ()
        return
    with open_trace(path) as sink:
        yield (sink,)


@contextmanager
def _directory(root: Path | None) -> Iterator[Path]:
    if root is not None:
        yield root
        return
    # A short one: the path of a socket has at most 107 bytes.
    with temporary_directory("dm-") as directory:
        yield directory


def _address_towards(server: str) -> str:
    url = urlsplit(server)
    return own_address(url.hostname or "", url.port or 443)


async def _run_and_tell(connection: Connection, nodes: Nodes) -> None:
    async with open_api_client(connection) as api, trio.open_nursery() as nursery:
        nursery.start_soon(end_with_reader)
        await nursery.start(run_nodes, api, nodes)
        _spare_the_garbage_collector()
        first, last = nodes.names[0], nodes.names[-1]
        who = f"{first} has" if len(nodes.names) == 1 else f"{len(nodes.names)} nodes, {first} … {last}, have"
        nodes.tell(f"{who} joined {api.connection.server}; plug-ins register below {nodes.root}")


def _spare_the_garbage_collector() -> None:
    """What is there by now stays to the end. To look through it for garbage again and again took an eighth of the
    processor time while pods came, and stopped 200 nodes for half a second each time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


async def run_nodes(
    api: ApiClient, nodes: Nodes, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run all of them until cancelled. Started when all have joined the cluster."""
    async with trio.open_nursery() as running:
        async with trio.open_nursery() as starting:
            for name in nodes.names:
                starting.start_soon(running.start, _run_node, api, nodes, name)
        task_status.started()


async def _run_node(api: ApiClient, nodes: Nodes, name: str, *, task_status: trio.TaskStatus[None]) -> None:
    show = sink(name, nodes.tell, is_first=name == nodes.names[0], verbose=nodes.verbose)
    async with (
        open_device_manager(
            nodes.root_of(name),
            topology=nodes.topology,
            kubernetes_version=nodes.kubernetes_version,
            sinks=[show, *nodes.sinks],
        ) as manager,
        trio.open_nursery() as plugins,
    ):
        for script in nodes.scripts:
            await plugins.start(_run_plugin, manager.layout.plugins, script)
        async with _client_of(name, api, nodes.as_node) as own, open_node(own, manager, nodes.options_of(name)):
            task_status.started()
            await trio.sleep_forever()


@asynccontextmanager
async def _client_of(name: str, api: ApiClient, as_node: bool) -> AsyncIterator[ApiClient]:
    """Nodes that are the user of the connection have one client in common."""
    if not as_node:
        yield api
        return
    async with open_api_client(acting_as_node(api.connection, name)) as own:
        yield own


async def _run_plugin(directory: Path, script: Script, *, task_status: trio.TaskStatus[None]) -> None:
    """A plug-in whose script lets it crash is not there any more; its node goes on."""
    async with open_scripted_plugin(directory, script) as scripted:
        with trio.CancelScope() as alive:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(scripted.plugin.keep_registered)
                task_status.started()
                try:
                    await scripted.play()
                except ScriptedCrash:
                    alive.cancel()
