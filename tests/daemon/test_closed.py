"""A manager that has ended says so, at once, whatever it is asked; between two incarnations it does not."""

from __future__ import annotations

import inspect

import pytest
import trio
import trio.testing

from devicemgr import Container, ManagerClosed, Pod, open_device_manager
from devicemgr.core.checkpoint.kubelet_format import FILE_NAME, parse_checkpoint
from devicemgr.core.devices.store import DeviceStore
from devicemgr.daemon.checkpoint.writer import CheckpointWriter, open_checkpoint_writer
from devicemgr.daemon.event_log import EventLog
from devicemgr.daemon.faults.actions import Faults
from devicemgr.daemon.layout import Layout, acquire_directories
from devicemgr.daemon.manager import DeviceManager
from devicemgr.errors import CheckpointUnwritable, RpcFailed
from devicemgr.model import Fault, Registration
from devicemgr.rpc.admin.client import ManagerClient
from devicemgr.rpc.calls import dial
from devicemgr.testing import open_registered_plugin, open_simulated_plugin
from tests.helpers import until

GPU = "vendor.com/gpu"
POD = Pod(name="p", uid="p", containers=(Container(name="c", limits={GPU: 1}),))

QUESTIONS = {
    "capacity": lambda m: m.capacity(),
    "pods": lambda m: m.pods(),
    "pods_in_turns": lambda m: m.pods_in_turns(),
    "pod_in_turns": lambda m: m.pod_in_turns("p"),
    "overview_steps": lambda m: m.overview_steps(),
    "node_status": lambda m: m.node_status(),
    "settings": lambda m: m.settings(),
    "explain": lambda m: m.explain("default", "p"),
    "events": lambda m: m.events(),
    "gauges": lambda m: m.gauges(),
    "pod_resources": lambda m: m.pod_resources,
    "watcher": lambda m: m.watcher,
    "acknowledge_reset": lambda m: m.acknowledge_reset(),
    "register": lambda m: m.register(Registration(version="v1beta1", endpoint="x.sock", resource=GPU)),
    "admit": lambda m: m.admit(POD),
    "admit_if": lambda m: m.admit_if(lambda: None, POD),
    "log": lambda m: m.log,
    "start_container": lambda m: m.start_container(POD, POD.containers[0]),
    "remove": lambda m: m.remove("default", "p"),
    "retain": lambda m: m.retain([]),
    "acknowledge_removed": lambda m: m.acknowledge_removed(GPU),
    "flush": lambda m: m.flush(),
    "wait_for_resource": lambda m: m.wait_for_resource(GPU),
    "wait_for_reports": lambda m: m.wait_for_reports(),
    "events_after": lambda m: m.events_after(10**6, wait=True),
    "task_tree": lambda m: m.task_tree(),
    "watch_task_tree": lambda m: m.watch_task_tree(),
    "events_of_incarnation": lambda m: m.events_of_incarnation(10**6, wait=True),
}
FAULTS = {
    "restart": lambda f: f.restart(),
    "wipe": lambda f: f.wipe(),
    "drop_connection": lambda f: f.drop_connection(GPU),
    "stop_reading": lambda f: f.stop_reading(GPU),
    "resume_reading": lambda f: f.resume_reading(GPU),
    "refuse_registrations": lambda f: f.refuse_registrations(),
    "accept_registrations": lambda f: f.accept_registrations(),
    "refuse_same_socket": lambda f: f.refuse_same_socket(),
    "accept_same_socket": lambda f: f.accept_same_socket(),
    "delay_calls": lambda f: f.delay_calls("allocate", 1.0),
    "fail_calls": lambda f: f.fail_calls("allocate"),
    "expire_grace": lambda f: f.expire_grace(),
    "corrupt_checkpoint": lambda f: f.corrupt_checkpoint(),
    "freeze_clock": lambda f: f.freeze_clock(),
    "resume_clock": lambda f: f.resume_clock(),
    "advance_clock": lambda f: f.advance_clock(1.0),
    "inject": lambda f: f.inject(Fault(name="nonsense")),
}
FOR_THE_SUPERVISOR = {"enter", "close"}


