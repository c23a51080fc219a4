"""Registration and endpoints, on real sockets: what is refused, what is replaced, and that nothing is lost."""

from __future__ import annotations

import os
import shutil
import socket

import pytest
import trio
import trio.testing

from devicemgr import Container, Deadlines, PeerLimits, Pod, open_device_manager
from devicemgr.errors import ManagerUnavailable, RegistrationRefused, RpcFailed
from devicemgr.events import PluginRegistered, SocketRestored
from devicemgr.model import Device, PluginOptions, Registration
from devicemgr.testing import open_simulated_plugin

GPU = "vendor.com/gpu"


async def honest(manager, plugin):
    """Register, and wait until its two devices are visible."""
    await plugin.register()
    return await manager.wait_for_resource(GPU, capacity=2, allocatable=2)


async def test_devices_are_visible_after_the_first_list(manager, open_plugin):
    """REG-6, CC-006, CC-021."""
    async with open_plugin(devices=2) as plugin:
        counts = await honest(manager, plugin)
        assert counts.endpoint == "serving"
        assert [name for name, _ in plugin.calls] == ["GetDevicePluginOptions", "ListAndWatch"]


async def test_an_unsupported_version_is_refused_before_dialling(manager, open_plugin):
    """API-3, CC-013, REG-4."""
    async with open_plugin() as plugin:
        with pytest.raises(RegistrationRefused) as caught:
            await plugin.register(version="v1alpha1")
        assert str(caught.value) == (
            "requested API version 'v1alpha1' is not supported by kubelet. Supported version is 'v1beta1'"
        )
        assert plugin.calls == []


@pytest.mark.parametrize("name", ["gpu", "kubernetes.io/gpu", "requests.vendor.com/gpu", "vendor.com/gpu\n", "A.com/x"])
async def test_a_bad_resource_name_is_refused(manager, open_plugin, name):
    """CC-014, API-12."""
    async with open_plugin(name, endpoint="a.sock") as plugin:
        with pytest.raises(RegistrationRefused, match="is invalid"):
            await plugin.register()
        assert plugin.calls == []
        assert manager.capacity() == {}


OUTSIDE = ["../../x.sock", "", ".", "..", "/", "a/..", "../device-plugins", "./../x.sock", "../device-plugins-2/x.sock"]


@pytest.mark.parametrize("endpoint", [*OUTSIDE, "a/b.sock", "/tmp/x.sock", "x" * 300, "a\0b", "a\0/../x.sock"])
async def test_lim_27_an_endpoint_must_be_a_plain_file_name(manager, open_plugin, endpoint):
    """LIM-27. The plug-in that serves already is not affected."""
    async with open_plugin(devices=2) as plugin:
        await honest(manager, plugin)
        with pytest.raises(RegistrationRefused, match="it must be the plain file name of a socket in"):
            await plugin.register(endpoint=endpoint)
        assert manager.capacity()[GPU].allocatable == 2


CLEANED = ["./x.sock", ".//x.sock", "/x.sock", "x.sock/", "a/../x.sock", "../device-plugins/x.sock"]


@pytest.mark.parametrize("endpoint", CLEANED)
async def test_an_endpoint_that_resolves_to_a_socket_in_the_directory_is_accepted(manager, open_plugin, endpoint):
    """REG-3: the kubelet joins and cleans the path. LIM-27: the socket is recognised by any of its names."""
    async with open_plugin(devices=2, endpoint="x.sock") as plugin:
        await plugin.register(endpoint=endpoint)
        await manager.wait_for_resource(GPU, allocatable=2)
        registered = [r.event for r in manager.events() if isinstance(r.event, PluginRegistered)]
        assert [event.endpoint for event in registered] == ["x.sock"]
        for name in ("x.sock", endpoint):
            with pytest.raises(RegistrationRefused, match="it already serves vendor.com/gpu"):
                await manager.register(Registration(version="v1beta1", endpoint=name, resource="vendor.com/other"))


