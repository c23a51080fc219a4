"""``plugin``: a simulated device plug-in, the same that tests use."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import click
import trio

from ..model import UNHEALTHY, Device, PluginOptions
from ..names import why_not_extended
from ..rpc.bridge import open_bridge
from ..testing.simulated_plugin import numbered_devices, open_simulated_plugin
from . import root_dir_option, root_of


@click.command("plugin")
@root_dir_option
@click.option("--resource", required=True, help="The extended resource, for example vendor.com/gpu.")
@click.option("--count", type=click.IntRange(0), default=1, show_default=True, help="How many devices, dev-0 …")
@click.option("--numa", default="", help="NUMA nodes to deal the devices out to, for example 0,1.")
@click.option("--unhealthy", multiple=True, metavar="ID", help="A device that is unhealthy. May be repeated.")
@click.option("--endpoint", default=None, help="File name of the plug-in's socket.")
@click.option("--pre-start", is_flag=True, help="Ask for PreStartContainer.")
@click.option("--preferred", is_flag=True, help="Offer GetPreferredAllocation.")
@click.option("--watched", is_flag=True, help="Wait in plugins_registry to be found, instead of calling Register.")
def command(
    root_dir: Path | None,
    resource: str,
    count: int,
    numa: str,
    unhealthy: tuple[str, ...],
    endpoint: str | None,
    pre_start: bool,
    preferred: bool,
    watched: bool,
) -> None:
    """Run a simulated plug-in until interrupted. It registers again when kubelet.sock is made anew."""
    if problem := why_not_extended(resource):
        raise click.BadParameter(f"{resource!r}: {problem}", param_hint="--resource")
    directory = root_of(root_dir) / ("plugins_registry" if watched else "device-plugins")
    if not directory.is_dir():
        raise click.BadParameter(f"{directory} does not exist; start a manager first", param_hint="--root-dir")
    devices = _devices(count, numa, unhealthy)
    options = PluginOptions(pre_start_required=pre_start, get_preferred_allocation_available=preferred)
    trio.run(_run, directory, resource, devices, options, endpoint, watched)


def _devices(count: int, numa: str, unhealthy: tuple[str, ...]) -> list[Device]:
    try:
        nodes = [int(node) for node in numa.split(",") if node]
    except ValueError:
        raise click.BadParameter(f"{numa!r}: write node numbers with commas between", param_hint="--numa") from None
    devices = numbered_devices(count, numa_nodes=nodes)
    missing = set(unhealthy) - {device.id for device in devices}
    if missing:
        raise click.BadParameter(f"no such device: {', '.join(sorted(missing))}", param_hint="--unhealthy")
    return [replace(d, health=UNHEALTHY) if d.id in unhealthy else d for d in devices]


async def _run(
    directory: Path,
    resource: str,
    devices: list[Device],
    options: PluginOptions,
    endpoint: str | None,
    watched: bool,
) -> None:
    def report() -> None:
        click.echo(f"registered {resource} with {len(devices)} devices on {directory}/kubelet.sock")

    async with open_bridge():
        # One life of the socket per life of kubelet.sock: a manager that starts wipes the directory (REG-17).
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with (
                open_simulated_plugin(
                    directory, resource, devices=devices, options=options, endpoint=endpoint
                ) as plugin,
                trio.open_nursery() as nursery,
            ):
                if watched:
                    click.echo(f"waiting to be found: {directory}/{plugin.endpoint}")
                else:
                    nursery.start_soon(plugin.keep_registered, report)
                async for _ in signals:
                    nursery.cancel_scope.cancel()
                    break
