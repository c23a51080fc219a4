"""The tree of the running tasks, task by task. The clock stands still and is moved by hand, so times are exact.

``pytest tests/daemon/task_tree --rewrite-traces`` writes ``tree.golden`` again; read the difference before you
commit it.
"""

from __future__ import annotations

import inspect
import os
import re
from pathlib import Path

import pytest
import trio
import trio.testing

from devicemgr import Deadlines, open_device_manager
from devicemgr.concurrency.task_descriptions import DESCRIPTIONS
from devicemgr.core.views.task_tree import NURSERIES, tree_from_json, tree_lines
from devicemgr.daemon import supervisor
from devicemgr.rpc.admin.client import connect_manager
from devicemgr.testing import open_simulated_plugin
from tests.helpers import FPGA, GPU, NIC, pod

GOLDEN = Path(__file__).with_name("tree.golden")


@pytest.fixture
def clock():
    return trio.testing.MockClock()


async def settled(manager):
    """Writes to disk run in a thread, and what waited for them goes on afterwards."""
    seen, shape = None, manager.task_tree().shape
    while seen != shape or any(node.waits_for == "the disk" for node in shape.walk()):
        await trio.testing.wait_all_tasks_blocked(0.01)
        await manager.flush()
        seen, shape = shape, manager.task_tree().shape


def stable(lines):
    """Without what depends on how long a write to disk took, and without our number."""
    lines = [
        re.sub(r"(checkpoint writer · .*), for .*", r"\1", line) for line in lines if "watch of the files" not in line
    ]
    return "".join(f"{line}\n" for line in lines).replace(f"process {os.getpid()}", "process PID")


async def hang(ids):
    await trio.sleep_forever()


async def test_every_task_under_its_nursery_with_what_it_waits_for(root_dir, clock, request):
    async with (
        open_device_manager(root_dir, deadlines=Deadlines(allocate=10.0)) as manager,
        open_simulated_plugin(manager.layout.plugins, GPU, devices=3) as gpu,
        open_simulated_plugin(manager.layout.plugins, NIC, devices=2) as nic,
        connect_manager(manager.layout.admin_socket) as client,
        trio.open_nursery() as nursery,
    ):
        gpu.on_allocate = nic.on_allocate = hang
        await gpu.register()
        await nic.register()
        async with open_simulated_plugin(manager.layout.plugins, FPGA, devices=1) as fpga:
            await fpga.register()
            await manager.wait_for_resource(FPGA, allocatable=1)
        await manager.wait_for_resource(FPGA, capacity=1, allocatable=0)
        await settled(manager)
        clock.jump(3.0)
        await settled(manager)
        nursery.start_soon(client.admit, pod("trainer"))
        nursery.start_soon(manager.admit, pod("embedded", gpu=1, nic=1))
        await settled(manager)
        clock.jump(1.2)
        await settled(manager)
        tree = manager.task_tree()
        nursery.cancel_scope.cancel()
    shown = stable(tree_lines(tree))
    if request.config.getoption("--rewrite-traces"):
        GOLDEN.write_text(shown)
    assert shown == GOLDEN.read_text()


async def test_the_nurseries_are_those_of_the_picture(manager):
    pictured = re.findall(r"└─ (\w+)", inspect.getdoc(supervisor))
    assert list(manager.task_tree().nurseries) == pictured == list(NURSERIES)
    await manager.faults.restart()
    assert list(manager.task_tree().nurseries) == pictured


async def test_a_registration_is_a_handler_and_a_reader(clock, manager, open_plugin, nursery):
    async with open_plugin() as plugin:
        asked = trio.Event()

        async def hang():
            asked.set()
            await trio.sleep_forever()

        plugin.on_options = hang
        nursery.start_soon(plugin.register)
        await asked.wait()
        nodes = {node.name: node for node in manager.task_tree().walk()}
        handler, reader = nodes[f"Register {GPU}"], nodes[f"{GPU} #1"]
        assert (handler.nursery, handler.waits_for) == ("handlers", "the endpoint to serve")
        assert (reader.nursery, reader.waits_for) == ("readers", f"GetDevicePluginOptions of {GPU}")
        assert (reader.state, reader.deadline) == ("connecting", reader.since + 10)
        nursery.cancel_scope.cancel()


