"""The kubelet's limits with plug-ins that die, vanish, or are found by the watcher: LIM-4, 7, 9, 11, 20, 35, 37,
40, 41, 42, 43."""

from __future__ import annotations

import os
import socket
import tempfile
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
import trio
import trio.lowlevel
import trio.testing
from inotify_simple import flags

from devicemgr import Container, ContainerKind, Device, Pod, open_device_manager
from devicemgr.concurrency.steps import run_steps
from devicemgr.core.devices.endpoint import Endpoint
from devicemgr.core.devices.store import DeviceStore
from devicemgr.core.topology.hints import resource_hints
from devicemgr.core.topology.numa import Numa
from devicemgr.core.views.pod_status import pod_statuses
from devicemgr.daemon.plugins import watcher as plugin_watcher
from devicemgr.daemon.plugins.directory_watch import DirectoryWatch
from devicemgr.daemon.settings import Settings
from devicemgr.daemon.supervisor import run
from devicemgr.errors import ManagerUnavailable, RegistrationRefused, RpcFailed
from devicemgr.events import DeviceHealthChanged, EndpointStopped, PluginEnded, PluginRegistered, PluginSocketFailed
from devicemgr.model import Owner, PluginOptions, PodUid, RunOptions
from devicemgr.testing import open_simulated_plugin
from tests.helpers import apply_list, pod

GPU, NIC = "vendor.com/gpu", "vendor.com/nic"


def happened(manager, kind):
    return [recorded.event for recorded in manager.events() if isinstance(recorded.event, kind)]


async def wait_for(manager, condition):
    with trio.fail_after(10):
        while not condition():
            await manager.events_after(len(manager.events()), wait=True)


def found_plugin(manager, name="gpu.sock", *, directory="", **options):
    """A plug-in whose socket is in plugins_registry, so that it does not call Register."""
    place = manager.layout.plugins_registry / directory
    place.mkdir(parents=True, exist_ok=True)
    return open_simulated_plugin(place, GPU, endpoint=name, **options)


async def until_desired(manager, count):
    """There is no event to wait for."""
    with trio.fail_after(10):
        while len(manager.watcher.desired) > count:
            await trio.testing.wait_all_tasks_blocked(0.01)


# --- the plug-in watcher -------------------------------------------------------------------------------


async def test_a_socket_that_appears_registers_itself(manager):
    """CC-010, CC-026, CC-030, REG-14, REG-16: at any depth; the plug-in is notified."""
    async with found_plugin(manager, directory="a/b", devices=2) as plugin:
        await manager.wait_for_resource(GPU, allocatable=2)
        await wait_for(manager, lambda: ("NotifyRegistrationStatus", (True, "")) in plugin.calls)
        assert manager.watcher.registered == manager.watcher.desired == [plugin.directory / "gpu.sock"]
        assert (await manager.admit(pod(gpu=1))).admitted
    await manager.wait_for_resource(GPU, allocatable=0, capacity=2)  # CC-033
    await until_desired(manager, 0)


async def test_sockets_that_were_there_before_are_found(root_dir):
    """CC-029, CC-032."""
    (root_dir / "plugins_registry").mkdir()
    async with open_simulated_plugin(root_dir / "plugins_registry", GPU, devices=1):
        async with trio.open_nursery() as nursery:
            manager = await nursery.start(run, Settings(root_dir=root_dir), trio.Event())
            await manager.wait_for_resource(GPU, allocatable=1)
            nursery.cancel_scope.cancel()


async def test_the_newest_wins_for_discovered_plugins_too(manager):
    """CC-010, CC-027: one resource, several sockets, keyed by path."""
    async with found_plugin(manager, "one.sock", devices=2), found_plugin(manager, "two.sock", devices=2):
        await wait_for(manager, lambda: len(manager.watcher.registered) == 2)
        async with found_plugin(manager, "three.sock", devices=1):
            await manager.wait_for_resource(GPU, capacity=1, allocatable=1)
            assert len(manager.watcher.desired) == 3


