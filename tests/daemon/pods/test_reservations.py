"""Devices are reserved together with the hints: TM-13 also holds for pods that are admitted at the same time.

The kubelet admits one pod at a time, so it does not have this problem.
"""

from __future__ import annotations

from contextlib import AsyncExitStack

from devicemgr import Device, open_device_manager
from devicemgr.core.topology.numa import Numa
from devicemgr.core.topology.policy import Policy, Scope, Topology
from devicemgr.model import PluginOptions
from devicemgr.testing import open_simulated_plugin
from tests.helpers import pod

GPU, NIC = "vendor.com/gpu", "vendor.com/nic"


async def admit_during_the_question(root_dir, first, second):
    """The NUMA nodes of both pods' devices; the second is admitted while GPU's plug-in is asked about the first."""
    topology = Topology(policy=Policy.SINGLE_NUMA_NODE, scope=Scope.CONTAINER, numa=Numa(nodes=(0, 1)))
    devices = [Device(id=f"{node}-{n}", numa_nodes=(node,)) for node in (0, 1) for n in range(3)]
    options = PluginOptions(get_preferred_allocation_available=True)
    results = []
    async with open_device_manager(root_dir, topology=topology) as manager, AsyncExitStack() as plugins:

        async def prefer(available, must_include, size):
            if not results:
                results.append(None)
                results.append(await manager.admit(second))
            return []

        async def any_will_do(available, must_include, size):
            return []

        for resource in (GPU, NIC):
            opened = open_simulated_plugin(manager.layout.plugins, resource, devices=devices, options=options)
            plugin = await plugins.enter_async_context(opened)
            plugin.on_preferred = prefer if resource == GPU else any_will_do
            await plugin.register()
            await manager.wait_for_resource(resource, allocatable=6)
        results[:1] = [await manager.admit(first)]
    assert all(results)
    return [{id[0] for ids in one.containers[0].devices.values() for id in ids} for one in results]


async def test_a_pod_keeps_the_node_of_its_hints_while_another_asks_for_the_same_devices(root_dir):
    assert await admit_during_the_question(root_dir, pod("first", gpu=2), pod("second", gpu=2)) == [{"0"}, {"1"}]


async def test_a_pod_keeps_one_node_for_all_its_resources(root_dir):
    first, second = pod("first", gpu=1, nic=2), pod("second", nic=2)
    assert await admit_during_the_question(root_dir, first, second) == [{"0"}, {"1"}]