async def awaited(value):
    return await value if inspect.isawaitable(value) else value


def public(kind):
    return {name for name in vars(kind) if not name.startswith("_")}


@pytest.fixture
async def closed(root_dir):
    async with open_device_manager(root_dir) as manager, open_registered_plugin(manager, GPU):
        assert (await manager.admit(POD)).admitted
    return manager


def test_no_method_is_forgotten():
    assert public(DeviceManager) - FOR_THE_SUPERVISOR == set(QUESTIONS)
    assert public(Faults) == set(FAULTS)


@pytest.mark.parametrize("name", QUESTIONS)
async def test_every_method_of_a_manager_that_has_ended_says_so_at_once(closed, name):
    with trio.fail_after(60), pytest.raises(ManagerClosed):
        await awaited(QUESTIONS[name](closed))


@pytest.mark.parametrize("name", FAULTS)
async def test_every_fault_of_a_manager_that_has_ended_says_so_at_once(closed, name):
    with trio.fail_after(60), pytest.raises(ManagerClosed):
        await awaited(FAULTS[name](closed.faults))


@pytest.mark.parametrize("method", ["list_pods", "list_pods_v1alpha1", "allocatable"])
async def test_what_was_kept_of_a_manager_says_so_too(root_dir, method):
    async with open_device_manager(root_dir) as manager:
        kept = manager.pod_resources
    with pytest.raises(ManagerClosed):
        await getattr(kept, method)()


async def test_what_was_kept_of_a_manager_knows_its_next_incarnation(manager):
    kept = manager.pod_resources
    await manager.faults.restart()
    async with open_registered_plugin(manager, GPU):
        assert (await manager.admit(POD)).admitted
        assert [pod.name for pod in await kept.list_pods()] == ["p"]


async def test_a_wipe_through_a_manager_that_has_ended_leaves_the_next_one_alone(root_dir):
    async with open_device_manager(root_dir) as first:
        pass
    async with open_device_manager(root_dir) as second:
        with pytest.raises(ManagerClosed):
            first.faults.wipe()
        assert second.layout.registration_socket.is_socket()


class InFlight:
    """Calls of tasks that are not the manager's, and how they end."""

    def __init__(self, nursery):
        self._nursery = nursery
        self.ends = {}

    def start(self, name, call, *args):
        async def run():
            try:
                self.ends[name] = await call(*args)
            except ManagerClosed as error:
                self.ends[name] = type(error)

        self._nursery.start_soon(run)


async def test_calls_that_are_under_way_when_it_ends_end_with_it(root_dir):
    (root_dir / "device-plugins").mkdir()
    asked = trio.Event()

    async def hang(ids):
        asked.set()
        await trio.sleep_forever()

    async with open_simulated_plugin(root_dir / "device-plugins", GPU, devices=2) as plugin:
        plugin.on_allocate = hang
        with trio.fail_after(10):
            async with trio.open_nursery() as outer, open_device_manager(root_dir) as manager:
                calls = InFlight(outer)
                plugin.restore_socket()
                await plugin.register()
                await manager.wait_for_resource(GPU, allocatable=2)
                calls.start("admit", manager.admit, POD)
                await asked.wait()
                calls.start("remove", manager.remove, "default", "p")
                calls.start("its turn", manager.admit, POD)
                calls.start("wait", lambda: manager.wait_for_resource("vendor.com/nic", timeout=1e6))
                calls.start("events", lambda: manager.events_after(10**6, wait=True))
                await trio.testing.wait_all_tasks_blocked()
    assert calls.ends == {"remove": False} | dict.fromkeys(("admit", "its turn", "wait", "events"), ManagerClosed)


