"""The kubelet's limits around a restart, and what is done instead: LIM-8, 10, 25, 26, 30, 32, 34, 39."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import trio

from devicemgr import Container, ContainerKind, Pod, open_device_manager
from devicemgr.core.checkpoint.kubelet_format import FILE_NAME, parse_checkpoint, render
from devicemgr.core.checkpoint.own_section import parse_section
from devicemgr.daemon.checkpoint import durable_file
from devicemgr.daemon.checkpoint.durable_file import DurableFile
from devicemgr.errors import ContainerStartFailed
from devicemgr.events import (
    CheckpointFailed,
    CheckpointWritten,
    DevicesAllocated,
    FileSetAside,
    PodRemoved,
    PodWaiting,
    StateRestored,
)
from devicemgr.model import PluginOptions
from devicemgr.rpc.admin.client import connect_manager
from devicemgr.rpc.deviceplugin.service import DevicePluginService
from devicemgr.rpc.stubs import v1beta1 as wire
from devicemgr.testing import open_simulated_plugin
from tests.helpers import pod, render_section, until

GPU, NIC = "vendor.com/gpu", "vendor.com/nic"


def happened(manager, kind):
    return [recorded.event for recorded in manager.events() if isinstance(recorded.event, kind)]


def devices(manager):
    """By pod and container, what is held."""
    return {one.name: {c.name: c.devices.get(GPU, ()) for c in one.containers} for one in manager.pods()}


async def first_run(root_dir, *pods, count=4, options=PluginOptions(), end=None):  # noqa: B008 - frozen
    """A manager with a plug-in and these pods; then both are gone. Returns what the pods held."""
    async with open_device_manager(root_dir) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=count, options=options) as plugin:
            await plugin.register()
            await manager.wait_for_resource(GPU, allocatable=count)
            for one in pods:
                assert (await manager.admit(one)).admitted
            return devices(manager)


def as_a_kubelet_writes_it(root_dir):
    """The same checkpoint without the section that only we have."""
    path = root_dir / "device-plugins" / FILE_NAME
    path.write_text(render(parse_checkpoint(path.read_text())))


def checkpoint_of(root_dir):
    return parse_checkpoint((root_dir / "device-plugins" / FILE_NAME).read_text())


async def test_running_pods_keep_their_devices_while_plugins_are_away(root_dir):
    """CC-095. CC-101, CC-102, REG-18, REG-19, ALLOC-10."""
    held = await first_run(root_dir, pod("a"), pod("b", gpu=2))
    async with open_device_manager(root_dir) as manager:
        assert devices(manager) == held
        assert (manager.capacity()[GPU].capacity, manager.capacity()[GPU].allocated) == (0, 3)
        assert (await manager.admit(pod("a"))).containers[0].devices == {GPU: held["a"]["main"]}
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=4) as plugin:
            await plugin.register()
            await manager.wait_for_resource(GPU, allocatable=4)
            third = await manager.admit(pod("c"))
            assert not set(third.containers[0].devices[GPU]) & {
                id for c in held.values() for ids in c.values() for id in ids
            }
            assert [name for name, _ in plugin.calls].count("Allocate") == 1


async def test_a_pod_that_ended_while_nobody_looked_is_given_up(root_dir):
    """CC-107, GC-1: whoever knows the pods again says so, and the others' devices are free."""
    await first_run(root_dir, pod("a"), pod("b"))
    async with open_device_manager(root_dir) as manager:
        assert [one.name for one in await manager.retain(["b"])] == ["a"]
        assert list(devices(manager)) == ["b"]
        assert {entry.owner.pod_uid for entry in checkpoint_of(root_dir).entries} == {"b"}


