"""``demo``: everything once, embedded, in a temporary directory; a story in seven steps."""

from __future__ import annotations

import tempfile
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import click
import trio
from rich.rule import Rule

from ..daemon.manager import DeviceManager
from ..daemon.supervisor import open_device_manager
from ..errors import collapse_exception_group
from ..events import ManagerReady
from ..model import HEALTHY, UNHEALTHY, Container, ContainerKind, Pod
from ..testing.plugin.simulated import SimulatedPlugin, numbered_devices, open_simulated_plugin
from .daemon_options import parse_address
from .output import admission_data, console, draw_admission, draw_status, status_data

GPU, NIC = "vendor.com/gpu", "vendor.com/nic"


@click.command("demo")
@click.option(
    "--page",
    "address",
    callback=lambda ctx, param, given: parse_address(given),
    metavar="[HOST]:PORT",
    help="Show it on a page, too, for example on :8080; in a terminal, each step then waits for a key.",
)
def command(address: tuple[str, int] | None) -> None:
    """Start a manager and two simulated plug-ins, admit a pod, break things, and clean up. No privileges needed."""
    with tempfile.TemporaryDirectory(prefix="devicemgr-") as directory, collapse_exception_group():
        trio.run(_story, Path(directory), address)
    _say("That is all", "The manager has stopped, its sockets are gone, and so is the temporary directory.")


async def _story(directory: Path, address: tuple[str, int] | None) -> None:
    async def and_then() -> None:
        """In a terminal, the reader of the page says when the story goes on."""
        if address is not None:
            await trio.to_thread.run_sync(click.pause, abandon_on_cancel=True)

    async with open_device_manager(directory, page_address=address) as manager:
        _say("1. The manager is ready", f"It serves {_served(manager)}.")
        await and_then()
        async with open_simulated_plugin(manager.layout.plugins, NIC, devices=2) as nic:
            await nic.register()
            async with _gpu(manager) as gpu:
                await gpu.register()
                await _two_plugins(manager)
                await and_then()
                pod = await _admit(manager)
                await and_then()
                await _too_many(manager)
                await and_then()
                await _health_lost(manager, gpu)
                await and_then()
                await _health_back(manager, gpu)
            await _plugin_dies(manager)
            await and_then()
            async with _gpu(manager) as gpu:
                await gpu.register()
                await _plugin_returns(manager, pod)
                await and_then()


def _served(manager: DeviceManager) -> str:
    """The socket for plug-ins, and the page if there is one."""
    (ready,) = (one.event for one in manager.events() if isinstance(one.event, ManagerReady))
    pages = [f"the page {socket}" for socket in ready.sockets if socket.startswith("http")]
    return " and ".join([str(manager.layout.registration_socket), *pages])


def _gpu(manager: DeviceManager) -> AbstractAsyncContextManager[SimulatedPlugin]:
    return open_simulated_plugin(
        manager.layout.plugins, GPU, devices=numbered_devices(4, prefix="gpu", numa_nodes=(0, 1))
    )


async def _two_plugins(manager: DeviceManager) -> None:
    await manager.wait_for_resource(GPU, allocatable=4)
    await manager.wait_for_resource(NIC, allocatable=2)
    _say(
        "2. Two plug-ins register",
        "Each calls Register on kubelet.sock; the manager calls back and reads its devices from ListAndWatch.\n"
        "The devices are now Extended Resources of the node:",
    )
    _status(manager)


async def _admit(manager: DeviceManager) -> Pod:
    # The init container's device is handed on to the main container: the pod holds two GPUs in all, not three.
    self_test = Container(name="self-test", limits={GPU: 1}, kind=ContainerKind.INIT)
    trainer = Container(name="trainer", limits={GPU: 2, NIC: 1})
    pod = Pod(name="training", uid="training", containers=(self_test, trainer))
    admission = await manager.admit(pod)
    _say("3. A pod is admitted", "The manager picks devices and calls Allocate; this is what the runtime would add:")
    draw_admission(pod, admission_data(pod, admission))
    return pod


async def _too_many(manager: DeviceManager) -> None:
    greedy = Container(name="main", limits={GPU: 3, NIC: 1})
    pod = Pod(name="greedy", uid="greedy", containers=(greedy,))
    admission = await manager.admit(pod)
    _say("4. Another pod asks for too much", "It is refused as a whole: the network card it could have had stays free.")
    draw_admission(pod, admission_data(pod, admission))


async def _health_lost(manager: DeviceManager, gpu: SimulatedPlugin) -> None:
    gpu.set_health("gpu-3", UNHEALTHY)
    await manager.wait_for_resource(GPU, capacity=4, allocatable=3)
    _say("5. A device turns unhealthy", "The plug-in sends a new list: the capacity stays, one less is allocatable.")
    _status(manager)


async def _health_back(manager: DeviceManager, gpu: SimulatedPlugin) -> None:
    gpu.set_health("gpu-3", HEALTHY)
    await manager.wait_for_resource(GPU, allocatable=4)


async def _plugin_dies(manager: DeviceManager) -> None:
    await manager.wait_for_resource(GPU, capacity=4, allocatable=0)
    _say(
        "6. A plug-in dies",
        "Its devices count as unhealthy at once. The pod keeps what it holds, and the capacity stays for 300 s:",
    )
    _status(manager)


async def _plugin_returns(manager: DeviceManager, pod: Pod) -> None:
    await manager.wait_for_resource(GPU, allocatable=4)
    _say("7. It comes back and registers again", "All is as before. Then the pod ends, and its devices are free:")
    await manager.remove(pod.namespace, pod.name)
    _status(manager)


def _status(manager: DeviceManager) -> None:
    draw_status(status_data(manager.capacity(), manager.pods()))


def _say(title: str, text: str) -> None:
    console().print(Rule(f"[bold]{title}[/bold]", align="left"))
    console().print(text)
