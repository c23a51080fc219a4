"""Injected faults: what each does to a manager that does not expect it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import trio
import trio.testing

from devicemgr import Fault, open_device_manager
from devicemgr.daemon.faults.actions import FAULTS
from devicemgr.errors import BadInput, RegistrationRefused
from devicemgr.events import EndpointStopped, FaultInjected, FileSetAside, ManagerReady
from devicemgr.testing import open_simulated_plugin
from tests.helpers import pod, until

GPU = "vendor.com/gpu"


def kinds(manager):
    return [type(recorded.event).__name__ for recorded in manager.events()]


@pytest.fixture
async def plugin(manager, nursery):
    """A plug-in with two devices, registered once."""
    async with open_simulated_plugin(manager.layout.plugins, GPU, devices=2) as running:
        await running.register()
        await manager.wait_for_resource(GPU, allocatable=2)
        yield running


async def test_a_restart_is_a_new_incarnation_of_the_same_manager(manager, plugin):
    assert (await manager.admit(pod("one"))).admitted
    before = manager.pods()

    await manager.faults.restart()

    assert not (plugin.directory / plugin.endpoint).exists(), "by which the plug-in knows of the restart (REG-17)"
    assert manager.layout.registration_socket.is_socket()
    assert [p.full_name for p in manager.pods()] == [p.full_name for p in before]
    assert kinds(manager).count("ManagerReady") == 2
    assert manager.capacity()[GPU].endpoint == "stopped"


async def test_during_a_restart_there_are_no_sockets(manager, nursery, autojump_clock):
    started = trio.current_time()
    nursery.start_soon(lambda: manager.faults.restart(delay=30.0))
    await until(manager, lambda: kinds(manager)[-1] == "ManagerStopping")
    await trio.sleep(29)
    assert not manager.layout.registration_socket.exists()
    await until(manager, lambda: kinds(manager)[-1] == "ManagerReady")
    assert trio.current_time() - started == pytest.approx(30, abs=0.2)


async def test_a_directory_that_is_deleted_during_a_restart_is_created_again(root_dir, nursery, autojump_clock):
    async with open_device_manager(root_dir) as manager:
        nursery.start_soon(lambda: manager.faults.restart(delay=30.0))
        await until(manager, lambda: kinds(manager)[-1] == "ManagerStopping")
        await trio.sleep(29)
        shutil.rmtree(root_dir)
        await until(manager, lambda: kinds(manager)[-1] == "ManagerReady")
        assert all(path.is_socket() for path in manager.layout.sockets)


async def test_a_manager_can_be_stopped_during_a_restart(root_dir, autojump_clock):
    async with trio.open_nursery() as nursery:
        async with open_device_manager(root_dir) as manager:
            nursery.start_soon(lambda: manager.faults.restart(delay=1e6))
            await until(manager, lambda: kinds(manager)[-1] == "ManagerStopping")
            nursery.cancel_scope.cancel()
    assert trio.current_time() < 1e5


async def test_a_wipe_removes_every_socket_and_kubelet_sock_is_restored(manager, plugin):
    before = manager.layout.registration_socket.stat().st_ctime_ns
    manager.faults.wipe()
    assert not (plugin.directory / plugin.endpoint).exists()
    await until(manager, lambda: "SocketRestored" in kinds(manager))
    assert manager.layout.registration_socket.stat().st_ctime_ns > before
    assert manager.capacity()[GPU].allocatable == 2, "its stream is still open"


async def test_a_dropped_connection_stops_the_endpoint(manager, plugin):
    manager.faults.drop_connection(GPU)
    await manager.wait_for_resource(GPU, capacity=2, allocatable=0)
    assert any(isinstance(recorded.event, EndpointStopped) for recorded in manager.events())
    with pytest.raises(BadInput, match="vendor.com/gpu: no plug-in serves it"):
        manager.faults.drop_connection(GPU)


async def test_a_dropped_connection_is_that_of_the_plugins_that_stand_by_too(manager, plugin):
    async with open_simulated_plugin(manager.layout.plugins, GPU, devices=2, endpoint="another.sock") as newer:
        await newer.register()
        assert manager.capacity()[GPU].standbys == (plugin.endpoint,)
        manager.faults.drop_connection(GPU)
        await until(manager, lambda: manager.capacity()[GPU].endpoint == "stopped")
        assert manager.capacity()[GPU].standbys == ()


async def test_lists_are_not_read_until_reading_is_resumed(manager, plugin):
    manager.faults.stop_reading(GPU)
    plugin.set_health("dev-0", "Unhealthy")
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert manager.capacity()[GPU].allocatable == 2
    manager.faults.resume_reading(GPU)
    await manager.wait_for_resource(GPU, allocatable=1)


async def test_the_next_registrations_are_refused_and_later_ones_accepted(manager, plugin):
    """REG-7: with the kubelet's text; the plug-in is not dialled, and its open stream is still read."""
    manager.faults.refuse_registrations(times=2)
    asked = len(plugin.calls)
    for _ in range(2):
        with pytest.raises(RegistrationRefused, match="^failed to dial device plugin: context deadline exceeded$"):
            await plugin.register()
    assert len(plugin.calls) == asked
    plugin.set_health("dev-0", "Unhealthy")
    await manager.wait_for_resource(GPU, allocatable=1)
    await plugin.register()