async def test_a_recreated_socket_is_another_registration(manager):
    """CC-028, CC-034, REG-15."""
    for generation in (1, 2, 3):
        async with found_plugin(manager, devices=generation):
            await manager.wait_for_resource(GPU, allocatable=generation)
            assert len(manager.watcher.desired) == 1
    assert [event.generation for event in happened(manager, PluginRegistered)] == [1, 2, 3]


async def test_dot_files_and_other_files_are_ignored(manager):
    """CC-031, CC-039."""
    (manager.layout.plugins_registry / "notes.txt").write_text("x")
    async with found_plugin(manager, ".hidden.sock", devices=1), found_plugin(manager, "seen.sock", devices=2):
        await manager.wait_for_resource(GPU, allocatable=2)
        assert [path.name for path in manager.watcher.desired] == ["seen.sock"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"supported_versions": ("v1beta2",)}, "is not among plugin supported versions"),  # CC-038
        ({"name": "gpu"}, "invalid name of device plugin socket"),
        ({"type": "CSIPlugin"}, "no handler registered for plugin type 'CSIPlugin'"),  # CC-037
        ({"endpoint": "/etc/passwd"}, "it leads out of"),
        ({"endpoint": "relative.sock"}, "is not an absolute path"),
    ],
)
async def test_lim_35_a_refused_plugin_is_notified_of_the_reason(manager, changes, text):
    """REG-16. The kubelet's own helper turns every such answer into the wrong final error."""
    async with found_plugin(manager) as plugin:
        for key, value in changes.items():
            object.__setattr__(plugin.info, key, value)
        await wait_for(manager, lambda: "NotifyRegistrationStatus" in dict(plugin.calls))
        registered, error = dict(plugin.calls)["NotifyRegistrationStatus"]
        assert not registered
        assert text in error
        await wait_for(manager, lambda: happened(manager, PluginSocketFailed))
        event = happened(manager, PluginSocketFailed)[0]
        assert (text in event.problem, event.attempt, event.retry_after) == (True, 1, 0.5)


async def test_a_plugin_that_sees_the_root_directory_at_the_kubelets_path_is_found(manager):
    """In a container, or a private mount namespace, the root directory may have another path."""
    async with found_plugin(manager) as plugin:
        object.__setattr__(plugin.info, "endpoint", "/var/lib/kubelet/plugins_registry/gpu.sock")
        await manager.wait_for_resource(GPU, allocatable=1)
        (registered,) = happened(manager, PluginRegistered)
        assert registered.endpoint == str(manager.layout.plugins_registry / "gpu.sock")


async def test_lim_27_a_socket_outside_of_the_root_directory_is_not_called(manager):
    """LIM-27: a link to a socket is found, as the kubelet finds it, but leads out."""
    with tempfile.TemporaryDirectory(prefix="dm-") as outside:
        async with open_simulated_plugin(Path(outside), GPU, endpoint="x.sock") as plugin:
            (manager.layout.plugins_registry / "found.sock").symlink_to(plugin.directory / "x.sock")
            await wait_for(manager, lambda: happened(manager, PluginSocketFailed))
            assert "it leads out of" in happened(manager, PluginSocketFailed)[0].problem
            assert plugin.calls == []


async def test_a_refused_plugin_is_notified_of_the_reason_if_the_path_is_not_utf_8(root_dir):
    """A directory's name may be any bytes; a string in a message may not."""
    async with open_device_manager(root_dir / "\udcff") as manager, found_plugin(manager) as plugin:
        object.__setattr__(plugin.info, "endpoint", "/etc/passwd")
        await wait_for(manager, lambda: "NotifyRegistrationStatus" in dict(plugin.calls))
        registered, error = dict(plugin.calls)["NotifyRegistrationStatus"]
        assert not registered
        assert "it leads out of" in error