async def test_many_pods_that_ended_are_given_up_in_one_write(root_dir):
    """One write for all: with one for each, 10,000 pods would outlast whoever asked."""
    async with open_device_manager(root_dir, node_resources={NIC: 1000}) as manager:
        for n in range(300):
            assert (await manager.admit(pod(f"p{n}", nic=1))).admitted
        written = len(happened(manager, CheckpointWritten))
        removed = await manager.retain(["p7"])
        assert [one.name for one in removed] == [f"p{n}" for n in range(300) if n != 7]
        assert len(happened(manager, CheckpointWritten)) <= written + 2
        await manager.faults.restart()
        assert [one.name for one in manager.pods()] == ["p7"]


async def test_a_resource_that_does_not_come_back_is_removed_after_the_grace_period(root_dir, autojump_clock):
    """REG-19, LW-11; its pods keep their record."""
    held = await first_run(root_dir, pod("a"))
    async with open_device_manager(root_dir) as manager:
        await trio.sleep(299)
        assert manager.capacity()[GPU].endpoint == "stopped"
        await trio.sleep(2)
        assert manager.capacity()[GPU].endpoint == "removed"
        assert devices(manager) == held


async def test_a_kubelets_checkpoint_is_taken_over_and_its_pods_go_by_uid(root_dir):
    """CKPT-2: files are interchangeable. The kubelet's has no names, and knows nothing of options."""
    await first_run(root_dir, pod("a", gpu=2), pod("b"))
    as_a_kubelet_writes_it(root_dir)
    async with open_device_manager(root_dir) as manager:
        assert [one.full_name for one in manager.pods()] == ["uid a", "uid b"]
        assert (await manager.admit(pod("a", gpu=2))).admitted  # now it has a name
        assert [one.full_name for one in manager.pods()] == ["default/a", "uid b"]
        assert await manager.remove("", "b")
        assert manager.capacity()[GPU].allocated == 2


@pytest.mark.parametrize("unhealthy", [0, 2])
async def test_a_resource_without_a_healthy_device_is_on_disk_too_and_known_after_a_restart(root_dir, unhealthy):
    """CKPT-4, REG-19: its list of healthy ids is empty, and its key is what counts. It is published as 0, and a pod
    that wants some hears that none is healthy, not that nobody knows of it."""
    async with open_device_manager(root_dir) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=unhealthy) as plugin:
            for n in range(unhealthy):
                plugin.set_health(f"dev-{n}", "Unhealthy")
            await plugin.register()
            await manager.wait_for_resource(GPU, capacity=unhealthy, allocatable=0)
            await manager.flush()
            assert checkpoint_of(root_dir).registered == {GPU: ()}
    async with open_device_manager(root_dir, restart_wait=0) as manager:
        assert (manager.capacity()[GPU].capacity, manager.capacity()[GPU].endpoint) == (0, "stopped")
        assert "no healthy devices present" in (await manager.admit(pod("a"))).message


async def test_running_pods_of_a_kubelet_fit_again_though_their_containers_share_devices(root_dir):
    """CAP-9, ALLOC-13: their init containers share some devices of each resource, and all devices of none."""
    specs = [(ContainerKind.INIT, {GPU: 2, NIC: 1}), (ContainerKind.MAIN, {GPU: 1, NIC: 2})]
    containers = tuple(Container(name=kind.value, kind=kind, limits=limits) for kind, limits in specs)
    pods = [Pod(name=name, uid=name, containers=containers) for name in ("a", "b")]
    for run in range(2):
        async with open_device_manager(root_dir) as manager:
            directory = manager.layout.plugins
            async with (
                open_simulated_plugin(directory, GPU, devices=4) as gpus,
                open_simulated_plugin(directory, NIC, devices=4) as nics,
            ):
                await gpus.register()
                await nics.register()
                await manager.wait_for_resource(GPU, allocatable=4)
                await manager.wait_for_resource(NIC, allocatable=4)
                if run:
                    third = Pod(name="c", uid="c", containers=(Container(name="c", limits={GPU: 1}),))
                    assert not (await manager.admit(third)).admitted
                for one in pods:
                    admission = await manager.admit(one)
                    assert admission.admitted, admission.message
        as_a_kubelet_writes_it(root_dir)