async def test_lim_27_an_endpoint_that_is_not_a_socket_is_refused_at_once(manager, open_plugin):
    """LIM-27."""
    (manager.layout.plugins / "notes.txt").write_text("not a socket")
    async with open_plugin(devices=2) as plugin:
        await honest(manager, plugin)
        with pytest.raises(RegistrationRefused, match=r"failed to dial device plugin: .* is not a socket"):
            await plugin.register(endpoint="notes.txt")
        assert manager.capacity()[GPU].allocatable == 2


async def test_lim_27_a_link_out_of_the_directory_is_refused(manager, open_plugin, root_dir):
    """LIM-27."""
    with socket.socket(socket.AF_UNIX) as outside:
        outside.bind(str(root_dir / "outside.sock"))
        os.symlink(root_dir / "outside.sock", manager.layout.plugins / "link.sock")
        async with open_plugin() as plugin:
            with pytest.raises(RegistrationRefused, match="it leads out of"):
                await plugin.register(endpoint="link.sock")


async def test_lim_27_two_resources_cannot_share_an_endpoint(manager, open_plugin):
    """LIM-27."""
    async with open_plugin(devices=2) as plugin:
        await honest(manager, plugin)
        plugin.resource = "vendor.com/other"
        with pytest.raises(RegistrationRefused, match="it already serves vendor.com/gpu"):
            await plugin.register()


async def test_lim_3_a_dead_socket_delays_only_the_caller_by_the_dial_time(root_dir):
    """REG-12, CC-012, CC-015, LIM-3."""
    async with open_device_manager(root_dir, deadlines=Deadlines(dial=0.1)) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=2) as plugin:
            await honest(manager, plugin)
            with pytest.raises(RegistrationRefused, match="failed to dial device plugin: no connection to"):
                await plugin.register(endpoint="missing.sock")
            plugin.set_health("dev-0", "Unhealthy")
            await manager.wait_for_resource(GPU, capacity=2, allocatable=1)
        await manager.wait_for_resource(GPU, capacity=2, allocatable=0)  # its end is still noticed


async def test_options_that_fail_are_the_answer_to_register(manager, open_plugin):
    """CC-016, REG-8."""
    async with open_plugin() as plugin:

        async def fail():
            raise RpcFailed("no options today")

        plugin.on_options = fail
        with pytest.raises(
            RegistrationRefused,
            match="failed to get device plugin options: rpc error: code = Unknown desc = no options today",
        ):
            await plugin.register()
        assert [name for name, _ in plugin.calls] == ["GetDevicePluginOptions"]
        assert manager.capacity() == {}


async def test_lim_1_a_plugin_that_never_answers_options_is_refused_after_the_deadline(root_dir):
    """API-9, LIM-1."""
    async with open_device_manager(root_dir, deadlines=Deadlines(options=0.1)) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=2) as plugin:
            plugin.on_options = trio.sleep_forever
            with pytest.raises(RegistrationRefused, match=r"GetDevicePluginOptions was not answered within 0.1 s"):
                await plugin.register()
            assert manager.capacity() == {}


@pytest.mark.parametrize("pre_start", [False, True])
@pytest.mark.parametrize("preferred", [False, True])
async def test_the_newest_registration_wins(manager, open_plugin, pre_start, preferred):
    """REG-10, REG-11, CC-007, CC-008, CC-009."""
    options = PluginOptions(pre_start_required=pre_start, get_preferred_allocation_available=preferred)
    async with open_plugin(devices=2, options=options) as first:
        await honest(manager, first)
        async with open_plugin(devices=2, options=options, endpoint="second.sock") as second:
            await honest(manager, second)
            async with open_plugin(devices=[Device(id="other")], options=options, endpoint="third.sock") as third:
                await third.register()
                await manager.wait_for_resource(GPU, capacity=1, allocatable=1)


