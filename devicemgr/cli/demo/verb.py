"""``demo``: everything once, embedded, in a temporary directory; a story in seven steps."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import click
import trio

from ...concurrency.exception_groups import collapse_exception_group
from ...daemon.manager import DeviceManager
from ...daemon.supervisor import open_device_manager
from ...events import ManagerReady
from ...model import UNHEALTHY, Container, ContainerKind, DeviceId, PluginOptions, Pod, RunOptions
from ...temporary_directory import temporary_directory
from ...testing.plugin.simulated import SimulatedPlugin, numbered_devices, open_simulated_plugin
from ..daemon.options import parse_address
from ..shared.output import admission_data, draw_admission, draw_status, status_data
from .story import Story

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
    with temporary_directory("devicemgr-") as directory, collapse_exception_group():
        trio.run(_run, story, directory, address)
    story.end()


async def _run(story: Story, directory: Path, address: tuple[str, int] | None) -> None:
    opened = open_device_manager(directory, page_address=address, sinks=[story.record])
    async with opened as manager, story.telling():
        await _ready(story, manager)
        async with open_simulated_plugin(manager.layout.plugins, NIC, devices=2, endpoint="nic.sock") as nic:
            await nic.register()
            await manager.wait_for_resource(NIC, allocatable=2)
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


async def _ready(story: Story, manager: DeviceManager) -> None:
    text = f"It serves {_served(manager)}. Device plug-ins register on the socket, as they do with a kubelet."
    tree = "all that the manager does, each task in its nursery"
    async with story.step(manager, "1. The manager is ready", text, tree=tree, rule="API-1"):
        pass


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
        endpoint="gpu.sock",
        devices=numbered_devices(4, prefix="gpu", numa_nodes=(0, 1)),
        options=PluginOptions(pre_start_required=True, get_preferred_allocation_available=True),
    )


async def _two_plugins(story: Story, manager: DeviceManager) -> None:
    await manager.wait_for_resource(GPU, allocatable=4)
    text = (
        "Each calls Register on kubelet.sock; the manager calls back and reads its devices from ListAndWatch.\n"
        "The devices are now Extended Resources of the node. Its capacity is all of them, allocatable are the healthy "
        "ones, allocated those that pods hold, and available those that are healthy and free. The endpoint is the "
        "manager's side of the connection to the plug-in:"
    )
    tree = "Each plug-in has a task that reads its lists of devices. It is numbered by registrations: #2 is the second."
    async with story.step(manager, "2. Two plug-ins register", text, tree=tree, rule="REG-13"):
        _status(manager)


async def _admit(story: Story, manager: DeviceManager, gpu: SimulatedPlugin) -> Pod:
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
        "Its init container self-test wants 1 GPU, and hands it on to its main container trainer, which wants 2 and a "
        "network card.\n"
        "For each container and resource the manager asks which of the free devices the plug-in would choose "
        "(GetPreferredAllocation, if the plug-in offers that), and tells it which are handed out (Allocate). "
        "Before the container starts, the manager announces that too (PreStartContainer, if the plug-in wants "
        "it). The plug-ins of one container are asked in parallel.\n"
        "What a runtime would add, with devices as path on the host → path in the container:"
    )
    tree = "The admission was a task in handlers, and has ended."
    async with story.step(manager, "3. A pod is admitted", text, tree=tree, rule="ALLOC-5"):
        draw_admission(pod, admission_data(pod, admission))
    return pod


async def _too_many(story: Story, manager: DeviceManager) -> None:
    greedy = Container(name="main", limits={GPU: 3, NIC: 1})
    pod = Pod(name="greedy", uid="greedy", containers=(greedy,))
    admission = await manager.admit(pod)
    text = "It wants 3 GPUs, and 2 are free. It is refused as a whole: the network card it could have had stays free."
    tree = "The admission has come and gone. No plug-in was asked."
    async with story.step(manager, "4. Another pod asks for too much", text, tree=tree, rule="ALLOC-20"):
        draw_admission(pod, admission_data(pod, admission))


async def _health(story: Story, manager: DeviceManager, gpu: SimulatedPlugin) -> None:
    gpu.set_health("gpu-3", UNHEALTHY)
    await manager.wait_for_resource(GPU, capacity=4, allocatable=3)
    text = "The plug-in sends a new list, in which gpu-3 is unhealthy: the capacity stays, one less is allocatable."
    tree = "The task that reads the plug-in's lists waits for the next one again."
    async with story.step(manager, "5. A device turns unhealthy", text, tree=tree, rule="CAP-1"):
        _status(manager)


async def _plugin_dies(story: Story, manager: DeviceManager) -> None:
    await manager.wait_for_resource(GPU, capacity=4, allocatable=0)
    text = (
        "Its devices count as unhealthy at once. The pod keeps what it holds, whose health is Unknown from now on. "
        "The capacity stays for a grace period of 300 s, in which the plug-in may come back:"
    )
    tree = "The task of the plug-in waits for the end of the grace period."
    async with story.step(manager, "6. A plug-in dies", text, tree=tree, rule="LW-8"):
        _status(manager)


async def _plugin_returns(story: Story, manager: DeviceManager, pod: Pod) -> None:
    await manager.wait_for_resource(GPU, allocatable=4)
    text = (
        "Its first list says that all its devices are healthy, and so they are. Then the pod ends, and what it held "
        "is free:"
    )
    tree = "The new registration has a new task, and the old one has ended."
    async with story.step(manager, "7. It comes back and registers again", text, tree=tree, rule="REG-9"):
        await manager.remove(pod.namespace, pod.name)
        _status(manager)


def _status(manager: DeviceManager) -> None:
    draw_status(status_data(manager.capacity(), manager.pods()))