async def test_what_a_call_had_taken_when_it_was_broken_off_is_not_on_disk(root_dir, monkeypatch):
    """Its caller does not know that the pod was admitted, and would never remove it."""
    async with trio.open_nursery() as outer:
        calls = InFlight(outer)
        async with open_device_manager(root_dir) as manager, open_registered_plugin(manager, GPU):
            await manager.flush()

            async def never(self):
                await trio.sleep_forever()

            monkeypatch.setattr(CheckpointWriter, "flush", never)
            calls.start("admit", manager.admit, POD)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert [pod.name for pod in manager.pods()] == ["p"]
    assert calls.ends == {"admit": ManagerClosed}
    assert parse_checkpoint((root_dir / "device-plugins" / FILE_NAME).read_text()).entries == ()


async def test_a_follower_in_this_program_waits_through_a_restart_and_never_spins(root_dir):
    """Between two incarnations nothing happens; followers that returned again and again would block all other tasks."""
    seen = []
    async with trio.open_nursery() as outer:
        async with open_device_manager(root_dir) as manager:

            async def follow():
                sequence = 0
                with pytest.raises(ManagerClosed):
                    while True:
                        news = await manager.events_after(sequence, wait=True)
                        seen.extend(event["event"] for _, event in news)
                        sequence = news[-1][0]

            outer.start_soon(follow)
            await manager.faults.restart(delay=0.05)
    assert [name for name in seen if name.startswith("Manager")] == ["ManagerReady", "ManagerStopping"] * 2


async def test_a_restart_that_is_under_way_when_the_block_is_left(root_dir, autojump_clock):
    async with trio.open_nursery() as outer:
        calls = InFlight(outer)
        async with open_device_manager(root_dir) as manager:
            calls.start("restart", lambda: manager.faults.restart(delay=1e6))
            await until(manager, lambda: type(manager.events()[-1].event).__name__ == "ManagerStopping")
    assert calls.ends == {"restart": ManagerClosed}
    assert trio.current_time() < 1e5


async def test_between_two_lives_a_command_waits_for_the_next(root_dir, autojump_clock):
    """A change in the old incarnation would not be written to disk: the pod would be back."""
    async with trio.open_nursery() as outer:
        calls = InFlight(outer)
        async with open_device_manager(root_dir, restart_wait=0) as manager, open_registered_plugin(manager, GPU):
            assert (await manager.admit(POD)).admitted
            calls.start("restart", lambda: manager.faults.restart(delay=60.0))
            await until(manager, lambda: type(manager.events()[-1].event).__name__ == "ManagerStopping")
            await trio.sleep(30)
            assert await manager.remove("default", "p")
            assert [type(one.event).__name__ for one in manager.events()].count("ManagerReady") == 2
            assert manager.pods() == []
    assert calls.ends == {"restart": None}


async def test_a_flush_of_an_incarnation_that_has_ended_fails_instead_of_waiting_for_ever(root_dir):
    store, log = DeviceStore(), EventLog()
    with acquire_directories(Layout(root_dir)) as directories:
        async with open_checkpoint_writer(store, directories, log, boot_id="") as writer:
            pass
    store.add_pod(POD)
    with trio.fail_after(60), pytest.raises(CheckpointUnwritable, match="incarnation of the manager has ended"):
        await writer.flush()


async def test_a_bug_ends_the_block_with_itself_and_not_with_what_follows_from_it(root_dir):
    with pytest.raises(ZeroDivisionError):
        async with open_device_manager(root_dir) as manager:
            manager.capacity = lambda: 1 / 0

            async def ask():
                async with dial(manager.layout.admin_socket) as channel:
                    with pytest.raises(RpcFailed):
                        await ManagerClient(channel).status()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await manager.events_after(10**6, wait=True)


async def test_calls_of_others_end_when_a_bug_ends_the_manager(root_dir):
    async with trio.open_nursery() as outer:
        calls = InFlight(outer)
        with pytest.raises(ZeroDivisionError):
            async with open_device_manager(root_dir) as manager:
                calls.start("events", lambda: manager.events_after(10**6, wait=True))
                manager.capacity = lambda: 1 / 0
                async with dial(manager.layout.admin_socket) as channel:
                    with pytest.raises(RpcFailed):
                        await ManagerClient(channel).status()
                    await trio.sleep_forever()
    assert calls.ends == {"events": ManagerClosed}