async def test_lim_2_the_end_of_the_old_stream_does_not_harm_the_new_plugin(manager, open_plugin):
    """CC-011, LIM-2, LIM-4: a rolling update."""
    async with open_plugin(devices=2) as old:
        await honest(manager, old)
        async with open_plugin(devices=2, endpoint="new.sock") as new:
            await honest(manager, new)
            old.set_devices([])
            old.end_stream()
            new.set_devices([*new.devices, Device(id="one-more")])
            counts = await manager.wait_for_resource(GPU, capacity=3, allocatable=3)
            assert counts.endpoint == "serving"
            stopped = [r.event for r in manager.events() if type(r.event).__name__ == "EndpointStopped"]
            assert stopped == []


async def test_a_plugin_that_registers_again_gets_its_new_stream_when_the_old_one_has_ended(manager, open_plugin):
    """REG-10, LIM-2: it may have one queue for all readers, or refuse a second one."""
    async with open_plugin(devices=2) as plugin:
        plain, streams = plugin.next_report, []

        async def next_report(seen):
            if seen < 0:
                streams.append("begins")
            try:
                return await plain(seen)
            except trio.Cancelled:
                streams.append("ends")
                raise

        plugin.next_report = next_report
        for _ in range(3):
            await honest(manager, plugin)
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert streams == ["begins", "ends", "begins", "ends", "begins"]


async def test_a_stream_that_ends_keeps_capacity(manager, open_plugin):
    """LW-1, CC-019, CC-020, LW-8."""
    async with open_plugin(devices=2) as plugin:
        await honest(manager, plugin)
        plugin.end_stream()
        counts = await manager.wait_for_resource(GPU, capacity=2, allocatable=0)
        assert counts.endpoint == "stopped"
        assert [name for name, _ in plugin.calls].count("ListAndWatch") == 1


async def test_a_stream_that_ends_before_any_list_is_published_as_zero(manager, open_plugin):
    """CC-018, LW-9."""
    async with open_plugin(devices=2) as plugin:
        register = plugin.register

        async def ending(seen):
            return None

        plugin.next_report = ending
        await register()
        counts = await manager.wait_for_resource(GPU, capacity=0, allocatable=0)
        assert counts.endpoint == "stopped"


async def test_lim_16_an_invalid_list_is_corrected_and_reported(manager, open_plugin):
    """LIM-16, LW-5."""
    entries = [Device(id="a"), Device(id="a", health="Unhealthy"), Device(id=""), Device(id="b"), Device(id="b")]
    async with open_plugin(devices=entries) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, capacity=2, allocatable=1)
        problems = {r.event.problem: r.event.count for r in manager.events() if hasattr(r.event, "problem")}
        assert problems == {"empty device id: left out": 1, "duplicate device id: counted once": 2}


async def test_lim_38_a_list_over_the_size_limit_ends_the_stream(root_dir):
    """API-8, LIM-38: as in the kubelet, but with a limit that can be raised."""
    async with open_device_manager(root_dir, peer_limits=PeerLimits(message_size=1000)) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=2) as plugin:
            await honest(manager, plugin)
            plugin.set_devices([Device(id=f"dev-{n}") for n in range(200)])
            await manager.wait_for_resource(GPU, capacity=2, allocatable=0)
            stopped = next(r.event for r in manager.events() if type(r.event).__name__ == "EndpointStopped")
            assert "is larger than the limit of 1000" in stopped.reason


async def test_lim_36_a_deleted_registration_socket_is_created_again(manager, open_plugin):
    """LIM-36."""
    manager.layout.registration_socket.unlink()
    async with open_plugin(devices=2) as plugin:
        with pytest.raises(ManagerUnavailable):
            await plugin.register()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(plugin.keep_registered)
            await manager.wait_for_resource(GPU, allocatable=2)
            nursery.cancel_scope.cancel()


def the_root_is_moved_away_and_created_again(layout):
    layout.root.rename(f"{layout.root}.away")
    yield
    layout.root.mkdir()
    layout.plugins.mkdir()


def a_link_takes_its_place_and_is_removed(layout):
    layout.registration_socket.unlink()
    layout.registration_socket.symlink_to("/etc/hostname")
    yield
    layout.registration_socket.unlink()