async def test_registrations_of_another_resource_are_not_refused(manager, plugin):
    manager.faults.refuse_registrations(resource="vendor.com/nic")
    await plugin.register()


async def test_accept_registrations_withdraws_the_remaining_refusals(manager, plugin):
    """It withdraws no other fault."""
    manager.faults.refuse_registrations(times=9)
    manager.faults.fail_calls("allocate")
    manager.faults.accept_registrations()
    await plugin.register()
    assert not (await manager.admit(pod("one"))).admitted


async def test_registrations_are_refused_after_a_restart_as_well(manager, plugin):
    manager.faults.refuse_registrations(resource=GPU)
    await manager.faults.restart()
    plugin.restore_socket()
    with pytest.raises(RegistrationRefused):
        await plugin.register()
    await plugin.register()


async def test_the_same_socket_is_refused_while_its_stream_is_open(manager, plugin):
    """D37-4: after the options, with the kubelet's text; its open stream is still read."""
    manager.faults.refuse_same_socket()
    asked = len(plugin.calls)
    with pytest.raises(RegistrationRefused) as caught:
        await plugin.register()
    assert str(caught.value) == f"device plugin already connected: {plugin.directory / plugin.endpoint}"
    assert [name for name, _ in plugin.calls[asked:]] == ["GetDevicePluginOptions"]
    plugin.set_health("dev-0", "Unhealthy")
    await manager.wait_for_resource(GPU, allocatable=1)
    manager.faults.accept_same_socket()
    await plugin.register()


async def test_the_same_socket_is_accepted_when_its_stream_has_ended(manager, plugin):
    """As the kubelet intends; in fact a refusal makes it forget the stream (LIM-42)."""
    manager.faults.refuse_same_socket()
    with pytest.raises(RegistrationRefused):
        await plugin.register()
    plugin.end_stream()
    await manager.wait_for_resource(GPU, allocatable=0)
    await plugin.register()
    await manager.wait_for_resource(GPU, allocatable=2)


async def test_another_socket_of_the_same_resource_is_not_refused_and_one_that_stands_by_is(manager, plugin):
    manager.faults.refuse_same_socket()
    async with open_simulated_plugin(manager.layout.plugins, GPU, devices=3, endpoint="another.sock") as another:
        await another.register()
        await manager.wait_for_resource(GPU, allocatable=3)
        with pytest.raises(RegistrationRefused, match="device plugin already connected"):
            await plugin.register()
    await manager.wait_for_resource(GPU, allocatable=2)


async def test_a_socket_of_plugins_registry_that_is_replaced_is_not_refused(manager):
    """REG-15: what was registered there is deregistered first."""
    manager.faults.refuse_same_socket()
    async with open_simulated_plugin(manager.layout.plugins_registry, GPU, devices=1) as first:
        await manager.wait_for_resource(GPU, allocatable=1)
        async with open_simulated_plugin(manager.layout.plugins_registry, GPU, devices=2) as second:
            await manager.wait_for_resource(GPU, allocatable=2)
            assert [call for call in (*first.calls, *second.calls) if call[0] == "NotifyRegistrationStatus"] == [
                ("NotifyRegistrationStatus", (True, ""))
            ] * 2


async def test_the_next_calls_fail_and_later_ones_succeed(manager, plugin):
    manager.faults.fail_calls("allocate", times=2, error="on fire")
    for name in ("one", "two"):
        refused = await manager.admit(pod(name))
        assert not refused.admitted
        assert "on fire" in refused.message
    assert (await manager.admit(pod("three"))).admitted
    assert [name for name, _ in plugin.calls].count("Allocate") == 1


