"""Two plug-ins that register for one resource, and again whenever they are replaced.

On two sockets, so the one that was replaced stands by and need not come back; these do nevertheless.
"""

from __future__ import annotations

import itertools
import os
from contextlib import suppress
from functools import partial

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from devicemgr import open_device_manager
from devicemgr.core.devices.contention import TURN
from devicemgr.errors import RegistrationRefused, RpcFailed
from devicemgr.events import PluginEnded, PluginPromoted, PluginRegistered, ResourceContended
from devicemgr.testing import open_simulated_plugin

GPU = "vendor.com/gpu"


@pytest.fixture
def clock():
    """No autojump: time moves when the test says so."""
    return MockClock()


@pytest.fixture
async def both(root_dir, clock):
    async with (
        open_device_manager(root_dir) as manager,
        open_simulated_plugin(manager.layout.plugins, GPU, endpoint="a.sock", devices=1) as a,
        open_simulated_plugin(manager.layout.plugins, GPU, endpoint="b.sock", devices=2) as b,
    ):
        yield manager, a, b


@pytest.fixture
async def contended(both):
    """``a`` has just replaced ``b`` once too often."""
    manager, a, b = both
    for plugin in (a, b, a, b, a):
        await plugin.register()
    assert happened(manager, ResourceContended)
    return both


def happened(manager, kind):
    return [recorded.event for recorded in manager.events() if isinstance(recorded.event, kind)]


def who_serves(manager):
    assert manager.capacity()[GPU].endpoint == "serving"
    return newest(manager)


def newest(manager):
    return happened(manager, PluginRegistered | PluginPromoted)[-1].endpoint


async def ticking(clock, *, until=float("inf"), tick=0.25):
    """The clock moves on by a quarter of a second whenever all tasks wait."""
    while trio.current_time() < until:
        await wait_all_tasks_blocked(0.005)
        clock.jump(tick)


async def claim(manager, plugin):
    """Register, and again whenever another one serves."""
    while True:
        with suppress(RegistrationRefused):  # if both register at the same moment, the older one is refused
            await plugin.register()
        assert len(happened(manager, PluginRegistered)) < 100
        while newest(manager) == plugin.endpoint:
            await manager.events_after(manager.events()[-1].sequence, wait=True)


async def test_contending_plugins_are_reported_once_by_name_and_each_serves_for_a_while(both, clock):
    manager, a, b = both
    async with trio.open_nursery() as nursery:
        nursery.start_soon(claim, manager, a)
        nursery.start_soon(claim, manager, b)
        await ticking(clock, until=30)
        nursery.cancel_scope.cancel()
    (contended,) = happened(manager, ResourceContended)
    assert contended.claimants == (f"a.sock (process {os.getpid()})", f"b.sock (process {os.getpid()})")
    served = [event.endpoint for event in happened(manager, PluginRegistered)]
    assert len(served) <= 5 + 30 / TURN
    assert min(served.count("a.sock"), served.count("b.sock")) > 3


async def test_the_serving_plugin_is_not_slowed_when_it_registers_again(contended, clock):
    _manager, a, _b = contended
    await a.register()
    assert trio.current_time() == 0


async def test_a_plugin_does_not_wait_when_the_other_ones_have_ended(contended, clock):
    manager, a, b = contended
    b.end_stream()
    while not happened(manager, PluginEnded):
        await wait_all_tasks_blocked()
    a.end_stream()
    await manager.wait_for_resource(GPU, allocatable=0)
    await b.register()
    assert trio.current_time() == 0


async def test_a_plugin_that_waits_while_it_stands_by_serves_when_the_other_one_ends(contended, nursery, clock):
    """And its registration is accepted at once: there is no other one to protect."""
    manager, a, b = contended
    nursery.start_soon(b.register)
    await wait_all_tasks_blocked(0.01)
    assert who_serves(manager) == "a.sock"
    nursery.start_soon(partial(ticking, clock, tick=0.01))
    a.end_stream()
    await manager.wait_for_resource(GPU, allocatable=2)
    assert who_serves(manager) == "b.sock"
    while happened(manager, PluginRegistered)[-1].endpoint != "b.sock":
        await manager.events_after(manager.events()[-1].sequence, wait=True)
    assert trio.current_time() < TURN / 2


async def test_a_plugin_that_stood_by_has_a_turn_of_its_own(contended, nursery, clock):
    manager, a, _b = contended
    clock.jump(TURN - 0.1)
    nursery.start_soon(partial(ticking, clock, tick=0.01))
    a.end_stream()
    await manager.wait_for_resource(GPU, allocatable=2)
    assert who_serves(manager) == "b.sock"
    began = trio.current_time()
    await a.register()
    assert trio.current_time() - began >= TURN - 0.1


async def test_a_plugin_that_registers_by_a_timer_takes_nothing_from_the_other_one(both, clock):
    """Its own socket is registered again; the other one stands by, and serves when it has ended."""
    manager, a, b = both
    await b.register()
    for _ in range(20):
        await a.register()
    assert not happened(manager, ResourceContended)
    assert manager.capacity()[GPU].standbys == ("b.sock",)
    a.end_stream()
    await manager.wait_for_resource(GPU, capacity=2, allocatable=2)
    assert dict(b.calls).keys() == {"GetDevicePluginOptions", "ListAndWatch"}
    assert [name for name, _ in b.calls].count("ListAndWatch") == 1


async def test_a_plugin_that_does_not_answer_after_the_wait_does_not_take_over(contended, nursery, clock):
    manager, _a, b = contended

    async def fail():
        assert trio.current_time() >= TURN
        raise RpcFailed("changed my mind")

    b.on_options = fail
    nursery.start_soon(ticking, clock)
    with pytest.raises(RegistrationRefused, match="changed my mind"):
        await b.register()
    assert who_serves(manager) == "a.sock"


async def test_a_plugin_that_hangs_up_while_it_waits_changes_nothing(contended, nursery, clock):
    manager, _a, b = contended
    with trio.move_on_after(TURN / 2):
        nursery.start_soon(ticking, clock)
        await b.register()
    await trio.sleep(TURN)
    assert who_serves(manager) == "a.sock"


async def test_only_one_of_two_waiting_plugins_takes_over(root_dir, clock):
    """Both waits end at the same moment. The second plug-in waits for the next turn, or is refused."""
    served = []

    def note(recorded):
        if isinstance(recorded.event, PluginRegistered):
            served.append((recorded.event.endpoint, trio.current_time()))

    async with open_device_manager(root_dir, sinks=[note]) as manager, trio.open_nursery() as nursery:
        for name in ("a.sock", "b.sock", "c.sock"):
            plugin = await nursery.start(hold_open, manager, name)
            nursery.start_soon(claim, manager, plugin)
        await ticking(clock, until=30)
        nursery.cancel_scope.cancel()
    contended = [time for _, time in served[8:]]
    assert {name for name, _ in served} == {"a.sock", "b.sock", "c.sock"}
    turns = [later - one for one, later in itertools.pairwise(contended)]
    assert min(turns) >= TURN, turns


async def hold_open(manager, name, *, task_status):
    async with open_simulated_plugin(manager.layout.plugins, GPU, endpoint=name) as plugin:
        task_status.started(plugin)
        await trio.sleep_forever()