async def test_what_an_answer_says_in_fields_of_another_version_is_kept_on_disk(root_dir, monkeypatch):
    """CKPT-3: the plug-in's own bytes, so that a newer kubelet finds what it understands; also over our restarts."""
    raw = bytes(wire.ContainerAllocateResponse(envs={"A": "1"})) + b"\x7a\x03new" + b"\x0a\x02\x78\x05"

    async def allocate(self, message):
        answer = wire.AllocateResponse()
        answer._unknown_fields = b"\x0a" + bytes([len(raw)]) + raw
        return answer

    monkeypatch.setattr(DevicePluginService, "allocate", allocate)
    await first_run(root_dir, pod("a"))
    for _ in range(2):
        assert [entry.answer for entry in checkpoint_of(root_dir).entries] == [raw]
        async with open_device_manager(root_dir) as manager:
            (run,) = (await manager.admit(pod("a"))).containers
            assert run.options.envs["A"] == "1"
            await manager.admit(pod("b", gpu=0))  # something to write


# --- LIM-8, LIM-39 -------------------------------------------------------------------------------


async def test_lim_8_a_container_starts_from_its_stored_answer_when_the_plugin_is_gone_for_good(
    root_dir, autojump_clock
):
    """RUN-4, RUN-5: after the grace period the kubelet fails with RUN-E3 what worked a second before."""
    one = pod("a")
    await first_run(root_dir, one)
    async with open_device_manager(root_dir) as manager:
        await trio.sleep(400)
        assert manager.capacity()[GPU].endpoint == "removed"
        run = await manager.start_container(one, one.containers[0])
        assert (run.devices, dict(run.options.envs)) == ({GPU: ("dev-0",)}, {"GPU_DEVICES": "dev-0"})


async def test_lim_8_with_pre_start_the_error_says_what_is_missing(root_dir, autojump_clock):
    """RUN-E3: retryable, since the plug-in may return."""
    one = pod("a")
    await first_run(root_dir, one, options=PluginOptions(pre_start_required=True))
    async with open_device_manager(root_dir) as manager:
        await trio.sleep(400)
        with pytest.raises(ContainerStartFailed) as caught:
            await manager.start_container(one, one.containers[0])
        assert caught.value.rule == "RUN-E3"


async def test_lim_39_options_survive_a_restart(root_dir):
    """LW-10, RUN-1: the kubelet forgets them, and starts the container without its PreStartContainer call."""
    one = pod("a")
    await first_run(root_dir, one, options=PluginOptions(pre_start_required=True))
    async with open_device_manager(root_dir) as manager:
        with pytest.raises(ContainerStartFailed, match="has been stopped"):
            await manager.start_container(one, one.containers[0])
        async with open_simulated_plugin(
            manager.layout.plugins, GPU, devices=4, options=PluginOptions(pre_start_required=True)
        ) as plugin:
            await plugin.register()
            await manager.start_container(one, one.containers[0])
            assert ("PreStartContainer", ("dev-0",)) in plugin.calls


async def test_lim_39_options_that_nobody_kept_hold_the_start_until_the_plugin_is_back(root_dir):
    """A kubelet's checkpoint has no options."""
    one = pod("a")
    await first_run(root_dir, one)
    as_a_kubelet_writes_it(root_dir)
    async with open_device_manager(root_dir) as manager:
        await manager.admit(one, start=False)
        with pytest.raises(ContainerStartFailed) as caught:
            await manager.start_container(one, one.containers[0])
        assert caught.value.rule == "LIM-39"