async def test_a_delayed_call_runs_into_its_deadline(root_dir, autojump_clock):
    async with open_device_manager(root_dir) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU) as plugin:
            await plugin.register()
            await manager.wait_for_resource(GPU, allocatable=1)
            manager.faults.delay_calls("allocate", 59, resource=GPU)
            assert (await manager.admit(pod("patient"))).admitted
            await manager.remove("default", "patient")
            manager.faults.delay_calls("allocate", 61)
            assert "was not answered within 60 s" in (await manager.admit(pod("late"))).message


async def test_only_calls_of_the_named_resource_fail(manager, plugin):
    manager.faults.fail_calls("allocate", resource="vendor.com/other")
    assert (await manager.admit(pod("one"))).admitted


async def test_expire_grace_ends_the_grace_period(manager, plugin):
    manager.faults.expire_grace()
    assert manager.capacity()[GPU].endpoint == "serving", "there is no grace period"
    manager.faults.drop_connection(GPU)
    await manager.wait_for_resource(GPU, allocatable=0)
    manager.faults.expire_grace()
    assert manager.capacity()[GPU].endpoint == "removed"
    await plugin.register()
    await manager.wait_for_resource(GPU, allocatable=2)


async def test_a_damaged_checkpoint_is_found_at_the_next_start(manager, plugin):
    await manager.admit(pod("one"))
    await manager.admit(pod("two"))
    await manager.faults.corrupt_checkpoint()
    await manager.faults.restart()
    assert [type(recorded.event) for recorded in manager.events()].count(FileSetAside) == 1
    assert [p.name for p in manager.pods()] == ["one", "two"], "from the copy of the newest generation"


async def test_without_a_checkpoint_there_is_nothing_to_damage(manager):
    with pytest.raises(BadInput, match=r"kubelet_internal_checkpoint: .*No such file"):
        await manager.faults.corrupt_checkpoint()


async def test_without_a_directory_there_is_nothing_to_wipe(manager):
    shutil.rmtree(manager.layout.plugins)
    manager.faults.wipe()


async def test_a_frozen_clock_is_advanced_by_hand(root_dir, mock_clock):
    mock_clock.rate = 1.0
    async with open_device_manager(root_dir) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU) as plugin:
            await plugin.register()
            await manager.wait_for_resource(GPU, allocatable=1)
            manager.faults.freeze_clock()
            plugin.end_stream()
            await until(manager, lambda: manager.capacity()[GPU].endpoint == "stopped")
            manager.faults.advance_clock(299)
            await trio.testing.wait_all_tasks_blocked()
            assert manager.capacity()[GPU].endpoint == "stopped"
            manager.faults.advance_clock(2)
            await until(manager, lambda: manager.capacity()[GPU].endpoint == "removed")
            manager.faults.resume_clock()


async def test_the_system_clock_cannot_be_moved(manager):
    with pytest.raises(BadInput, match=r"MockClock\(rate=1\)"):
        manager.faults.freeze_clock()
    assert [type(recorded.event) for recorded in manager.events()] == [ManagerReady], "nothing was injected"


async def test_an_unknown_call_is_refused(manager):
    with pytest.raises(BadInput, match="there are options, preferred-allocation, allocate, pre-start"):
        manager.faults.fail_calls("Allocate")


# --- by name ---


@pytest.mark.parametrize("name", FAULTS)
async def test_every_fault_can_be_injected_by_its_name(manager, plugin, autojump_clock, name):
    await manager.faults.inject(Fault(name=name, resource=GPU, call="allocate", seconds=1.0))
    injected = [recorded.event.fault for recorded in manager.events() if isinstance(recorded.event, FaultInjected)]
    assert injected == [name]


async def test_a_fault_by_its_name_is_the_same_as_by_its_method(manager, plugin):
    await manager.faults.inject(Fault(name="fail-calls", call="allocate", error="on fire", resource="vendor.com/other"))
    assert (await manager.admit(pod("one"))).admitted, "the fault is of another resource"
    await manager.faults.inject(Fault(name="fail-calls", call="allocate", error="on fire"))
    assert "on fire" in (await manager.admit(pod("two"))).message, "without a resource it is of all"


@pytest.mark.parametrize("name", ["drop-connection", "stop-reading", "resume-reading"])
async def test_without_the_resource_that_it_needs_a_fault_is_refused(manager, name):
    with pytest.raises(BadInput, match=f"{name}: resource: is missing"):
        await manager.faults.inject(Fault(name=name))


async def test_there_is_no_other_fault(manager):
    for name in ("inject", "_record", "nothing"):
        with pytest.raises(BadInput, match="no such fault"):
            await manager.faults.inject(Fault(name=name))


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_on_a_page(name):
    assert any(re.search(f"`{name}[` ]", page.read_text()) for page in Path(__file__).parents[3].glob("**/README.md"))
