"""Watching the tree: what watchers are shown, and that nobody pays for it while there are none."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest
import trio
import trio.testing
from grpclib.const import Cardinality

from devicemgr import open_device_manager
from devicemgr.core.views.task_tree import tree_from_json
from devicemgr.daemon.task_tree.watching import LOOK_PERIOD, REFRESH_PERIOD
from devicemgr.rpc.admin.client import connect_manager
from devicemgr.rpc.calls import dial
from devicemgr.rpc.stubs.devicemgr import v1 as wire
from devicemgr.testing import open_registered_plugin
from tests.helpers import GPU, pod


@pytest.fixture
def clock():
    return trio.testing.MockClock()


@pytest.fixture
def instruments(monkeypatch):
    """The instruments that are installed."""
    installed = []
    add, remove = trio.lowlevel.add_instrument, trio.lowlevel.remove_instrument
    monkeypatch.setattr(trio.lowlevel, "add_instrument", lambda one: (installed.append(one), add(one)))
    monkeypatch.setattr(trio.lowlevel, "remove_instrument", lambda one: (installed.remove(one), remove(one)))
    return installed


@contextmanager
def watching(manager):
    with manager.watch_task_tree() as watcher:

        async def following():
            text = await watcher.next()
            return None if text is None else tree_from_json(json.loads(text))

        yield following


def named(tree, name):
    (found,) = [node for node in tree.walk() if node.name == name]
    return found


async def test_nothing_is_installed_while_nobody_watches(manager, instruments):
    async with open_registered_plugin(manager, GPU):
        assert (await manager.admit(pod())).admitted
        manager.task_tree()
        async with connect_manager(manager.layout.admin_socket) as client:
            await client.read_tree(lambda tree: None, watch=False)
        assert instruments == []
        with watching(manager) as first:
            await first()
            with watching(manager) as second:
                await second()
                assert len(instruments) == 1
            assert len(instruments) == 1
        assert instruments == []


async def test_a_watcher_who_is_gone_leaves_nothing_behind(manager, instruments):
    async with connect_manager(manager.layout.admin_socket) as client, trio.open_nursery() as nursery:
        seen = trio.Event()

        async def watch():
            await client.read_tree(lambda tree: seen.set(), watch=True)

        nursery.start_soon(watch)
        await seen.wait()
        assert len(instruments) == 1
        nursery.cancel_scope.cancel()
    async with connect_manager(manager.layout.admin_socket) as client:
        while instruments:  # the manager learns of it by the end of the connection
            await client.read_tree(lambda tree: None, watch=False)


async def test_what_changes_is_shown_with_the_time_since_which_tasks_wait(root_dir, clock):
    async with open_device_manager(root_dir) as manager:
        await trio.testing.wait_all_tasks_blocked(0.01)
        with watching(manager) as following:
            first = await following()
            accepting = named(first, "accept on device-plugins/kubelet.sock")
            assert (accepting.waits_for, accepting.since) == ("a connection", None)
            clock.jump(LOOK_PERIOD)
            async with open_registered_plugin(manager, GPU):
                second = await following()
                reader = named(second, f"{GPU} #1")
                assert (reader.state, reader.nursery) == ("serving", "readers")
                accepted = named(second, "accept on device-plugins/kubelet.sock").since
                assert accepted == pytest.approx(first.at + LOOK_PERIOD)


async def test_while_nothing_changes_the_tree_is_shown_once_a_second_to_all_watchers_at_once(root_dir, clock):
    """No watcher is news for another one."""
    shown = {"a": [], "b": []}

    async with open_device_manager(root_dir) as manager, trio.open_nursery() as nursery:
        await manager.flush()
        await trio.testing.wait_all_tasks_blocked(0.01)
        clock.jump(2.0)  # the copy of the checkpoint is written
        await trio.testing.wait_all_tasks_blocked(0.05)

        async def watch(name):
            async with connect_manager(manager.layout.admin_socket) as client:
                await client.read_tree(lambda tree: shown[name].append(tree["at"]), watch=True)

        nursery.start_soon(watch, "a")
        nursery.start_soon(watch, "b")
        await trio.testing.wait_all_tasks_blocked(0.05)
        for _ in range(3):  # each has seen the other one come
            clock.jump(LOOK_PERIOD)
            await trio.testing.wait_all_tasks_blocked(0.01)
        began = trio.current_time()
        for trees in shown.values():
            trees.clear()
        while trio.current_time() < began + 2.5 * REFRESH_PERIOD:
            clock.jump(LOOK_PERIOD)
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert shown["a"] == shown["b"]
        assert len(shown["a"]) in (2, 3)
        nursery.cancel_scope.cancel()


async def test_the_end_is_shown_from_the_inside_out(root_dir):
    trees = []
    async with trio.open_nursery() as nursery:
        async with open_device_manager(root_dir) as manager:
            with_listeners = trio.Event()

            async def watch():
                async with connect_manager(manager.layout.admin_socket) as client:
                    await client.read_tree(see, watch=True)

            def see(tree):
                trees.append(tree_from_json(tree))
                with_listeners.set()

            nursery.start_soon(watch)
            await with_listeners.wait()
    pictured = ("writer", "readers", "connections", "handlers", "listeners")
    assert {tree.nurseries for tree in trees[:-1]} == {pictured}
    assert trees[-1].nurseries == pictured[:-1]
    assert trees[-1].root.waits_for == "requests to finish"
    assert named(trees[-1], "handlers").deadline is not None


async def test_a_watcher_who_does_not_read_waits_and_nobody_else_does(root_dir, clock):
    request = wire.TreeRequest(watch=True)
    async with (
        open_device_manager(root_dir) as manager,
        open_registered_plugin(manager, GPU),
        dial(manager.layout.admin_socket) as channel,
        channel.request("/devicemgr.v1.Admin/Tree", Cardinality.UNARY_STREAM, type(request), wire.TaskTree) as stream,
    ):
        await stream.send_message(request, end=True)
        await stream.recv_message()  # the only one
        looks = 0
        while named(manager.task_tree(), "Tree").waits_for != "its caller to read the answer":
            clock.jump(REFRESH_PERIOD)
            await trio.testing.wait_all_tasks_blocked(0.01)
            looks += 1
            assert looks < 1000
        for _ in range(100):
            clock.jump(REFRESH_PERIOD)
            await trio.testing.wait_all_tasks_blocked()
        assert (await manager.admit(pod())).admitted
        unread = 0
        while stream.recv_message_nowait() is not None:
            unread += 1
        assert unread <= looks