# --- LIM-10 --------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b'{"Data":{},"Checksum":1}', b"[" * 100_000, b'{"Data": 3}'])
async def test_lim_10_a_corrupt_checkpoint_is_set_aside_and_the_one_before_it_used(root_dir, damage):
    """CC-099, CC-100. The kubelet starts empty, and hands the same devices out again."""
    held = await first_run(root_dir, pod("a"), pod("b"))
    path = root_dir / "device-plugins" / FILE_NAME
    path.write_bytes(damage)
    async with open_device_manager(root_dir) as manager:
        (event,) = happened(manager, FileSetAside)
        assert (event.moved_to, event.used) == (f"{path}.corrupt", f".{FILE_NAME}.previous")
        assert (root_dir / "device-plugins" / f"{FILE_NAME}.corrupt").read_bytes() == damage
        assert devices(manager) == held


async def test_lim_10_a_moment_after_the_last_change_damage_to_the_file_loses_nothing(root_dir, autojump_clock):
    """Neither comes a pod back that has ended, nor are devices of the newest one given away: the copy knows both."""
    path = root_dir / "device-plugins" / FILE_NAME
    async with open_device_manager(root_dir) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=4) as plugin:
            await plugin.register()
            await manager.wait_for_resource(GPU, allocatable=4)
            for name in ("a", "b", "c"):
                await manager.admit(pod(name))
            await manager.remove("default", "a")
            held = devices(manager)
            copy = path.with_name(f".{FILE_NAME}.previous")
            # The mock clock jumps while the writer's thread works.
            while copy.read_text() != path.read_text():  # noqa: ASYNC110
                await trio.sleep(0.2)
            written, doubled = path.read_text(), copy.read_text()
    path.write_text(written[:-20])  # as kill -9 at that moment would have left both
    copy.write_text(doubled)
    async with open_device_manager(root_dir) as manager:
        assert devices(manager) == held
        assert [one.name for one in manager.pods()] == ["b", "c"]


async def test_lim_10_when_no_generation_is_left_the_loss_is_told(root_dir):
    await first_run(root_dir, pod("a"))
    for path in (root_dir / "device-plugins").glob(f"*{FILE_NAME}*"):
        path.write_text("nonsense")
    async with open_device_manager(root_dir) as manager:
        told = happened(manager, FileSetAside)
        assert [(event.used, str(event.severity)) for event in told] == [("", "warning"), ("", "warning")]
        assert manager.pods() == []


# --- LIM-25, LIM-26 ------------------------------------------------------------------------------


async def test_lim_25_many_changes_are_few_writes_and_the_newest_is_the_last(root_dir, monkeypatch):
    """In the kubelet two writers can overtake each other, and the older state stays on disk."""
    save, gate, written = DurableFile.save, threading.Event(), []

    def slow_save(file, text):
        gate.wait(10)
        written.append(file.path.name)
        save(file, text)

    async with open_device_manager(root_dir) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=50) as plugin:
            await plugin.register()
            await manager.wait_for_resource(GPU, allocatable=50)
            await manager.flush()
            monkeypatch.setattr(DurableFile, "save", slow_save)
            async with trio.open_nursery() as nursery:
                for n in range(50):
                    nursery.start_soon(manager.admit, pod(f"p{n}"))
                await until(manager, lambda: len(happened(manager, DevicesAllocated)) == 50)
                assert not happened(manager, CheckpointFailed)
                gate.set()
            assert written.count(FILE_NAME) <= 3
            assert len(checkpoint_of(root_dir).entries) == 50


async def test_an_admission_is_answered_after_its_write(root_dir):
    """ALLOC-5i: whoever was told "admitted" is on disk."""
    async with open_device_manager(root_dir) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=3) as plugin:
            await plugin.register()
            await manager.wait_for_resource(GPU, allocatable=3)
            for n in range(3):
                assert (await manager.admit(pod(f"p{n}"))).admitted
                found = checkpoint_of(root_dir)
                assert {entry.owner.pod_uid for entry in found.entries} == {f"p{m}" for m in range(n + 1)}
                assert {one.uid for one in parse_section(found.section).pods} == {f"p{m}" for m in range(n + 1)}


