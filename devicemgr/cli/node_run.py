"""Nodes of a cluster, until a signal comes: each with a manager, plug-ins, and a directory of its own."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import trio

from ..cluster.api.client import ApiClient, open_api_client
from ..cluster.api.connection import Connection
from ..cluster.api.impersonation import acting_as_node
from ..cluster.node.agent import open_node
from ..cluster.node.host import own_address
from ..cluster.node.options import NodeOptions
from ..core.topology.policy import Topology
from ..daemon.supervisor import open_device_manager
from ..errors import DeviceManagerError, collapse_exception_group
from ..kubernetes_versions import LATEST
from ..testing.plugin.script import Script
from ..testing.plugin.script_player import ScriptedCrash, open_scripted_plugin
from .node_lines import sink
from .run import GATE_OFF, configure, raise_descriptor_limit
from .signals import termination_signals


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

    def root_of(self, name: str) -> Path:
        return self.root if len(self.names) == 1 else self.root / name

    def options_of(self, name: str) -> NodeOptions:
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
    root: Path | None,
    address: str | None,
    config: tuple[Path, ...],
    numa: str | None,
    kubernetes_version: str,
    **options: Any,
) -> int:
    """Returns the exit status. Without ``root`` a temporary directory is the root."""
    settings: dict[str, Any] = {"kubernetes_version": kubernetes_version}
    if configure(config, numa, settings, states_version=kubernetes_version != LATEST) is None:
        return GATE_OFF
    raise_descriptor_limit()
    make_nodes = partial(
        Nodes, names=names, address=address or _address_towards(connection.server), **settings, **options
    )
    with collapse_exception_group(), _one_error_for_all():
        trio.run(_until_signal, connection, root, make_nodes)
    return 0


@contextmanager
def _one_error_for_all() -> Iterator[None]:
    """Many nodes often fail for one reason, in the same moment: it is told once."""
    try:
        yield
    except BaseExceptionGroup as group:
        errors, others = group.split(DeviceManagerError)
        if errors is None or others is not None:
            raise
        error: BaseException = errors
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None


@contextmanager
def _directory(root: Path | None) -> Iterator[Path]:
    if root is not None:
        yield root
        return
    # A short one: the path of a socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="dm-") as directory:
        yield Path(directory)


def _address_towards(server: str) -> str:
    url = urlsplit(server)
    return own_address(url.hostname or "", url.port or 443)


async def _until_signal(connection: Connection, root: Path | None, make_nodes: Callable[..., Nodes]) -> None:
    # Signals often come in pairs, as when a terminal is closed: the second one waits until the directory is gone.
    with trio.open_signal_receiver(*termination_signals()) as signals, _directory(root) as directory:
        async with open_api_client(connection) as api, trio.open_nursery() as nursery:
            nursery.start_soon(_run_and_tell, api, make_nodes(root=directory))
            await anext(signals)
            nursery.cancel_scope.cancel()


async def _run_and_tell(api: ApiClient, nodes: Nodes) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(run_nodes, api, nodes)
        _spare_the_garbage_collector()
        first, last = nodes.names[0], nodes.names[-1]
        who = f"{first} has" if len(nodes.names) == 1 else f"{len(nodes.names)} nodes, {first} … {last}, have"
        click.echo(f"{who} joined {api.connection.server}; plug-ins register below {nodes.root}")


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
    show = sink(name, is_first=name == nodes.names[0], verbose=nodes.verbose)
    async with (
        open_device_manager(
            nodes.root_of(name), topology=nodes.topology, kubernetes_version=nodes.kubernetes_version, sinks=[show]
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
