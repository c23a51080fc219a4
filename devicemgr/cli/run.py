"""The daemon: configuration, signals, sinks; then the supervisor."""

from __future__ import annotations

import grp
import re
import resource
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import trio

from ..core.topology.policy import Topology, parse_topology
from ..daemon.access.callers import Callers
from ..daemon.faults.actions import mock_clock
from ..daemon.host_numa import parse_numa, read_numa
from ..daemon.serving.trace import open_trace, stream_sink
from ..daemon.settings import Settings
from ..daemon.supervisor import run
from ..errors import BadInput, UnusableTopology, collapse_exception_group
from ..model import ResourceName
from ..node_config import NodeConfig, TopologyConfig, parse_node_configs
from ..node_resources import node_resource
from ..peer_limits import PeerLimits
from ..rpc.deviceplugin.methods import Deadlines
from ..yaml_fields import nearest
from .input_file import read_input
from .signals import termination_signals
from .systemd import notify, notify_when_ready

GATE_OFF = 4
_LARGEST_ID = 2**32 - 2
"""Of a group; the number after it means: no group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The daemon's command line, as given."""

    root_dir: Path
    config: tuple[Path, ...]
    trace: Path | None
    log_format: str
    log_level: str
    deadlines: tuple[str, ...]
    numa: str | None
    restart_wait: float
    peer_limits: tuple[str, ...]
    allow_group: str | None
    metrics_address: str | None
    node_resources: tuple[str, ...]
    allow_faults: bool


def run_daemon(options: Options) -> int:
    """Run until SIGTERM, SIGINT or SIGHUP; returns the exit status."""
    config = ", ".join(map(str, options.config))
    node = parse_node_configs(_sources(options.config)) if options.config else NodeConfig()
    settings = Settings(
        root_dir=options.root_dir,
        deadlines=parse_deadlines(options.deadlines),
        topology=_topology(node.topology, options.numa),
        restart_wait=options.restart_wait,
        peer_limits=parse_peer_limits(options.peer_limits),
        callers=Callers.default(group_id(options.allow_group) if options.allow_group else None),
        metrics_address=parse_address(options.metrics_address) if options.metrics_address else None,
        node_resources={**node.node_resources, **parse_node_resources(options.node_resources)},
        allow_faults=options.allow_faults,
    )
    for warning in node.warnings:
        click.echo(f"warning: {warning}", err=True)
    for gate in node.unknown_gates:
        click.echo(f"{config}: feature gate {gate} means nothing to devicemgr; ignored", err=True)
    if not node.device_plugins:
        click.echo(
            f"The DevicePlugins feature gate is off in {config}, so no device plug-in can register.\n"
            f"To switch it on, put this into the file:\n\n{node.how_to_enable}\n",
            err=True,
        )
        return GATE_OFF
    raise_descriptor_limit()
    with ExitStack() as stack:
        sinks = [stream_sink(sys.stderr, options.log_format, options.log_level), notify_when_ready]
        if options.trace is not None:
            sinks.append(stack.enter_context(open_trace(options.trace)))
        with collapse_exception_group():
            trio.run(
                _run_until_signal, replace(settings, sinks=sinks), clock=mock_clock() if options.allow_faults else None
            )
    return 0


def _topology(config: TopologyConfig, numa: str | None) -> Topology:
    """The configured policy on this machine's NUMA nodes, or on stated ones. Raises BadInput, UnusableTopology."""
    nodes = read_numa() if numa is None else parse_numa(numa)
    try:
        return parse_topology(config.policy, config.scope, config.options, nodes)
    except UnusableTopology as error:
        raise error if config.place is None else config.place.bad(str(error)) from error


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
    """Every file with its text. A directory has the kubelet's drop-ins: what ends in .conf, by name."""
    for path in paths:
        files = sorted(path.glob("*.conf")) if path.is_dir() else [path]
        if not files:
            raise BadInput("no file of this directory ends in .conf, as the kubelet's drop-ins do", file=str(path))
        for file in files:
            yield str(file), read_input(file)


def parse_deadlines(texts: tuple[str, ...], into: type[Deadlines] = Deadlines) -> Deadlines:
    """``allocate=5`` → Deadlines(allocate=5.0). Raises click.BadParameter."""
    return into(**_numbers(texts, into, "--deadline", "CALL=SECONDS"))


def parse_node_resources(texts: tuple[str, ...]) -> dict[ResourceName, int]:
    """``nvidia.com/gpumem=16Gi`` → {"nvidia.com/gpumem": 17179869184}; the last of a name counts.

    Raises click.BadParameter.
    """
    found: dict[ResourceName, int] = {}
    for text in texts:
        name, equals, count = text.partition("=")
        try:
            if not equals:
                raise ValueError(f"{text!r}: write NAME=COUNT")
            found[name] = node_resource(name, count)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--node-resource") from None
    return found


def group_id(name: str) -> int:
    """The id of a group that is given by name or number. Raises click.BadParameter."""
    try:
        if not (name.isascii() and name.isdecimal()):
            return grp.getgrnam(name).gr_gid
        if len(name) <= 10 and int(name) <= _LARGEST_ID:
            return int(name)
        raise click.BadParameter(f"{name[:20]}: a group's number is at most {_LARGEST_ID}", param_hint="--allow-group")
    except KeyError:
        raise click.BadParameter(f"there is no group {name!r}", param_hint="--allow-group") from None


def raise_descriptor_limit() -> None:
    """As many descriptors as we may have. The usual soft limit of 1024 is for programs that use select()."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def parse_peer_limits(texts: tuple[str, ...]) -> PeerLimits:
    """``report-rate=5`` → PeerLimits(report_rate=5.0). Raises click.BadParameter."""
    numbers = _numbers(texts, PeerLimits, "--peer-limit", "NAME=NUMBER")
    try:
        return PeerLimits(**numbers)
    except ValueError as error:
        written = re.sub("[a-z]+(_[a-z]+)+", lambda name: name[0].replace("_", "-"), str(error))
        raise click.BadParameter(written, param_hint="--peer-limit") from None


def _numbers(texts: tuple[str, ...], into: type[PeerLimits | Deadlines], option: str, form: str) -> dict[str, Any]:
    """``name=number`` for the fields of a dataclass; whole numbers where a field's default is one.

    A name may also be written as events have it, ``report_rate``.
    """
    defaults = asdict(into())
    names = {name.replace("_", "-"): name for name in defaults}
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, number = text.partition("=")
        name = name.replace("_", "-")
        if not equals or name not in names:
            what, hint = form.partition("=")[0], "" if name in names else nearest(name, names)
            raise click.BadParameter(
                f"{text!r:.100}: write {form}, with {what} one of {', '.join(names)}{hint}", param_hint=option
            )
        kind = type(defaults[names[name]])
        try:
            value = kind(number)
        except ValueError:
            value = -1
        if not 0 < value < float("inf"):
            wanted = "whole number" if kind is int else "number"
            raise click.BadParameter(f"{text!r:.100}: must be a {wanted} of more than 0", param_hint=option)
        values[names[name]] = value
    return values


def parse_address(text: str) -> tuple[str, int]:
    """``127.0.0.1:9400`` or ``[::1]:9400``; the host of ``:9400`` is empty. Raises click.BadParameter."""
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdecimal() and len(port) <= 5) or int(port) > 65535:
        raise click.BadParameter(f"{text!r}: write HOST:PORT or :PORT", param_hint="--metrics-address")
    return host.removeprefix("[").removesuffix("]"), int(port)
