"""Programs that are not Trio's: what they try says what it needs, and the portal is the way in."""

from __future__ import annotations

import asyncio
import inspect
import threading

import pytest
import trio

from devicemgr import Container, ManagerClosed, NeedsTrio, Pod, open_device_manager, open_portal
from devicemgr.daemon.faults.actions import Faults
from devicemgr.daemon.manager import DeviceManager
from devicemgr.daemon.pods.pod_resources import PodResources
from devicemgr.daemon.threads.blocking import BlockingFaults, BlockingManager, BlockingPodResources
from devicemgr.errors import BadInput, DirectoryInUse, ResourceWaitTimeout
from devicemgr.testing import (
    open_plugin_process,
    open_registered_plugin,
    open_scripted_plugin,
    open_simulated_plugin,
    parse_scripts,
)
from devicemgr.testing.conformance import Command, open_bench

GPU = "vendor.com/gpu"
POD = Pod(name="p", uid="p", containers=(Container(name="c", limits={GPU: 1}),))
(SCRIPT,) = parse_scripts(f"resource: {GPU}\n", file="script")
ONLY_IN_THE_PROGRAM = {
    "admit_if",
    "log",
    "enter",
    "close",
    "watcher",
    "gauges",
    "events_of_incarnation",
    "pods_in_turns",
    "pod_in_turns",
    "wait_for_reports",
    "overview_steps",
    "watch_task_tree",
}

OPENERS = {
    "open_device_manager": lambda root, manager: open_device_manager(root / "other"),
    "open_simulated_plugin": lambda root, manager: open_simulated_plugin(root, GPU),
    "open_registered_plugin": lambda root, manager: open_registered_plugin(manager, GPU),
    "open_scripted_plugin": lambda root, manager: open_scripted_plugin(root, SCRIPT),
    "open_plugin_process": lambda root, manager: open_plugin_process(manager, ["true"], GPU),
    "open_bench": lambda root, manager: open_bench(Command(["true"]), root_dir=root / "other"),
}


@pytest.fixture
def portal():
    with open_portal() as opened:
        yield opened


@pytest.fixture
def blocking(portal, root_dir):
    """A manager in a portal, with two devices."""
    with portal.manager(open_device_manager(root_dir)) as manager:
        with portal.enter(open_registered_plugin(manager._target, GPU, devices=2)):
            yield manager


def on_asyncio(coroutine):
    """As ``asyncio.run``, whatever loop trio_asyncio has made the usual one when some other test imported it."""
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(coroutine)


async def entered(opened):
    async with opened:
        raise AssertionError("it was opened")


@pytest.mark.parametrize("name", OPENERS)
def test_on_asyncio_every_opener_says_what_it_needs_and_names_the_way(blocking, root_dir, name):
    with pytest.raises(NeedsTrio, match=rf"{name} needs Trio.*open_portal\(\)"):
        on_asyncio(entered(OPENERS[name](root_dir, blocking._target)))
    assert not (root_dir / "other").exists()


def test_without_any_loop_too(root_dir):
    with pytest.raises(NeedsTrio):
        open_device_manager(root_dir).__aenter__().send(None)


@pytest.mark.parametrize("ask", [lambda m: m.admit(POD), lambda m: m.faults.restart(), lambda m: m.flush()])
def test_on_asyncio_every_method_of_a_manager_says_so_too(blocking, ask):
    with pytest.raises(NeedsTrio):
        on_asyncio(ask(blocking._target))


def test_a_plain_program_admits_and_removes(blocking):
    assert blocking.admit(POD).containers[0].devices == {GPU: ("dev-0",)}
    assert [pod.name for pod in blocking.pods()] == ["p"]
    assert [pod.name for pod in blocking.pod_resources.list_pods()] == ["p"]
    blocking.faults.restart()
    assert blocking.remove("default", "p")
    with pytest.raises(ResourceWaitTimeout):
        blocking.wait_for_resource("vendor.com/nic", timeout=0.01)


def test_a_program_on_asyncio_admits_while_its_loop_goes_on(portal, blocking):
    async def main():
        future = portal.submit(blocking._target.wait_for_resource, "vendor.com/nic", timeout=1000)
        waiting = asyncio.ensure_future(asyncio.wrap_future(future))
        admission = await asyncio.to_thread(blocking.admit, POD)
        assert not waiting.done()
        waiting.cancel()
        return admission

    assert on_asyncio(main()).admitted


def test_what_is_cancelled_outside_is_broken_off_inside(portal):
    began, ended = threading.Event(), threading.Event()

    async def wait():
        try:
            began.set()
            await trio.sleep_forever()
        finally:
            ended.set()

    future = portal.submit(wait)
    assert began.wait(10)
    assert future.cancel()
    assert ended.wait(10)
    assert portal.call(lambda: 1) == 1, "and the program goes on"


def test_leaving_the_portal_breaks_off_what_still_runs():
    began = threading.Event()

    async def wait():
        began.set()
        await trio.sleep_forever()

    with open_portal() as portal:
        future = portal.submit(wait)
        assert began.wait(10)
    for late in (future, portal.submit(lambda: 1)):
        with pytest.raises(ManagerClosed, match="portal is closed"):
            late.result(timeout=10)


def test_a_manager_that_was_left_says_so_in_the_portal_and_after_it(root_dir):
    with open_portal() as portal:
        with portal.manager(open_device_manager(root_dir)) as manager:
            pass
        with pytest.raises(ManagerClosed):
            manager.admit(POD)
    with pytest.raises(ManagerClosed):
        manager.capacity()


def test_an_error_of_opening_comes_out_as_it_is(portal, blocking):
    with pytest.raises(DirectoryInUse), portal.manager(open_device_manager(blocking.layout.root)):
        pass


def test_a_bug_ends_the_program_and_everybody_gets_it(root_dir):
    with pytest.raises(ZeroDivisionError), open_portal() as portal:
        with portal.manager(open_device_manager(root_dir, sinks=[lambda recorded: 1 / 0])):
            pass


def test_the_program_cannot_wait_for_itself(portal):
    with pytest.raises(RuntimeError, match="own thread"):
        portal.call(lambda: portal.call(lambda: 1))


def test_time_is_the_real_one_unless_a_mock_clock_is_used(root_dir):
    for use_mock_clock in (False, True):
        with open_portal(use_mock_clock=use_mock_clock) as portal:
            with portal.manager(open_device_manager(root_dir)) as manager:
                if use_mock_clock:
                    manager.faults.advance_clock(1)
                else:
                    with pytest.raises(BadInput):
                        manager.faults.advance_clock(1)


@pytest.mark.parametrize(
    ("facade", "original"),
    [(BlockingManager, DeviceManager), (BlockingFaults, Faults), (BlockingPodResources, PodResources)],
)
def test_the_facade_has_every_method_with_the_same_arguments_and_results(facade, original):
    def public(kind):
        return {name: value for name, value in vars(kind).items() if not name.startswith("_")}

    assert public(facade).keys() == public(original).keys() - ONLY_IN_THE_PROGRAM
    for name, method in public(facade).items():
        if not isinstance(method, property):
            assert inspect.signature(method) == inspect.signature(public(original)[name]), name
