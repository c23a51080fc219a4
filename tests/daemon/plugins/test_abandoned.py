"""A registration whose caller hangs up at any step: its plug-in serves, or the endpoint has visibly stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from devicemgr import open_device_manager
from devicemgr.daemon.plugins.handler import DEVICE_PLUGIN, SOCKET_REMOVED, DiscoveredPlugin
from devicemgr.events import EndpointStopped
from devicemgr.model import Container, Pod, Registration
from devicemgr.rpc.transport.unix_socket import Place
from devicemgr.testing import open_registered_plugin, open_simulated_plugin

GPU = "vendor.com/gpu"
POD = Pod(name="p", uid="p", containers=(Container(name="c", limits={GPU: 1}),))


class CancelAtStep(trio.abc.Instrument):
    """Cancels ``scope`` just before the program's n-th step of any task, from when it is entered."""

    def __init__(self, step):
        self.scope, self._steps, self._step = trio.CancelScope(), 0, step

    def before_task_step(self, task):
        self._steps += 1
        if self._steps == self._step:
            self.scope.cancel()


async def abandoned(step, call):
    """Cancel ``call`` at this step of the program. Returns whether it had ended before."""
    instrument = CancelAtStep(step)
    trio.lowlevel.add_instrument(instrument)
    with instrument.scope:
        await call
    trio.lowlevel.remove_instrument(instrument)
    await wait_all_tasks_blocked(0.01)
    return not instrument.scope.cancelled_caught


def register(manager, plugin):
    return manager.register(Registration(version="v1beta1", endpoint=plugin.endpoint, resource=GPU))


def register_discovered(manager, plugin):
    place = Place(manager.layout.plugins.resolve(), Path(plugin.endpoint))
    found = DiscoveredPlugin(name=GPU, supported_versions=("v1beta1",), place=place)
    return manager.watcher.handlers[DEVICE_PLUGIN].register_plugin(found)


async def until_it_ends(root_dir, scenario):
    for step in range(1, 100):
        root = root_dir / str(step)
        root.mkdir()
        async with open_device_manager(root, grace=1000) as manager:
            if await scenario(manager, step):
                return
    raise AssertionError("it does not end")


@pytest.mark.parametrize("call", [register, register_discovered])
@pytest.mark.parametrize("before", ["it", "another", "one that has ended"])
async def test_a_registration_that_is_abandoned_at_any_step(root_dir, before, call):
    async def scenario(manager, step):
        plugins = manager.layout.plugins
        async with (
            open_registered_plugin(manager, GPU) as one,
            open_simulated_plugin(plugins, GPU, endpoint="other.sock") as other,
        ):
            if before == "one that has ended":
                one.end_stream()
                await manager.wait_for_resource(GPU, allocatable=0)
            ended = await abandoned(step, call(manager, one if before == "it" else other))
            counts = manager.capacity()[GPU]
            stops = [one.event for one in manager.events() if isinstance(one.event, EndpointStopped)]
            if counts.endpoint == "serving":
                admission = await manager.admit(POD)
                assert admission, f"abandoned at step {step}: {admission}"
            else:
                assert stops, f"abandoned at step {step}, no endpoint serves, and there is no event"
                assert before == "one that has ended" or (
                    call is register_discovered and stops[-1].reason == SOCKET_REMOVED
                )
        return ended

    await until_it_ends(root_dir, scenario)
