"""``demo``: everything once, embedded, in a temporary directory; a story in seven steps."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import click
import trio

from ..daemon.manager import DeviceManager
from ..daemon.supervisor import open_device_manager
from ..errors import collapse_exception_group
from ..events import ManagerReady
from ..model import HEALTHY, UNHEALTHY, Container, ContainerKind, DeviceId, PluginOptions, Pod, RunOptions
from ..testing.plugin.simulated import SimulatedPlugin, numbered_devices, open_simulated_plugin
from .daemon_options import parse_address
from .demo_story import Story
from .output import admission_data, draw_admission, draw_status, status_data

GPU, NIC = "vendor.com/gpu", "vendor.com/nic"


@click.command("demo")
@click.option(
    "--step",
    is_flag=True,
    help="Show with each step who called whom, what has changed in the tree of tasks, and the rule that explains it.",
)
@click.option(
    "--page",
    "address",
    callback=lambda ctx, param, given: parse_address(given),
    metavar="[HOST]:PORT",
    help="Show it on a page, too, for example on :8080.",
)
def command(step: bool, address: tuple[str, int] | None) -> None:
    """Start a manager and two simulated plug-ins, admit a pod, break things, and clean up. No privileges needed.

    With --step or --page it goes at your pace: in a terminal the next step comes with Enter, or any key; q ends.
    """
    story = Story(with_details=step, waits=step or address is not None)
    with tempfile.TemporaryDirectory(prefix="devicemgr-") as directory, collapse_exception_group():
        trio.run(_run, story, Path(directory), address)
    story.end()


async def _run(story: Story, directory: Path, address: tuple[str, int] | None) -> None:
    opened = open_device_manager(directory, page_address=address, sinks=[story.record])
    async with opened as manager, story.telling():
        async with story.step(manager, "1. The manager is ready", f"It serves {_served(manager)}.", rule="REG-2"):
            pass
        async with open_simulated_plugin(manager.layout.plugins, NIC, devices=2) as nic:
            await nic.register()
            async with _gpu(manager) as gpu:
                await gpu.register()
                await _two_plugins(story, manager)
                pod = await _admit(story, manager, gpu)
                await _too_many(story, manager)
                await _health(story, manager, gpu)
            await _plugin_dies(story, manager)
            async with _gpu(manager) as gpu:
                await gpu.register()
                await _plugin_returns(story, manager, pod)


def _served(manager: DeviceManager) -> str:
    """The socket for plug-ins, and the page if there is one."""
    (ready,) = (one.event for one in manager.events() if isinstance(one.event, ManagerReady))
    pages = [f"the page {socket}" for socket in ready.sockets if socket.startswith("http")]
    return " and ".join([str(manager.layout.registration_socket), *pages])


def _gpu(manager: DeviceManager) -> AbstractAsyncContextManager[SimulatedPlugin]:
    """One that wants every call there is, so that all are seen."""
    return open_simulated_plugin(
        manager.layout.plugins,
        GPU,
        devices=numbered_devices(4, prefix="gpu", numa_nodes=(0, 1)),
        options=PluginOptions(pre_start_required=True, get_preferred_allocation_available=True),
    )


async def _two_plugins(story: Story, manager: DeviceManager) -> None:
    await manager.wait_for_resource(GPU, allocatable=4)
    await manager.wait_for_resource(NIC, allocatable=2)
    text = (
        "Each calls Register on kubelet.sock; the manager calls back and reads its devices from ListAndWatch.\n"
        "The devices are now Extended Resources of the node:"
    )
    async with story.step(manager, "2. Two plug-ins register", text, rule="REG-3"):
        _status(manager)


async def _admit(story: Story, manager: DeviceManager, gpu: SimulatedPlugin) -> Pod:
    # The init container's device is handed on to the main container: the pod holds two GPUs in all, not three.
    self_test = Container(name="self-test", limits={GPU: 1}, kind=ContainerKind.INIT)
    trainer = Container(name="trainer", limits={GPU: 2, NIC: 1})
    pod = Pod(name="training", uid="training", containers=(self_test, trainer))

    async def answer(devices: Sequence[DeviceId]) -> RunOptions:
        story.look(manager)
        gpu.require_healthy(devices)
        return gpu.default_answer(devices)

    gpu.on_allocate = answer
    admission = await manager.admit(pod)
    text = (
        "For each container and resource the manager calls GetPreferredAllocation, if the plug-in offers it, and\n"
        "Allocate; before the container starts, PreStartContainer, if the plug-in wants it. What a runtime would add:"
    )
    async with story.step(manager, "3. A pod is admitted", text, rule="ALLOC-5"):
        draw_admission(pod, admission_data(pod, admission))
    return pod


async def _too_many(story: Story, manager: DeviceManager) -> None:
    greedy = Container(name="main", limits={GPU: 3, NIC: 1})
    pod = Pod(name="greedy", uid="greedy", containers=(greedy,))
    admission = await manager.admit(pod)
    text = "It is refused as a whole: the network card it could have had stays free."
    async with story.step(manager, "4. Another pod asks for too much", text, rule="ALLOC-20"):
        draw_admission(pod, admission_data(pod, admission))


async def _health(story: Story, manager: DeviceManager, gpu: SimulatedPlugin) -> None:
    gpu.set_health("gpu-3", UNHEALTHY)
    await manager.wait_for_resource(GPU, capacity=4, allocatable=3)
    text = "The plug-in sends a new list: the capacity stays, one less is allocatable."
    async with story.step(manager, "5. A device turns unhealthy", text, rule="LW-3"):
        _status(manager)
    gpu.set_health("gpu-3", HEALTHY)
    await manager.wait_for_resource(GPU, allocatable=4)


async def _plugin_dies(story: Story, manager: DeviceManager) -> None:
    await manager.wait_for_resource(GPU, capacity=4, allocatable=0)
    text = "Its devices count as unhealthy at once. The pod keeps what it holds, and the capacity stays for 300 s:"
    async with story.step(manager, "6. A plug-in dies", text, rule="LW-8"):
        _status(manager)


async def _plugin_returns(story: Story, manager: DeviceManager, pod: Pod) -> None:
    await manager.wait_for_resource(GPU, allocatable=4)
    text = "All is as before. Then the pod ends, and its devices are free:"
    async with story.step(manager, "7. It comes back and registers again", text, rule="REG-9"):
        await manager.remove(pod.namespace, pod.name)
        _status(manager)


def _status(manager: DeviceManager) -> None:
    draw_status(status_data(manager.capacity(), manager.pods()))
