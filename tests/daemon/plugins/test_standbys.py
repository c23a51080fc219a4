"""Several live plug-ins of one resource, on real sockets: the newest serves, the others stand by."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from devicemgr import Device, PeerLimits, open_device_manager
from devicemgr.errors import PluginUnavailable, RegistrationRefused
from devicemgr.events import (
    DeviceHealthChanged,
    DeviceListApplied,
    EndpointStopped,
    PeerLimitReached,
    PluginEnded,
    PluginPromoted,
    PluginRegistered,
)
from devicemgr.model import PluginOptions
from devicemgr.testing import open_simulated_plugin
from tests.helpers import GPU, pod, until


def happened(manager, kind):
    return [recorded.event for recorded in manager.events() if isinstance(recorded.event, kind)]


def calls(plugin, name):
    return [arguments for called, arguments in plugin.calls if called == name]


@pytest.fixture
async def node(root_dir, nursery):
    """Opens plug-ins by name and ends them by name, in any order."""
    async with open_device_manager(root_dir) as manager:
        yield Node(manager, nursery)


class Node:
    def __init__(self, manager, nursery):
        self.manager, self._nursery, self._scopes = manager, nursery, {}

    async def serve(self, name, devices=("d1", "d2"), **options):
        listed = [Device(id=id) for id in devices]
        opened = open_simulated_plugin(
            self.manager.layout.plugins, GPU, devices=listed, endpoint=f"{name}.sock", **options
        )
        return await self._nursery.start(self._hold_open, name, opened)

    async def _hold_open(self, name, opened, *, task_status):
        with trio.CancelScope() as self._scopes[name]:
            async with opened as plugin:
                task_status.started(plugin)
                await trio.sleep_forever()

    async def register(self, name, devices=("d1", "d2"), **options):
        plugin = await self.serve(name, devices, **options)
        await plugin.register()
        await self.settle()
        return plugin

    async def end(self, name):
        """It crashes."""
        self._scopes[name].cancel()
        await self.settle()

    async def settle(self):
        await wait_all_tasks_blocked(0.01)
        await self.manager.flush()

    def counts(self):
        return {(event.capacity, event.allocatable) for event in happened(self.manager, DeviceListApplied)}

    def devices(self):
        counts = self.manager.capacity()[GPU]
        return counts.capacity, counts.allocatable


async def test_an_update_of_a_plugin_interrupts_nothing(node):
    """CC-158, D37-1, REG-10."""
    await node.register("one")
    assert await node.manager.admit(pod("pod1"))
    two = await node.register("two")
    assert await node.manager.admit(pod("pod2"))
    await node.end("one")
    await node.manager.remove("default", "pod1")
    assert await node.manager.admit(pod("pod3"))
    assert node.counts() == {(2, 2)}
    assert len(calls(two, "Allocate")) == 2
    assert not happened(node.manager, EndpointStopped)


async def test_neither_does_one_to_a_plugin_that_does_not_answer_and_then_to_another_one(node):
    """CC-159, REG-12, D37-5."""

    async def fail():
        raise PluginUnavailable("no options today")

    one = await node.register("one")
    assert await node.manager.admit(pod("pod1"))
    two = await node.serve("two")
    two.on_options = fail
    with pytest.raises(RegistrationRefused):
        await two.register()
    assert await node.manager.admit(pod("pod2"))
    assert len(calls(one, "Allocate")) == 2
    await node.register("three")
    await node.end("one")
    await node.manager.remove("default", "pod1")
    assert await node.manager.admit(pod("pod3"))
    assert node.counts() == {(2, 2)}
    assert not happened(node.manager, EndpointStopped)


async def test_neither_does_an_update_that_is_undone(node):
    """CC-160, D37-2: the older plug-in serves on."""
    one = await node.register("one")
    assert await node.manager.admit(pod("pod1"))
    await node.register("two")
    assert await node.manager.admit(pod("pod2"))
    await node.end("two")
    await node.manager.remove("default", "pod1")
    assert await node.manager.admit(pod("pod3"))
    assert node.counts() == {(2, 2)}
    assert len(calls(one, "Allocate")) == 2
    assert len(calls(one, "ListAndWatch")) == 1
    assert [event.endpoint for event in happened(node.manager, PluginPromoted)] == ["one.sock"]
    assert not happened(node.manager, EndpointStopped)
    assert not happened(node.manager, DeviceHealthChanged)


async def test_the_list_of_a_standby_counts_from_when_it_serves(node):
    """D37-3."""
    one = await node.register("one", ["a1", "a2"])
    await node.register("two", ["b1", "b2", "b3"])
    assert await node.manager.admit(pod("pod1"))
    one.set_devices([Device(id="a1"), Device(id="a2"), Device(id="a3"), Device(id="a4", health="Unhealthy")])
    await node.settle()
    assert node.devices() == (3, 3)
    await node.end("two")
    assert node.devices() == (4, 3)
    assert [event.health for event in happened(node.manager, DeviceHealthChanged)] == ["Unknown"]
    assert await node.manager.admit(pod("pod2"))
    (ids,) = calls(one, "Allocate")
    assert set(ids) < {"a1", "a2", "a3"}
    one.set_health("a1", "Unhealthy")
    await node.manager.wait_for_resource(GPU, allocatable=2)


async def test_the_options_are_those_of_the_plugin_that_serves(node):
    one = await node.register("one", options=PluginOptions(pre_start_required=True))
    two = await node.register("two")
    assert await node.manager.admit(pod("pod1"))
    await node.end("two")
    assert await node.manager.admit(pod("pod2"))
    assert (len(calls(one, "PreStartContainer")), len(calls(two, "PreStartContainer"))) == (1, 0)


async def test_a_plugin_on_another_socket_does_not_wait_until_the_stream_of_the_older_one_has_ended(node):
    one = await node.register("one")
    await node.register("two", ["d1", "d2", "d3"])
    assert node.devices() == (3, 3)
    one.set_devices([])
    await node.settle()
    assert node.devices() == (3, 3)
    assert node.manager.capacity()[GPU].standbys == ("one.sock",)


async def test_the_plugin_that_answers_last_serves(node):
    """REG-10: the order of the calls of Register does not matter, and none of them is refused."""
    asked, answer = trio.Event(), trio.Event()

    async def slowly():
        asked.set()
        await answer.wait()
        return PluginOptions()

    slow = await node.serve("slow", ["s"])
    slow.on_options = slowly
    async with trio.open_nursery() as nursery:
        nursery.start_soon(slow.register)
        await asked.wait()
        await node.register("quick", ["q1", "q2"])
        assert node.devices() == (2, 2)
        answer.set()
    await node.settle()
    assert node.devices() == (1, 1)
    await node.end("slow")
    assert node.devices() == (2, 2)


async def test_of_two_registrations_on_one_socket_the_older_one_is_refused(node):
    """Its process may have been replaced meanwhile."""
    asked, answer = trio.Event(), trio.Event()
    one = await node.register("one")

    async def slowly():
        asked.set()
        await answer.wait()
        return PluginOptions()

    plain, one.on_options = one.on_options, slowly
    refused = []

    async def register():
        try:
            await one.register()
        except RegistrationRefused as refusal:
            refused.append(str(refusal))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(register)
        await asked.wait()
        one.on_options = plain
        await one.register()
        answer.set()
    assert refused == ["another registration for vendor.com/gpu has been accepted meanwhile"]
    await node.settle()
    assert node.devices() == (2, 2)
    assert len(happened(node.manager, PluginRegistered)) == 2


async def test_two_processes_with_one_socket_name_do_not_stand_by_for_each_other(node):
    """REG-10, LIM-42, LIM-43: the new one has replaced the socket, and the end of the old one does not touch it."""
    old = await node.register("x", ["d1"])
    os.rename(node.manager.layout.plugins / "x.sock", node.manager.layout.plugins / "away")
    new = await node.serve("x", ["d1", "d2"])
    standby = await node.register("y", ["y1", "y2", "y3"])
    await new.register()
    await node.settle()
    assert (node.devices(), node.manager.capacity()[GPU].standbys) == ((2, 2), ("y.sock",))
    old.end_stream()
    await node.settle()
    assert node.devices() == (2, 2)
    assert not happened(node.manager, PluginEnded)
    assert await node.manager.admit(pod("pod1"))
    assert calls(new, "Allocate")
    await node.end("x")
    assert node.devices() == (3, 3)
    assert await node.manager.admit(pod("pod2"))
    assert calls(standby, "Allocate")


async def test_the_last_one_stops_the_resource_and_any_of_them_may_come_back(node):
    """LW-8, LW-10."""
    await node.register("one")
    await node.register("two")
    for name in ("one", "two"):
        await node.end(name)
    assert (node.devices(), node.manager.capacity()[GPU].endpoint) == ((2, 0), "stopped")
    assert not await node.manager.admit(pod("pod1"))
    await node.register("one")
    assert (node.devices(), node.manager.capacity()[GPU].endpoint) == ((2, 2), "serving")


async def test_a_plugin_may_answer_what_it_was_asked_before_it_stood_by(node):
    one = await node.register("one")
    asked, released, plain = trio.Event(), trio.Event(), one.on_allocate

    async def allocate(ids):
        asked.set()
        await released.wait()
        return await plain(ids)

    one.on_allocate = allocate
    answers = []

    async def admit():
        answers.append(await node.manager.admit(pod("pod1")))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(admit)
        await asked.wait()
        await node.register("two")
        released.set()
    assert answers[0]


async def test_a_resource_has_a_limited_number_of_standbys(root_dir):
    """A process with a thousand sockets has so many streams at most; the resource goes on."""
    async with open_device_manager(root_dir, peer_limits=PeerLimits(standbys=3)) as manager, AsyncExitStack() as stack:
        plugins = []
        for number in range(10):
            opened = open_simulated_plugin(manager.layout.plugins, GPU, devices=2, endpoint=f"{number}.sock")
            plugins.append(await stack.enter_async_context(opened))
            await plugins[-1].register()
            await wait_all_tasks_blocked(0.01)
        assert manager.capacity()[GPU].standbys == ("6.sock", "7.sock", "8.sock")
        (first, *_) = limits = happened(manager, PeerLimitReached)
        assert {(event.limit, event.peer) for event in limits} == {("standbys", GPU)}
        assert first.consequence == "0.sock, the oldest of more than 3 that stand by, is disconnected"
        for plugin in reversed(plugins[6:]):
            assert manager.capacity()[GPU].allocatable == 2
            plugin.end_stream()
            await wait_all_tasks_blocked(0.01)
        assert manager.capacity()[GPU].endpoint == "stopped"


async def test_only_the_plugin_of_a_socket_that_disappears_is_deregistered(manager):
    """REG-16a, D37-6, LIM-4, RS-11."""

    def found(name, devices):
        return open_simulated_plugin(manager.layout.plugins_registry, GPU, devices=devices, endpoint=name)

    async with found("c.sock", 3):
        await manager.wait_for_resource(GPU, allocatable=3)
        async with found("b.sock", 2):
            await manager.wait_for_resource(GPU, allocatable=2)
            async with found("a.sock", 1):
                await manager.wait_for_resource(GPU, allocatable=1)
                (manager.layout.plugins_registry / "b.sock").unlink()
                await until(manager, lambda: happened(manager, PluginEnded))
                assert manager.capacity()[GPU].allocatable == 1
                (manager.layout.plugins_registry / "a.sock").unlink()
                await manager.wait_for_resource(GPU, capacity=3, allocatable=3)
        assert not happened(manager, EndpointStopped)
    await manager.wait_for_resource(GPU, capacity=3, allocatable=0)