async def test_lim_26_a_write_that_fails_refuses_the_pod_and_frees_its_devices(root_dir, monkeypatch):
    """ALLOC-E12: the kubelet refuses the pod, and leaves its devices taken."""
    async with open_device_manager(root_dir) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=2) as plugin:
            await plugin.register()
            await manager.wait_for_resource(GPU, allocatable=2)
            await manager.flush()
            with monkeypatch.context() as patch:
                patch.setattr(DurableFile, "save", no_space)
                refused = await manager.admit(pod("a", gpu=2))
                assert (refused.admitted, refused.reason) == (False, "UnexpectedAdmissionError")
                assert "failed to write checkpoint file" in refused.message
                assert "No space left" in refused.message
            assert manager.capacity()[GPU].available == 2
            assert (await manager.admit(pod("b", gpu=2))).admitted
            assert {entry.owner.pod_uid for entry in checkpoint_of(root_dir).entries} == {"b"}


def no_space(file, text):
    raise OSError(28, "No space left on device", str(file.path))


async def test_lim_26_a_write_that_fails_after_the_rename_is_made_up_for(root_dir, monkeypatch):
    """The pod was refused, so it is not on disk from then on, whatever kills us; and the file is written again."""

    def fail(directory):
        raise OSError(5, "Input/output error", str(directory))

    async with open_device_manager(root_dir) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=2) as plugin:
            await plugin.register()
            await manager.wait_for_resource(GPU, allocatable=2)
            await manager.admit(pod("a"))
            with monkeypatch.context() as patch:
                patch.setattr(durable_file, "_sync_directory", fail)
                assert not (await manager.admit(pod("b"))).admitted
            assert [entry.owner.pod_uid for entry in checkpoint_of(root_dir).entries] == ["a"]
            await manager.flush()
            assert [entry.owner.pod_uid for entry in checkpoint_of(root_dir).entries] == ["a"]


async def test_lim_26_after_a_write_that_failed_the_generation_before_is_left_alone(root_dir, monkeypatch, mock_clock):
    """Also by the last write of all: there is nothing good to be doubled. The clock stands still, or what is good would
    be doubled a second later."""
    previous = root_dir / "device-plugins" / f".{FILE_NAME}.previous"
    async with open_device_manager(root_dir) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=2) as plugin:
            await plugin.register()
            await manager.wait_for_resource(GPU, allocatable=2)
            await manager.admit(pod("a"))
            await manager.admit(pod("b"))
            before = previous.read_text()
            monkeypatch.setattr(DurableFile, "save", no_space)
            assert not (await manager.admit(pod("c"))).admitted
    assert previous.read_text() == before
    assert parse_checkpoint(before).entries[0].owner.pod_uid == "a"


async def test_lim_26_the_end_of_a_pod_and_of_a_plugin_are_on_disk(root_dir):
    """The kubelet writes neither down."""
    async with open_device_manager(root_dir) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=2) as plugin:
            await plugin.register()
            await manager.wait_for_resource(GPU, allocatable=2)
            await manager.admit(pod("a"))
            assert checkpoint_of(root_dir).registered == {GPU: ("dev-0", "dev-1")}
            assert await manager.remove("default", "a")
            assert checkpoint_of(root_dir).entries == ()
        await manager.wait_for_resource(GPU, allocatable=0)
        await manager.flush()
        assert checkpoint_of(root_dir).registered == {GPU: ()}


async def test_a_failed_write_is_made_up_for_without_being_asked(root_dir, monkeypatch, autojump_clock):
    trace = []
    async with open_device_manager(root_dir, sinks=[lambda recorded: trace.append(recorded.event)]) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=2) as plugin:
            with monkeypatch.context() as patch:
                patch.setattr(DurableFile, "save", no_space)
                await plugin.register()
                while not happened(manager, CheckpointFailed):
                    await manager.events_after(len(manager.events()), wait=True)
            trace.clear()
            # The mock clock jumps while the writer's thread works.
            while not any(isinstance(event, CheckpointWritten) for event in trace):  # noqa: ASYNC110
                await trio.sleep(0.5)
            assert (root_dir / "device-plugins" / FILE_NAME).exists()


