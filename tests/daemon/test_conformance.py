"""Conformance cases that no other test had a reason to look at."""

from __future__ import annotations

import json

import pytest
import trio
import trio.testing

from devicemgr import Device, open_device_manager
from devicemgr.core.devices.endpoint import Endpoint
from devicemgr.core.devices.store import DeviceStore
from devicemgr.core.topology.hints import resource_hints
from devicemgr.core.topology.numa import Numa
from devicemgr.model import PluginOptions
from devicemgr.testing import open_simulated_plugin
from tests.helpers import apply_list, pod

GPU, NIC = "vendor.com/gpu", "vendor.com/nic"


async def test_a_relative_directory_and_one_that_is_not_there_yet(tmp_path, monkeypatch):
    """REG-2, CC-001, CC-002, REG-1: where the kubelet wants an absolute path, any path is one here."""
    monkeypatch.chdir(tmp_path)
    async with open_device_manager("n/o/d/e") as manager:
        assert manager.layout.registration_socket.is_absolute()
        assert (tmp_path / "n/o/d/e/device-plugins/kubelet.sock").is_socket()


async def test_registry_and_watcher_side_by_side(manager, open_plugin):
    """CC-004: one plug-in calls Register, the other one is found."""
    async with open_plugin(GPU, devices=1) as gpu:
        await gpu.register()
        async with open_simulated_plugin(manager.layout.plugins_registry, NIC, devices=1):
            await manager.wait_for_resource(GPU, allocatable=1)
            await manager.wait_for_resource(NIC, allocatable=1)


async def test_two_resources_are_allocated_and_counted_apart(manager, open_plugin):
    """CC-061, CC-062, CC-063, CC-068."""
    cards = [Device(id="card-0"), Device(id="card-1")]
    async with open_plugin(GPU, devices=2) as gpu, open_plugin(NIC, devices=cards) as nic:
        for plugin in (gpu, nic):
            await plugin.register()
            await manager.wait_for_resource(plugin.resource, allocatable=2)
        first = (await manager.admit(pod("first", gpu=2, nic=1))).containers[0]
        assert (len(first.options.device_specs), len(first.options.envs)) == (3, 2)
        refused = await manager.admit(pod("second", gpu=1))
        assert "Requested: 1, Available: 0" in refused.message
        third = (await manager.admit(pod("third", nic=1))).containers[0]
        assert dict(third.options.envs) == {"NIC_DEVICES": "card-1"}
        counts = manager.capacity()
        assert (counts[GPU].allocated, counts[NIC].allocated) == (2, 2)


async def test_the_options_of_a_pod_that_has_ended_are_none(manager, open_plugin):
    """CC-069, RUN-3, RUN-6: no error, nothing to add, and nobody is asked."""
    async with open_plugin(GPU, options=PluginOptions(pre_start_required=True)) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=1)
        one = pod("p", gpu=1)
        await manager.admit(one)
        await manager.remove("default", "p")
        before = len(plugin.calls)
        run = await manager.start_container(one, one.containers[0])
        assert (run.devices, dict(run.options.envs), len(plugin.calls)) == ({}, {}, before)


async def test_a_preference_may_be_asked_for_while_another_pod_ends(manager, open_plugin):
    """CC-067: the only other record of the resource goes while the call is in flight."""
    async with open_plugin(GPU, devices=3, options=PluginOptions(get_preferred_allocation_available=True)) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=3)
        await manager.admit(pod("other", gpu=1))

        async def prefer(available, must_include, size):
            await manager.remove("default", "other")
            return ["dev-2"]

        plugin.on_preferred = prefer
        admission = await manager.admit(pod("p", gpu=1))
        assert admission.containers[0].devices == {GPU: ("dev-2",)}
        assert manager.capacity()[GPU].allocated == 1


async def test_a_restarted_manager_and_then_a_restarted_plugin_disturb_nobody(root_dir):
    """CC-105."""
    async with open_device_manager(root_dir) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=2) as plugin:
            await plugin.register()
            await manager.wait_for_resource(GPU, allocatable=2)
            await manager.admit(pod("p", gpu=1))
            before = manager.pods()
    async with open_device_manager(root_dir) as manager:
        for _ in range(2):
            async with open_simulated_plugin(manager.layout.plugins, GPU, devices=2) as plugin:
                await plugin.register()
                await manager.wait_for_resource(GPU, allocatable=2)
                assert manager.pods() == before
            await manager.wait_for_resource(GPU, allocatable=0)


def test_lists_and_hints_in_turns():
    """CC-118: both are synchronous, so there is no race to lose; what a hint says fits the list before it."""
    store, numa = DeviceStore(), Numa(nodes=(0, 1))
    store.connect(Endpoint(resource=GPU, generation=1, socket="a.sock"))
    for turn in range(50):
        devices = [Device(id=f"d{n}", numa_nodes=((n + turn) % 2,)) for n in range(1000)]
        apply_list(store, GPU, 1, devices[: 1000 - turn])
        hints = resource_hints(store, GPU, 1000 - turn, held=frozenset(), reusable=frozenset(), numa=numa)
        assert [(hint.affinity, hint.preferred) for hint in hints] == [(0b11, True)]


@pytest.mark.parametrize("cdi", [("vendor.com/gpu=0",), ("vendor.com/gpu=0", "vendor.com/gpu=0")])
async def test_a_cdi_device_is_passed_on_once(manager, open_plugin, cdi):
    """CC-096, as far as a manager without a runtime goes."""
    async with open_plugin(GPU) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=1)
        plain = plugin.on_allocate

        async def allocate(ids):
            return type(await plain(ids))(cdi_devices=cdi)

        plugin.on_allocate = allocate
        (run,) = (await manager.admit(pod("p", gpu=1))).containers
        assert run.options.cdi_devices == ("vendor.com/gpu=0",)
        json.dumps(manager.explain("default", "p"))
        await trio.testing.wait_all_tasks_blocked()