async def test_lim_35_after_a_number_of_attempts_a_socket_is_not_tried_again(manager, monkeypatch):
    """API-9, CC-037: with exponential backoff; the kubelet tries for ever."""
    monkeypatch.setattr(plugin_watcher, "MAX_ATTEMPTS", 3)
    monkeypatch.setattr(plugin_watcher, "INITIAL_BACKOFF", 0.01)
    async with found_plugin(manager) as plugin:
        object.__setattr__(plugin.info, "type", "nonsense")
        await wait_for(manager, lambda: len(happened(manager, PluginSocketFailed)) == 3)
        pauses = [event.retry_after for event in happened(manager, PluginSocketFailed)]
        assert pauses == [0.01, 0.02, None]


async def test_lim_35_a_lost_event_or_a_full_queue_loses_no_socket(tmp_path):
    """The kubelet only logs the overflow. Here any event causes a scan of the directory."""
    problems = []
    with DirectoryWatch(tmp_path, lambda *problem: problems.append(problem)) as watch:
        assert watch.scan() == {}
        deep = tmp_path / "a" / "b"
        deep.mkdir(parents=True)
        for n in range(3):
            os.mknod(deep / f"{n}.sock", 0o600 | 0o140000)
        watch._inotify.read(timeout=0)  # all events are lost except one for the overflow
        os.close(os.open(tmp_path / "x", os.O_CREAT))
        with trio.fail_after(60):
            await watch.wait_changed()
        assert sorted(path.name for path in watch.scan()) == ["0.sock", "1.sock", "2.sock"]
        assert not problems
    assert flags.Q_OVERFLOW  # the kernel always sends it, and it wakes wait_changed() too


@pytest.mark.parametrize(
    ("what", "error", "problem"),
    [
        (
            "INotify",
            OSError(24, "Too many open files"),
            "no instances left (the kernel says 'Too many open files'): raise sysctl fs.inotify.max_user_instances",
        ),
        (
            "INotify.add_watch",
            OSError(28, "No space left on device"),
            "no watches left (the kernel says 'No space left on device'): raise sysctl fs.inotify.max_user_watches",
        ),
        ("INotify.add_watch", OSError(5, "Input/output error"), "Input/output error"),
    ],
)
async def test_lim_35_without_events_from_the_kernel_the_directory_is_scanned_every_second(
    tmp_path, monkeypatch, autojump_clock, what, error, problem
):
    problems = []

    def not_told(*arguments, **more):
        raise error

    monkeypatch.setattr(f"devicemgr.daemon.plugins.directory_watch.{what}", not_told)
    with DirectoryWatch(tmp_path, lambda *problem: problems.append(problem)) as watch:
        watch.scan()
        started = trio.current_time()
        await watch.wait_changed()
        assert trio.current_time() - started == pytest.approx(1)
    assert problems[0] == (str(tmp_path), problem)


async def test_lim_35_a_recreated_directory_is_watched_again(tmp_path):
    """Also if it gets the inode number of the old one, as is usual."""
    root = tmp_path / "registry"
    root.mkdir()
    with DirectoryWatch(root, lambda *problem: None) as watch:
        for n in range(3):
            watch.scan()
            root.rmdir()
            root.mkdir()
            with trio.fail_after(60):
                await watch.wait_changed()
            watch.scan()
            os.mknod(root / f"{n}.sock", 0o600 | 0o140000)
            with trio.fail_after(60):
                await watch.wait_changed()
            assert [path.name for path in watch.scan()] == [f"{n}.sock"]
            (root / f"{n}.sock").unlink()


async def test_lim_35_a_directory_that_is_moved_away_is_not_watched_any_more(tmp_path):
    """plugins_registry is renamed and created again: sockets in the new one are found."""
    root = tmp_path / "registry"
    root.mkdir()
    with DirectoryWatch(root, lambda *problem: None) as watch:
        watch.scan()
        root.rename(tmp_path / "away")
        root.mkdir()
        with trio.fail_after(60):
            await watch.wait_changed()
        watch.scan()
        os.mknod(root / "new.sock", 0o600 | 0o140000)
        with trio.fail_after(60):
            await watch.wait_changed()
        assert [path.name for path in watch.scan()] == ["new.sock"]


