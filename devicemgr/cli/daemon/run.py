"""The daemon: configuration, signals, sinks; then the supervisor."""

from __future__ import annotations

import secrets
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import trio

from ...concurrency.exception_groups import collapse_exception_group
from ...core.topology.numa import parse_numa
from ...core.topology.policy import Topology, parse_topology
from ...daemon.faults.actions import mock_clock
from ...daemon.host_numa import read_numa
from ...daemon.serving.trace import open_log, open_trace
from ...daemon.settings import Settings
from ...daemon.supervisor import run
from ...errors import BadInput, UnusableTopology
from ...input.node_config import NodeConfig, TopologyConfig, parse_node_configs
from ...kubernetes_versions import why_kubelet_refuses
from ...model import ResourceName
from ..shared.input_file import read_input
from ..shared.process_limits import raise_descriptor_limit
from ..terminal.signals import termination_signals
from .systemd import notify, notify_when_ready

GATE_OFF = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says beside the settings: where they are read from, and where events go. With
    ``states_version`` the version of Kubernetes among them is not the default, and takes precedence."""

    config: tuple[Path, ...]
    numa: str | None
    states_version: bool
    trace: Path | None
    log_format: str
    log_level: str


def run_daemon(options: Options, *, node_resources: Mapping[ResourceName, int], **settings: Any) -> int:
    """Run until SIGTERM, SIGINT or SIGHUP; returns the exit status. The settings are those of the command line."""
    node = configure(options.config, options.numa, settings, states_version=options.states_version)
    if node is None:
        return GATE_OFF
    settings["node_resources"] = {**node.node_resources, **node_resources}
    if settings["page_address"] and settings["allow_faults"]:
        settings["page_token"] = secrets.token_urlsafe(32)
        click.echo(f"The page's token, to inject faults: {settings['page_token']}", err=True)
    raise_descriptor_limit()
    with ExitStack() as stack:
        log = stack.enter_context(open_log(sys.stderr, options.log_format, options.log_level))
        sinks = [log, notify_when_ready]
        if options.trace is not None:
            sinks.append(stack.enter_context(open_trace(options.trace)))
        started = Settings(sinks=sinks, **settings)
        with collapse_exception_group():
            trio.run(_run_until_signal, started, clock=mock_clock() if started.allow_faults else None)
    return 0


def configure(
    paths: tuple[Path, ...], numa: str | None, settings: dict[str, Any], *, states_version: bool
) -> NodeConfig | None:
    """Put into ``settings`` what the files say, and return that. None, once that has been said, if no device plug-in
    could register."""
    config = ", ".join(map(str, paths))
    node = parse_node_configs(_sources(paths)) if paths else NodeConfig()
    settings["topology"] = _topology(node.topology, numa)
    if node.kubernetes_version and not states_version:
        settings["kubernetes_version"] = node.kubernetes_version
    for warning in node.warnings:
        click.echo(f"warning: {warning}", err=True)
    for gate, is_on in node.other_gates.items():
        click.echo(f"{config}: {_about_gate(gate, is_on, settings['kubernetes_version'])}", err=True)
    if node.device_plugins:
        return node
    click.echo(
        f"The DevicePlugins feature gate is off in {config}, so no device plug-in can register.\n"
        f"To switch it on, put this into the file:\n\n{node.how_to_enable}\n",
        err=True,
    )
    return None


def _about_gate(gate: str, is_on: bool, version: str) -> str:
    if refusal := why_kubelet_refuses(gate, is_on, version):
        return f"the kubelet of Kubernetes v{version} does not start with this: {refusal}; ignored"
    return f"feature gate {gate} means nothing to devicemgr; ignored"


def _topology(config: TopologyConfig, numa: str | None) -> Topology:
    """The configured policy on this machine's NUMA nodes, or on stated ones. Raises BadInput, UnusableTopology."""
    nodes = read_numa() if numa is None else parse_numa(numa)
    try:
        return parse_topology(config.policy, config.scope, config.options, nodes)
    except UnusableTopology as error:
        place = config.place_of(error)
        raise error if place is None else place.bad(str(error)) from error


async def _run_until_signal(settings: Settings) -> None:
    stop = trio.Event()
    with trio.open_signal_receiver(*termination_signals()) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_set_on_signal, signals, stop)
            try:
                await run(settings, stop)
            finally:
                nursery.cancel_scope.cancel()


async def _set_on_signal(signals: AsyncIterator[int], stop: trio.Event) -> None:
    async for _ in signals:
        if not stop.is_set():
            notify("STOPPING=1")
        stop.set()


def _sources(paths: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Every file with its text. Of a directory, the files that end in .conf, sorted by name: the kubelet's drop-ins."""
    for path in paths:
        files = sorted(path.glob("*.conf")) if path.is_dir() else [path]
        if not files:
            raise BadInput("no file of this directory ends in .conf, as the kubelet's drop-ins do", file=str(path))
        for file in files:
            yield str(file), read_input(file)
