"""``plugin``: simulated device plug-ins, the same as in tests, from a few options or from a script."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import click
import trio

from ..concurrency.exception_groups import collapse_exception_group
from ..core.topology.numa import parse_nodes
from ..errors import DirectoryUnusable
from ..events.summary import counted
from ..model import UNHEALTHY, Device, PluginOptions
from ..printable import printable
from ..resource_names import why_not_extended
from ..rpc.transport.unix_socket import require_short
from ..testing.plugin.own_socket import own_endpoint
from ..testing.plugin.script import TRIGGERS, Script, parse_scripts
from ..testing.plugin.script_player import ScriptedCrash, ScriptedPlugin, open_scripted_plugin
from ..testing.plugin.simulated import (
    MAX_DEVICES,
    REGISTRY_CHECK_PERIOD,
    SimulatedPlugin,
    numbered_devices,
    valid_endpoint,
)
from .shared.input_file import read_input
from .shared.parameters import Number, root_dir_option, root_of
from .terminal.signals import termination_signals

_SIGNALS = {getattr(signal, f"SIG{name}"): name for name in TRIGGERS}


@click.command("plugin")
@root_dir_option
@click.option("--script", type=click.Path(path_type=Path, dir_okay=False), help="Plug-ins from this YAML file.")
@click.option("--resource", metavar="NAME", help="Without a script: the extended resource, as in vendor.com/gpu.")
@click.option("--count", type=Number(0, MAX_DEVICES), default=1, show_default=True, help="How many devices, dev-0 …")
@click.option("--numa", default="", metavar="NODES", help="NUMA nodes to distribute the devices over, as 0,1 or 0-1.")
@click.option("--unhealthy", multiple=True, metavar="ID", help="A device that is unhealthy. Repeatable.")
@click.option(
    "--endpoint", metavar="NAME", help="File name of the plug-in's socket.  [default: another one at each start]"
)
@click.option("--pre-start", is_flag=True, help="Ask for PreStartContainer.")
@click.option("--preferred", is_flag=True, help="Offer GetPreferredAllocation.")
@click.option("--watched", is_flag=True, help="Wait in plugins_registry to be found, instead of calling Register.")
@click.pass_context
def command(
    ctx: click.Context,
    root_dir: Path | None,
    script: Path | None,
    resource: str | None,
    count: int,
    numa: str,
    unhealthy: tuple[str, ...],
    endpoint: str | None,
    pre_start: bool,
    preferred: bool,
    watched: bool,
) -> None:
    """Run a simulated plug-in until interrupted. It registers again when kubelet.sock is created again.

    A script has everything the options have, and answers, errors, delays and a schedule: examples/plugin-script.yaml.
    """
    if script is not None:
        _refuse_other_options(ctx)
        scripts = _read(script)
    elif resource is None:
        raise click.UsageError("give --resource or --script")
    elif problem := why_not_extended(resource):
        raise click.BadParameter(f"{resource!r}: {problem}", param_hint="--resource")
    else:
        options = PluginOptions(pre_start_required=pre_start, get_preferred_allocation_available=preferred)
        devices = _devices(count, numa, unhealthy)
        try:
            endpoint = None if endpoint is None else valid_endpoint(endpoint)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--endpoint") from error
        scripts = [Script(resource=resource, endpoint=endpoint, devices=devices, options=options)]
    directory = root_of(root_dir) / ("plugins_registry" if watched else "device-plugins")
    try:
        with collapse_exception_group():
            trio.run(_run_all, directory, scripts, watched)
    except PermissionError as error:
        raise DirectoryUnusable(
            f"user {os.geteuid()} may not use {error.filename or directory}. Run this as the manager's user"
        ) from error
    except FileExistsError as error:
        raise DirectoryUnusable(f"{error.filename} {error.strerror}: give another endpoint, or remove it") from error


def _refuse_other_options(ctx: click.Context) -> None:
    for name in ctx.params.keys() - {"root_dir", "script", "watched"}:
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} is for plug-ins without a script; write it there")


def _read(path: Path) -> list[Script]:
    return parse_scripts(read_input(path), file=str(path))


def _devices(count: int, numa: str, unhealthy: tuple[str, ...]) -> tuple[Device, ...]:
    try:
        nodes = parse_nodes(numa) if numa else []
    except ValueError:
        raise click.BadParameter(f"{numa!r}: write node numbers as 0,1 or 0-1", param_hint="--numa") from None
    devices = numbered_devices(count, numa_nodes=nodes)
    missing = set(unhealthy) - {device.id for device in devices}
    if missing:
        raise click.BadParameter(f"no such device: {', '.join(sorted(missing))}", param_hint="--unhealthy")
    return tuple(replace(d, health=UNHEALTHY) if d.id in unhealthy else d for d in devices)


async def _run_all(directory: Path, scripts: list[Script], watched: bool) -> None:
    """Run all plug-ins of a file until a signal ends them; other signals are passed on to the schedules."""
    playing: list[ScriptedPlugin] = []
    scheduled = {step.on for script in scripts for step in script.schedule}
    ending = {number for number in termination_signals() if _SIGNALS.get(number) not in scheduled}
    with trio.open_signal_receiver(*ending, *_SIGNALS) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_run_each, directory, scripts, watched, playing)
            async for number in signals:
                if number in ending:
                    nursery.cancel_scope.cancel()
                    break
                for one in playing:
                    with _killed_on_crash():
                        await one.trigger(_SIGNALS[signal.Signals(number)])


async def _run_each(directory: Path, scripts: list[Script], watched: bool, playing: list[ScriptedPlugin]) -> None:
    """They are started one after the other, so that an obstacle to several is reported once."""
    for script in scripts:
        require_short(directory / (script.endpoint or own_endpoint(script.resource)))
    await _until_directory_exists(directory)
    async with trio.open_nursery() as nursery:
        for script in scripts:
            playing.append(await nursery.start(_run, directory, script, watched))


async def _run(directory: Path, script: Script, watched: bool, task_status: trio.TaskStatus[ScriptedPlugin]) -> None:
    def report() -> None:
        devices = counted(len(script.devices), "device")
        click.echo(f"registered {script.resource} with {devices} on {directory}/kubelet.sock")

    async with open_scripted_plugin(directory, script) as scripted, trio.open_nursery() as nursery:
        task_status.started(scripted)
        if watched:
            nursery.start_soon(_keep_discoverable, scripted.plugin)
        else:
            # One socket per incarnation of kubelet.sock: a manager that starts wipes the directory (REG-17).
            nursery.start_soon(scripted.plugin.keep_registered, report, _print_waiting)
        with _killed_on_crash():
            await scripted.play()


async def _until_directory_exists(directory: Path) -> None:
    """Wait for the directory, which a manager creates when it starts."""
    require_short(directory / "kubelet.sock")
    if directory.is_dir():
        return
    _print_waiting(f"there is no {directory}")
    while True:
        await trio.sleep(REGISTRY_CHECK_PERIOD)
        if directory.is_dir():
            return


async def _keep_discoverable(plugin: SimulatedPlugin) -> None:
    """Create the socket again when it is lost, perhaps with the whole directory."""
    path = plugin.directory / plugin.endpoint
    click.echo(f"waiting to be found: {path}")
    while True:
        await trio.sleep(REGISTRY_CHECK_PERIOD)
        with suppress(OSError):  # the directory may be gone
            if plugin.restore_socket():
                click.echo(f"waiting to be found: {path}, made again")


def _print_waiting(reason: str) -> None:
    click.echo(f"waiting for a manager: {printable(reason)}")


@contextmanager
def _killed_on_crash() -> Iterator[None]:
    """Kill the process here: the exception would remove the sockets on its way out, and a crash leaves them behind."""
    try:
        yield
    except ScriptedCrash:
        os.kill(os.getpid(), signal.SIGKILL)
