"""Who waits for what plug-ins report, beside the manager in the same program."""

from __future__ import annotations

import trio

from devicemgr.model import UNHEALTHY
from devicemgr.testing import open_simulated_plugin
from tests.helpers import pod

GPU = "vendor.com/gpu"


async def test_news_of_plugins_and_not_of_pods(device_manager):
    manager = device_manager

    async def news(seen):
        with trio.fail_after(60):
            return await manager.wait_for_reports(seen)

    seen = await manager.wait_for_reports()
    async with open_simulated_plugin(manager.layout.plugins, GPU, devices=2) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=2)
        seen = await news(seen)
        assert (await manager.admit(pod())).admitted
        assert await manager.remove("", "p")
        assert await manager.wait_for_reports() == seen
        plugin.set_health("dev-0", UNHEALTHY)
        seen = await news(seen)
        assert manager.capacity()[GPU].allocatable == 1
    seen = await news(seen)
    assert manager.capacity()[GPU].allocatable == 0
    await manager.faults.restart()
    await news(seen)
