"""Cancelled at any step, the manager ends: with no other error, every socket closed, and the disk as it promised."""

from __future__ import annotations

import gc

import pytest
import trio

from devicemgr import open_device_manager
from devicemgr.daemon.checkpoint.writer import checkpoint_file
from devicemgr.daemon.layout import Layout
from devicemgr.testing import open_registered_plugin
from tests.fast_clock import FastClock

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "trainer"},
    "spec": {"containers": [{"name": "main", "resources": {"limits": {"vendor.com/gpu": 1}}}]},
}


class CancelAtStep(trio.abc.Instrument):
    """Cancels ``scope`` just before the program's n-th step of any task."""

    def __init__(self, step):
        self.scope, self.steps, self._step = trio.CancelScope(), 0, step
        self.admitted = False

    def before_task_step(self, task):
        self.steps += 1
        if self.steps == self._step:
            self.scope.cancel()


async def scenario(instrument, root):
    """A plug-in comes, a pod is admitted, the connection breaks, the manager restarts."""
    with instrument.scope:
        async with open_device_manager(root) as manager:
            async with open_registered_plugin(manager, "vendor.com/gpu", devices=3, timeout=1000) as plugin:
                instrument.admitted = (await manager.admit(POD)).admitted
                await trio.lowlevel.checkpoint_if_cancelled()  # the endpoint may have heard of it before we have
                manager.faults.drop_connection(plugin.resource)
                await manager.faults.restart()
                await manager.wait_for_resource(plugin.resource, allocatable=3, timeout=100)


def run_until(step, root):
    instrument = CancelAtStep(step)
    root.mkdir()
    clock = FastClock()
    trio.run(scenario, instrument, root, instruments=[instrument], clock=clock)
    assert not list(root.glob("**/*.sock"))
    assert not list(root.glob("**/*.tmp"))
    saved, problems = checkpoint_file(Layout(root)).load()
    assert not problems
    held = {id for entry in saved.checkpoint.entries for id in entry.devices} if saved else set()
    assert len(held) == 1 if instrument.admitted else len(held) <= 1
    return instrument


@pytest.mark.parametrize("first", range(8))
def test_cancelled_at_any_step_nothing_is_left_open(first, tmp_path):
    step, cancelled = first + 1, True
    while cancelled:
        cancelled = run_until(step, tmp_path / str(step)).scope.cancelled_caught
        step += 8
    gc.collect()  # what was left open says so now, and warnings are errors
    assert step > 200  # the whole scenario ran in the end, and that was how many steps there are