async def test_a_refused_pod_is_told_why_also_where_the_path_is_no_text(root_dir, monkeypatch):
    """A directory's name may be any bytes; a text on the wire may not."""

    async with open_device_manager(root_dir / "\udcff") as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=2) as plugin:
            await plugin.register()
            await manager.wait_for_resource(GPU, allocatable=2)
            monkeypatch.setattr(DurableFile, "save", no_space)
            async with connect_manager(manager.layout.admin_socket) as client:
                admission = await client.admit(pod("a"))
    assert (admission.admitted, "/?/" in admission.message) == (False, True)


# --- LIM-30, LIM-32, LIM-34 ----------------------------------------------------------------------


async def test_lim_30_a_running_pod_is_not_refused_because_its_init_container_has_ended(root_dir):
    """ALLOC-6b, CC-103, CC-109: the kubelet looks at each container, and fails the pod for good."""
    kinds = ContainerKind.INIT, ContainerKind.MAIN
    one = pod("a", *(Container(name=kind.value, kind=kind, limits={GPU: 1}) for kind in kinds))
    held = await first_run(root_dir, one)
    async with open_device_manager(root_dir) as manager:
        admission = await manager.admit(one)
        assert admission.admitted
        assert devices(manager) == held


async def test_lim_32_a_new_pod_waits_for_a_plugin_that_is_expected_back(root_dir):
    """The kubelet fails it for good, a second before the plug-in is back."""
    await first_run(root_dir, pod("a"))
    async with open_device_manager(root_dir) as manager, trio.open_nursery() as nursery:
        answers = []

        async def admit():
            answers.append(await manager.admit(pod("b")))

        nursery.start_soon(admit)
        while not happened(manager, PodWaiting):
            await manager.events_after(len(manager.events()), wait=True)
        assert happened(manager, PodWaiting)[0].resources == (GPU,)
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=4) as plugin:
            await plugin.register()
            with trio.fail_after(60):
                while not answers:
                    await manager.events_after(len(manager.events()), wait=True)
            assert answers[0].admitted


async def test_lim_32_the_wait_is_bounded(root_dir, autojump_clock):
    """CC-108: then the pod is refused as in the kubelet."""
    await first_run(root_dir, pod("a"))
    async with open_device_manager(root_dir, restart_wait=20) as manager:
        started = trio.current_time()
        refused = await manager.admit(pod("b"))
        assert (refused.admitted, refused.reason) == (False, "UnexpectedAdmissionError")
        assert "no healthy devices present" in refused.message
        assert trio.current_time() - started == pytest.approx(20, abs=1)
        started = trio.current_time()
        assert not (await manager.admit(pod("c"))).admitted
        assert trio.current_time() - started < 1


async def test_after_a_reboot_pods_are_looked_at_anew(root_dir):
    """ALLOC-10: none of their containers runs, so a device that is gone refuses the pod and frees its record."""
    await first_run(root_dir, pod("a"), pod("b"))
    path = root_dir / "device-plugins" / FILE_NAME
    found = parse_checkpoint(path.read_text())
    path.write_text(
        render(found, section=render_section(replace(parse_section(found.section), boot_id="another boot")))
    )
    async with open_device_manager(root_dir, restart_wait=5) as manager:
        assert happened(manager, StateRestored)[0].rebooted
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=4) as plugin:
            plugin.set_health("dev-0", "Unhealthy")
            await plugin.register()
            await manager.wait_for_resource(GPU, allocatable=3)
            refused = await manager.admit(pod("a"))
            assert "previously allocated devices are no longer healthy" in refused.message
            assert [(one.uid, one.freed) for one in happened(manager, PodRemoved)] == [("a", {GPU: ("dev-0",)})]
            assert (await manager.admit(pod("b"))).admitted
            assert list(devices(manager)) == ["b"]
            assert "another boot" not in path.read_text()