async def test_an_id_is_that_of_one_task_for_as_long_as_it_lives(manager, open_plugin):
    async with open_plugin() as plugin:
        await plugin.register()
        before = {node.id: node.name for node in manager.task_tree().walk()}
        assert len(before) == len(list(manager.task_tree().walk()))
    await manager.wait_for_resource(GPU, allocatable=0)
    after = {node.id: node.name for node in manager.task_tree().walk()}
    assert all(before[id] == name for id, name in after.items() if id in before)
    assert f"{GPU} #1" in after.values()


async def test_a_tree_is_plain_data_and_back(manager, open_plugin):
    async with open_plugin() as plugin:
        await plugin.register()
        tree = manager.task_tree()
        assert tree_from_json(tree.as_json()) == tree


async def test_tasks_of_the_program_are_not_shown_and_its_calls_are(manager, nursery):
    async def a_task_of_the_program():
        await manager.wait_for_resource(GPU, allocatable=7, timeout=60)

    def names():
        return [node.name for node in manager.task_tree().walk()]

    before = names()
    nursery.start_soon(trio.sleep_forever)
    nursery.start_soon(a_task_of_the_program)
    await trio.testing.wait_all_tasks_blocked(0.01)
    assert [name for name in names() if name not in before] == [f"wait_for_resource {GPU}"]
    (call,) = [node for node in manager.task_tree().walk() if node.kind == "call"]
    assert (call.nursery, call.waits_for) == ("handlers", "a change of the devices")
    assert call.since is not None
    assert call.deadline == pytest.approx(call.since + 60, abs=1)


async def test_deadlines_and_cancellation_are_those_of_the_scopes(manager, open_plugin):
    """Trio's own name for the scopes of a task is private: if this fails after an upgrade of Trio, look at ``_scopes``
    in ``daemon/task_tree/running_tree.py``."""
    async with open_plugin(devices=1) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=1)
    assert not waiting_for_restored(manager)
    await manager.faults.restart()
    (guard,) = waiting_for_restored(manager)
    (scope,) = guard.scopes
    assert (scope.cancelled, scope.shield, guard.cancelled) == (False, False, False)
    assert scope.deadline == guard.deadline == pytest.approx(trio.current_time() + 300, abs=30)
    assert not manager.task_tree().root.scopes
    async with open_plugin(devices=1) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=1)
        await settled(manager)
        assert not waiting_for_restored(manager)


def waiting_for_restored(manager):
    """The task that waits for plug-ins of an earlier run; there is none if there are none."""
    return [node for node in manager.task_tree().walk() if node.name == "restored resources"]


async def test_no_task_is_shown_as_the_path_of_a_function(manager, open_plugin):
    async with (
        open_plugin() as plugin,
        connect_manager(manager.layout.admin_socket) as client,
        trio.open_nursery() as n,
    ):
        await plugin.register()
        n.start_soon(lambda: client.read_events(lambda event: None, follow=True))
        await trio.testing.wait_all_tasks_blocked(0.01)
        nodes = list(manager.task_tree().walk())
        assert [node.name for node in nodes if re.search(r"devicemgr\.|<", node.name)] == []
        assert [node for node in nodes if node.kind == "task" and not node.waits_for] == []
        assert "Events" in [node.name for node in nodes]
        n.cancel_scope.cancel()


async def test_the_text_of_others_is_short(manager, nursery):
    nursery.start_soon(manager.wait_for_resource, "d." * 120 + "com/gpu")
    await trio.testing.wait_all_tasks_blocked(0.01)
    (call,) = [node for node in manager.task_tree().walk() if node.kind == "call"]
    assert len(call.name) == 200
    assert call.name.endswith("d.d…")


# --- the texts ---


@pytest.mark.parametrize("code", DESCRIPTIONS, ids=lambda code: code.co_qualname)
def test_a_text_speaks_of_its_functions_own_parameters(code):
    """They have a value whenever the function waits. What says since when may be made by the function."""
    description = DESCRIPTIONS[code]
    parameters = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    for text in (description.name, description.about, description.state, description.waits_for):
        assert {re.split(r"\W", field)[0] for field in re.findall(r"\{(.*?)\}", text)} <= set(parameters)
    assert not description.since or description.since.split(".")[0] in code.co_varnames
    assert not description.awaits or description.awaits in parameters
