"""Time: the grace period, on a mock clock. Autojump skips the 300 s; the sockets are real."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from devicemgr import Container, ContainerStartFailed, PluginOptions, Pod, open_device_manager
from devicemgr.testing import open_simulated_plugin

GPU = "vendor.com/gpu"


async def settle():
    await trio.testing.wait_all_tasks_blocked(0.02)


@pytest.fixture
def clock():
    """No autojump: time moves when the test says so."""
    return trio.testing.MockClock()


async def test_lim_5_the_grace_period_ends_strictly_after_300_seconds(root_dir, clock):
    """CAP-4, CC-019, CC-045, LW-11, CAP-3; LIM-5: the zero is published until it is acknowledged."""
    async with open_device_manager(root_dir) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=2) as plugin:
            await plugin.register()
            await settle()
            assert manager.capacity()[GPU].allocatable == 2
        await settle()
        assert (manager.capacity()[GPU].capacity, manager.capacity()[GPU].endpoint) == (2, "stopped")
        clock.jump(300)
        await settle()
        assert manager.capacity()[GPU].capacity == 2
        clock.jump(0.01)
        await settle()
        for _ in range(2):  # a query changes nothing
            assert (manager.capacity()[GPU].capacity, manager.capacity()[GPU].endpoint) == (0, "removed")
        await manager.acknowledge_removed(GPU)
        assert manager.capacity() == {}


@pytest.mark.parametrize(
    ("version", "text"),
    [
        ("1.36", "endpoint of {} has been stopped"),
        ("1.37", "endpoint a.sock of {} has been stopped"),
    ],
)
async def test_what_is_said_of_a_stopped_plugin_has_its_socket_since_v1_37(root_dir, version, text):
    """LW-10, D37-9, CC-046: `--kubernetes-version` selects the text."""
    one = Pod(name="p", uid="p", containers=(Container(name="main", limits={GPU: 1}),))
    options = PluginOptions(pre_start_required=True)
    async with open_device_manager(root_dir, kubernetes_version=version) as manager:
        async with open_simulated_plugin(
            manager.layout.plugins, GPU, devices=1, options=options, endpoint="a.sock"
        ) as plugin:
            await plugin.register()
            await manager.wait_for_resource(GPU, allocatable=1)
            assert (await manager.admit(one)).admitted
        await manager.wait_for_resource(GPU, allocatable=0)
        with pytest.raises(ContainerStartFailed) as caught:
            await manager.start_container(one, one.containers[0])
        assert text.format(GPU) in str(caught.value)


async def test_a_registration_within_the_grace_period_cancels_it(root_dir, clock):
    """LW-11, REG-9."""
    async with open_device_manager(root_dir) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=2) as plugin:
            await plugin.register()
            await settle()
        await settle()
        clock.jump(299)
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=2) as plugin:
            await plugin.register()
            await settle()
            clock.jump(1000)
            await settle()
            assert manager.capacity()[GPU].allocatable == 2