async def test_lim_35_names_that_are_not_utf_8_and_deep_directories_are_ignored(tmp_path):
    problems = []
    deep = tmp_path
    for _ in range(30):
        deep = deep / "a"
        deep.mkdir()
    for name in (b"ok.sock", b"\xff.sock"):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.fsencode(tmp_path) + b"/" + name)
    with DirectoryWatch(tmp_path, lambda path, problem: problems.append(problem)) as watch:
        assert [path.name for path in watch.scan()] == ["ok.sock"]
    assert problems == ["more than 20 directories deep: not looked at"]
    with DirectoryWatch(tmp_path, lambda path, problem: problems.append(problem), max_sockets=0) as watch:
        assert watch.scan() == {}
    assert "more than 0 sockets: others are not seen" in problems


async def test_lim_35_links_in_a_circle_are_not_followed(tmp_path):
    (tmp_path / "circle").symlink_to(tmp_path, target_is_directory=True)
    os.mknod(tmp_path / "a.sock", 0o600 | 0o140000)
    with DirectoryWatch(tmp_path, print) as watch:
        assert [path.name for path in watch.scan()] == ["a.sock"]


async def test_lim_4_removing_the_socket_of_an_old_plugin_does_not_affect_the_new_one(manager):
    """CC-011, REG-16a: the kubelet deregisters by resource name, and takes the new plug-in down."""
    async with found_plugin(manager, "old.sock", devices=1):
        await manager.wait_for_resource(GPU, allocatable=1)
        async with found_plugin(manager, "new.sock", devices=2):
            await manager.wait_for_resource(GPU, allocatable=2)
            (manager.layout.plugins_registry / "old.sock").unlink()
            await until_desired(manager, 1)
            assert manager.capacity()[GPU].allocatable == 2
            assert not happened(manager, EndpointStopped)


async def test_lim_40_the_end_of_an_old_plugin_does_not_take_the_resource_from_the_newest(manager, open_plugin):
    """D37-2, RS-05: the kubelet goes on with any of the others, and with the options of that one."""
    async with AsyncExitStack() as stack:
        opened = [open_plugin(GPU, devices=n, endpoint=f"{n}.sock") for n in (1, 2, 3)]
        oldest, _, newest = plugins = [await stack.enter_async_context(one) for one in opened]
        for number, plugin in enumerate(plugins, 1):
            await plugin.register()
            await manager.wait_for_resource(GPU, allocatable=number)
        oldest.end_stream()
        await wait_for(manager, lambda: happened(manager, PluginEnded))
        assert manager.capacity()[GPU].standbys == ("2.sock",)
        assert await manager.admit(pod(gpu=3))
        assert "Allocate" in dict(newest.calls)
        newest.end_stream()
        await manager.wait_for_resource(GPU, capacity=2, allocatable=2)


async def test_lim_41_the_list_of_the_plugin_that_takes_over_counts_at_once(manager, open_plugin):
    """D37-3, RS-04: in the kubelet that of the one that has ended stays, and anybody's list replaces it."""
    async with open_plugin(GPU, devices=2, endpoint="old.sock") as old:
        await old.register()
        await manager.wait_for_resource(GPU, allocatable=2)
        async with open_plugin(GPU, devices=[Device(id="other")], endpoint="new.sock") as new:
            await new.register()
            await manager.wait_for_resource(GPU, capacity=1, allocatable=1)
            old.set_health("dev-0", "Unhealthy")
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert manager.capacity()[GPU].capacity == 1
        await manager.wait_for_resource(GPU, capacity=2, allocatable=1)
        assert (await manager.admit(pod(gpu=1))).containers[0].devices == {GPU: ("dev-1",)}
        assert not happened(manager, EndpointStopped)


