"""The manager is Trio all the way down: whatever loops there are beside it, and from whichever task it is called."""

from __future__ import annotations

import warnings

import trio

from devicemgr import Container, Pod, open_device_manager
from devicemgr.testing import open_simulated_plugin

with warnings.catch_warnings():  # of asyncio's policies, on newer Pythons
    warnings.simplefilter("ignore", DeprecationWarning)
    import trio_asyncio

GPU = "vendor.com/gpu"
POD = Pod(name="p", uid="p", containers=(Container(name="c", limits={GPU: 1}),))


async def serve_and_admit(manager):
    async with open_simulated_plugin(manager.layout.plugins, GPU) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=1)
        return await manager.admit(POD)


async def test_a_loop_of_asyncio_around_the_manager(root_dir):
    async with trio_asyncio.open_loop(), open_device_manager(root_dir) as manager:
        assert (await serve_and_admit(manager)).admitted


async def test_a_loop_of_asyncio_inside_the_managers_block(manager):
    async with trio_asyncio.open_loop():
        assert (await serve_and_admit(manager)).admitted


async def test_a_task_of_a_nursery_outside_of_the_managers_block(root_dir):
    answers = []
    async with trio.open_nursery() as outer, open_device_manager(root_dir) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU) as plugin:
            await plugin.register()
            await manager.wait_for_resource(GPU, allocatable=1)
            done = trio.Event()

            async def admit():
                answers.append(await manager.admit(POD))
                done.set()

            outer.start_soon(admit)
            await done.wait()
    assert [answer.admitted for answer in answers] == [True]
