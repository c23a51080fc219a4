"""A simulated plug-in is registered once with each kubelet.sock, and never while its stream is open (D37-4)."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio

from devicemgr.events import EndpointStopped, PluginRegistered, SocketRestored

GPU = "vendor.com/gpu"
AGAIN = [PluginRegistered, EndpointStopped, PluginRegistered]


@asynccontextmanager
async def registered(manager, plugin):
    """Keeps it registered within the block, which begins when it is."""
    is_registered = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(plugin.keep_registered, is_registered.set)
        await is_registered.wait()
        await manager.wait_for_resource(GPU, allocatable=2)
        yield
        nursery.cancel_scope.cancel()


async def until(manager, *kinds):
    """Waits until its streams have begun and ended so."""
    with trio.fail_after(10):
        while conversation(manager) != list(kinds):
            await manager.events_after(manager.events()[-1].sequence, wait=True)


def conversation(manager):
    """How its streams began and ended."""
    return [type(one.event) for one in manager.events() if isinstance(one.event, (PluginRegistered, EndpointStopped))]


def its_mode(path):
    path.chmod(0o600)


def its_links(path):
    path.with_name("other").hardlink_to(path)
    path.with_name("other").unlink()


@pytest.mark.parametrize("change", [its_mode, its_links])
async def test_a_kubelet_sock_whose_inode_has_changed_is_the_same(manager, open_plugin, change):
    async with open_plugin(devices=2) as plugin, registered(manager, plugin):
        change(manager.layout.registration_socket)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert conversation(manager) == [PluginRegistered]


async def test_one_that_is_made_while_it_is_about_to_register_is_the_one_that_was_asked(manager, open_plugin):
    """All sockets are deleted, and the manager is quicker than the plug-in."""
    async with open_plugin(devices=2) as plugin, registered(manager, plugin):
        own, drain = plugin.directory / plugin.endpoint, plugin.drain

        async def drained():
            await drain()
            manager.layout.registration_socket.unlink()
            while not any(isinstance(one.event, SocketRestored) for one in manager.events()):
                await manager.events_after(manager.events()[-1].sequence, wait=True)
            plugin.drain = drain

        plugin.drain = drained
        own.unlink()
        await until(manager, *AGAIN)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert conversation(manager) == AGAIN


async def test_its_stream_ends_before_it_registers_with_another_kubelet_sock(manager, open_plugin):
    async with open_plugin(devices=2) as plugin, registered(manager, plugin):
        manager.layout.registration_socket.unlink()
        await until(manager, *AGAIN)