def the_directory_is_moved_away(layout):
    layout.plugins.rename(layout.root / "away")
    yield


@pytest.mark.parametrize(
    "loses",
    [the_root_is_moved_away_and_created_again, a_link_takes_its_place_and_is_removed, the_directory_is_moved_away],
)
async def test_lim_36_a_registration_socket_that_is_lost_in_any_way_is_created_again(manager, loses):
    for _ in loses(manager.layout):
        await trio.testing.wait_all_tasks_blocked(0.01)
    with trio.fail_after(60):
        while not any(isinstance(one.event, SocketRestored) for one in manager.events()):
            await manager.events_after(manager.events()[-1].sequence, wait=True)
    assert manager.layout.registration_socket.is_socket()
    shutil.rmtree(f"{manager.layout.root}.away", ignore_errors=True)


async def test_five_hundred_plugins_leave_nothing_behind(manager, open_plugin):
    """Register, stream, cancel, close: no task and no descriptor is left."""

    async def cycle():
        async with open_plugin(devices=2) as plugin:
            await honest(manager, plugin)
        await manager.wait_for_resource(GPU, allocatable=0)

    def footprint():
        return len(os.listdir("/proc/self/fd")), trio.lowlevel.current_statistics().tasks_living

    for _ in range(5):
        await cycle()
    await trio.testing.wait_all_tasks_blocked(0.05)
    before = footprint()
    for _ in range(500):
        await cycle()
    await trio.testing.wait_all_tasks_blocked(0.05)
    grown = [now - was for now, was in zip(footprint(), before, strict=True)]
    assert max(grown) < 10, "a write to disk that is under way takes a task and a file more or less; a leak takes 500"


async def test_a_peer_that_hangs_up_ends_only_its_own_call(manager, open_plugin):
    """A cancelled stream is cancelled on the serving side too, and nothing else is."""
    async with open_plugin(devices=2) as plugin:
        await honest(manager, plugin)
        await honest(manager, plugin)  # the first stream is cancelled by the manager
        plugin.set_health("dev-0", "Unhealthy")
        await manager.wait_for_resource(GPU, allocatable=1)
        assert not [r for r in manager.events() if type(r.event).__name__ == "EndpointStopped"]


async def test_lim_28_a_failed_registration_closes_its_connection(manager, open_plugin):
    """LIM-28."""
    async with open_plugin() as plugin:

        async def fail():
            raise RpcFailed("no options today")

        plugin.on_options = fail

        async def descriptors_after(times):
            for _ in range(times):
                with pytest.raises(RegistrationRefused):
                    await plugin.register()
            await trio.testing.wait_all_tasks_blocked(0.05)
            return len(os.listdir("/proc/self/fd"))

        before = await descriptors_after(2)
        assert await descriptors_after(20) <= before


async def test_a_replaced_plugin_may_still_answer_calls_in_flight(manager, open_plugin):
    """A rolling update during an Allocate call: as in the kubelet, the call is finished."""
    async with open_plugin(GPU, devices=2, endpoint="old.sock") as old, open_plugin(GPU, devices=2) as new:
        await old.register()
        await manager.wait_for_resource(GPU, allocatable=2)
        released, plain = trio.Event(), old.on_allocate

        async def allocate(ids):
            await released.wait()
            return await plain(ids)

        old.on_allocate = allocate
        answers = []

        async def admit():
            pod = Pod(name="p", uid="p", containers=(Container(name="main", limits={GPU: 1}),))
            answers.append(await manager.admit(pod))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(admit)
            while "Allocate" not in dict(old.calls):
                await trio.testing.wait_all_tasks_blocked()
            await new.register()
            new.set_devices(new.devices)
            while "ListAndWatch" not in dict(new.calls):
                await trio.testing.wait_all_tasks_blocked()
            released.set()
        assert answers[0].admitted
        assert manager.capacity()[GPU].endpoint == "serving"