async def test_lim_42_a_plugin_that_registers_again_is_still_watched(manager, open_plugin):
    """D37-4: the kubelet refuses it, does not notice its end any more, and refuses its socket from then on."""
    async with open_plugin(GPU, devices=2) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=2)
        await plugin.register()
        plugin.set_devices([*plugin.devices, Device(id="one-more")])
        await manager.wait_for_resource(GPU, allocatable=3)
    await manager.wait_for_resource(GPU, capacity=3, allocatable=0)
    async with open_plugin(GPU, devices=1) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, capacity=1, allocatable=1)


async def test_lim_43_a_plugin_whose_old_stream_ends_while_it_registers_is_still_watched(manager, open_plugin):
    """The kubelet removes the new registration from its table with the old one, although it accepts it."""
    async with open_plugin(GPU, devices=2) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=2)
        asked, may_answer = trio.Event(), trio.Event()

        async def slow_options():
            asked.set()
            await may_answer.wait()
            return PluginOptions()

        plugin.on_options = slow_options
        async with trio.open_nursery() as nursery:
            nursery.start_soon(plugin.register)
            await asked.wait()
            manager.faults.drop_connection(GPU)
            await manager.wait_for_resource(GPU, capacity=2, allocatable=0)
            may_answer.set()
        await manager.wait_for_resource(GPU, capacity=2, allocatable=2)
    await manager.wait_for_resource(GPU, capacity=2, allocatable=0)


# --- device health ---------------------------------------------------------------------------------


async def test_lim_7_devices_that_vanish_or_lose_their_plugin_are_unknown(manager, open_plugin):
    """LW-7, LW-12, CC-154, CC-156, RHS-2: the kubelet says Healthy, and sends no event."""
    async with open_plugin(GPU, devices=2) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=2)
        await manager.admit(pod(gpu=2))

        def health():
            return dict(manager.pods()[0].containers[0].health[GPU])

        assert health() == {"dev-0": "Healthy", "dev-1": "Healthy"}
        plugin.set_health("dev-0", "Unhealthy")
        await wait_for(manager, lambda: health() == {"dev-0": "Unhealthy", "dev-1": "Healthy"})
        plugin.set_devices(plugin.devices[:1])
        await wait_for(manager, lambda: health() == {"dev-0": "Unhealthy", "dev-1": "Unknown"})
    await wait_for(manager, lambda: health() == {"dev-0": "Unknown", "dev-1": "Unknown"})
    changed = [(event.device, event.health) for event in happened(manager, DeviceHealthChanged)]
    assert changed == [("dev-0", "Unhealthy"), ("dev-1", "Unknown"), ("dev-0", "Unknown")]


async def test_lim_7_init_containers_and_sidecars_have_a_status_too(manager, open_plugin):
    """RHS-1, CC-155, RHS-3: including a container that never ran."""
    async with open_plugin(GPU, devices=3) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=3)
        kinds = ("init", "sidecar", "main")
        containers = tuple(Container(name=k, kind=ContainerKind(k), limits={GPU: 1}) for k in kinds)
        await manager.admit(Pod(name="p", uid="p", containers=containers), start=False)
        (status,) = manager.pods()
        assert [(c.name, list(c.health[GPU].values())) for c in status.containers] == [(k, ["Healthy"]) for k in kinds]


def store_with(**resources):
    store = DeviceStore()
    for name, devices in resources.items():
        store.connect(Endpoint(resource=name, generation=1, socket="a.sock"))
        apply_list(store, name, 1, devices)
    return store


def hold(store, pod_name, resource, *ids):
    owner = Owner(PodUid(pod_name), "main")
    store.reserve(owner, resource, ids)
    store.commit(owner, resource, ids, RunOptions())


def test_lim_9_a_removed_resource_is_removed_everywhere():
    """The kubelet keeps the old list, and still makes hints from it."""
    store = store_with(r=[Device(id="d", numa_nodes=(1,))])
    hold(store, "p", "r", "d")
    store.stop_endpoint("r", 1, reason="gone", now=0)
    store.sweep(now=301)
    assert dict(store.devices("r")) == {}
    assert resource_hints(store, "r", 1, held=frozenset(), reusable=frozenset(), numa=Numa(nodes=(0, 1))) is None