async def test_a_crash_after_a_reboot_does_not_make_pods_run(root_dir):
    """What the first run after it wrote is of this boot; but at most of its pods nobody has looked yet."""
    await first_run(root_dir, pod("a"), pod("b"))
    path = root_dir / "device-plugins" / FILE_NAME
    found = parse_checkpoint(path.read_text())
    path.write_text(
        render(found, section=render_section(replace(parse_section(found.section), boot_id="another boot")))
    )
    async with open_device_manager(root_dir) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=4) as plugin:
            await plugin.register()
            await manager.wait_for_resource(GPU, allocatable=4)
            assert (await manager.admit(pod("b"))).admitted
            crashed = path.read_text()
    path.write_text(crashed)
    async with open_device_manager(root_dir) as manager:
        assert not happened(manager, StateRestored)[0].rebooted
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=4) as plugin:
            for device in ("dev-0", "dev-1"):
                plugin.set_health(device, "Unhealthy")
            await plugin.register()
            await manager.wait_for_resource(GPU, allocatable=2)
            assert "no longer healthy" in (await manager.admit(pod("a"))).message
            assert (await manager.admit(pod("b"))).admitted, "it runs"


async def test_an_admission_after_a_reboot_that_is_only_broken_off_costs_nothing(root_dir):
    """A caller that hangs up, or a manager that stops, has not refused anybody."""
    held = await first_run(root_dir, pod("a"))
    path = root_dir / "device-plugins" / FILE_NAME
    found = parse_checkpoint(path.read_text())
    state = replace(parse_section(found.section), boot_id="another boot")
    path.write_text(render(found, section=render_section(state)))
    async with open_device_manager(root_dir, restart_wait=60) as manager:
        with trio.move_on_after(0.05) as scope:
            await manager.admit(pod("a"))
        assert scope.cancelled_caught
        assert devices(manager) == held
        await manager.flush()
        assert [one.uid for one in parse_section(checkpoint_of(root_dir).section).pods] == ["a"]
        with trio.move_on_after(0.05) as scope:
            await manager.admit(pod("a"))
        assert scope.cancelled_caught, "the next admission looks at it as the first did"


async def test_lim_34_a_running_pod_may_be_looked_at_again_whatever_its_devices_health(manager, open_plugin):
    """The kubelet refuses an unrelated resize because a device is unhealthy at that moment."""
    async with open_plugin(GPU, devices=1) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=1)
        await manager.admit(pod("a"))
        plugin.set_health("dev-0", "Unhealthy")
        await manager.wait_for_resource(GPU, allocatable=0)
        again = await manager.admit(pod("a"))
        assert again.admitted
        assert again.containers[0].devices == {GPU: ("dev-0",)}


@pytest.mark.parametrize("fails", [False, True])
async def test_lim_14_a_missing_record_is_made_up_for_before_pre_start(root_dir, fails):
    """RUN-3 after RUN-2 cannot help a plug-in that wants PreStartContainer: the kubelet fails with RUN-E2."""
    one, options = pod("a"), PluginOptions(pre_start_required=True)
    await first_run(root_dir, one, options=options)
    path = root_dir / "device-plugins" / FILE_NAME
    found = parse_checkpoint(path.read_text())
    section = render_section(parse_section(found.section))
    path.write_text(render(replace(found, entries=()), section=section))  # the pod is known, and its devices are not
    async with open_device_manager(root_dir) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=4, options=options) as plugin:
            await plugin.register()
            await manager.wait_for_resource(GPU, allocatable=4)
            if fails:
                manager.faults.fail_calls("allocate", error="no more")
                with pytest.raises(ContainerStartFailed, match="no more"):
                    await manager.start_container(one, one.containers[0])
                return
            run = await manager.start_container(one, one.containers[0])
            assert run.devices == {GPU: ("dev-0",)}
            assert [name for name, _ in plugin.calls][-2:] == ["Allocate", "PreStartContainer"]