def test_lim_11_equal_ids_of_two_resources_are_two_devices():
    """CC-164, CC-115, RHS-4: the kubelet looks for the owner by id alone, and finds one of several."""
    store = store_with(a=[Device(id="0")], b=[Device(id="0")])
    hold(store, "has-a", "a", "0")
    hold(store, "has-b", "b", "0")
    store.reserve(Owner(PodUid("has-b"), "second"), "b", ["0"])
    events = apply_list(store, "b", 1, [Device(id="0", health="Unhealthy")])
    notified = [(e.pod_uid, e.container) for e in events if isinstance(e, DeviceHealthChanged)]
    assert notified == [("has-b", "main"), ("has-b", "second")]


def test_lim_20_equal_states_give_equal_texts():
    """CC-151: resources and ids are sorted; the kubelet's order is random, and its patches meaningless."""
    store = store_with(z=[Device(id="d10"), Device(id="d2", health="Unhealthy")], a=[Device(id="x")])
    hold(store, "p", "z", "d10")
    hold(store, "p", "a", "x")
    store.record(
        Owner(PodUid("p"), "main"),
        "z",
        type(store.all_assignments()[0][2])(devices={"d10": None, "d2": None}, answer=RunOptions()),
    )
    store.add_pod(pod("p", gpu=1))
    (status,) = run_steps(pod_statuses(store))
    assert [(name, list(ids.items())) for name, ids in status.containers[0].health.items()] == [
        ("a", [("x", "Healthy")]),
        ("z", [("d2", "Unhealthy"), ("d10", "Healthy")]),
    ]


def test_lists_without_change_cause_no_health_events():
    """RHS-5, CC-152; CC-153: and no event is dropped, because there is no queue that could be full."""
    store = store_with(r=[Device(id="d")])
    hold(store, "p", "r", "d")
    events = [event for _ in range(200) for event in apply_list(store, "r", 1, [Device(id="d")])]
    assert not [event for event in events if isinstance(event, DeviceHealthChanged)]


# --- the end -----------------------------------------------------------------------------------------


async def test_lim_37_plugins_that_register_while_the_manager_stops_are_not_missed(root_dir):
    """REG-20, CC-003: in the kubelet a client that registers during Stop is never disconnected."""
    trace = []
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        stop, ended = trio.Event(), trio.Event()

        async def live(task_status):
            sinks = [lambda recorded: trace.append(recorded.event)]
            await run(Settings(root_dir=root_dir, sinks=sinks), stop, task_status=task_status)
            ended.set()

        manager = await nursery.start(live)

        async def register(plugin):
            with suppress(ManagerUnavailable, RegistrationRefused):
                await plugin.register()

        plugins = []
        for n in range(8):
            opened = open_simulated_plugin(manager.layout.plugins, f"vendor.com/r{n}", devices=1)
            plugins.append(await stack.enter_async_context(opened))
            nursery.start_soon(register, plugins[-1])
        while not any(isinstance(event, PluginRegistered) for event in trace):
            await manager.events_after(len(manager.events()), wait=True)
        stop.set()  # while they register
        with trio.fail_after(10):
            await ended.wait()  # every endpoint task is a child of a nursery that has ended
        count = len(trace)
        for plugin in plugins:
            plugin.set_devices([])
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert len(trace) == count
        nursery.cancel_scope.cancel()


async def test_a_failed_call_of_the_watcher_is_reported_in_the_kubelets_words(manager):
    """REG-16: which call it was, and grpc-go's ``rpc error: code = … desc = …``, for which people look."""

    def fail(*_):
        raise RpcFailed("the board is on fire")

    async with found_plugin(manager) as plugin:
        plugin.get_info = fail
        await wait_for(manager, lambda: happened(manager, PluginSocketFailed))
        problem = happened(manager, PluginSocketFailed)[0].problem
        assert problem.startswith("failed to get plugin info using RPC GetInfo at socket /")
        assert problem.endswith(", err: rpc error: code = Unknown desc = the board is on fire")
