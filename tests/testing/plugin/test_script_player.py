"""A scripted plug-in behaves as its file describes, with a real manager."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from devicemgr.model import DeviceSpec, Mount, RunOptions
from devicemgr.testing.plugin.script import parse_scripts
from devicemgr.testing.plugin.script_player import ScriptedCrash, ScriptedPlugin, fill_template, open_scripted_plugin
from devicemgr.testing.plugin.simulated import SimulatedPlugin
from tests.helpers import pod

GPU = "vendor.com/gpu"
HEAD = "resource: vendor.com/gpu\ndevices: [{count: 4, numa: [0, 1]}]\n"


@pytest.fixture
async def scripted(manager):
    """``async with scripted(text) as plugin:`` a plug-in that is registered and whose list has arrived."""

    @asynccontextmanager
    async def open_one(text):
        (script,) = parse_scripts(HEAD + text, file="s.yaml")
        async with open_scripted_plugin(manager.layout.plugins, script) as plugin:
            await plugin.plugin.register()
            await manager.wait_for_resource(GPU, capacity=4)
            yield plugin

    return open_one


async def verdicts(manager, *names, count=1):
    """For each pod its devices, or why it was not admitted."""
    answers = [await manager.admit(pod(name, gpu=count)) for name in names]
    return [sorted(a.containers[0].devices[GPU]) if a.admitted else a.message for a in answers]


async def test_a_rule_skips_some_calls_and_then_applies_to_some(manager, scripted):
    async with scripted("calls: [{call: Allocate, skip: 1, times: 1, error: on fire}]"):
        first, second, third = await verdicts(manager, "a", "b", "c")
    assert (first, third) == (["dev-0"], ["dev-1"])
    assert "on fire" in second


async def test_a_rule_may_be_for_some_devices_and_the_next_one_for_the_rest(manager, scripted):
    rules = "calls: [{call: Allocate, devices: [dev-1], error: dead}, {call: Allocate, answer: {envs: {IDS: '{ids}'}}}]"
    async with scripted(rules):
        first = await manager.admit(pod("a"))
        assert first.containers[0].options.envs == {"IDS": "dev-0"}
        assert "dead" in (await verdicts(manager, "b"))[0]


async def test_a_delay_and_no_answer_at_all(autojump_clock):
    """Without a manager: the clock would jump while the manager's thread writes to disk."""
    (script,) = parse_scripts(
        HEAD + "calls: [{call: Allocate, times: 1, delay: 30}, {call: Allocate, hang: true}]", file="s.yaml"
    )
    plugin = SimulatedPlugin(Path("nowhere"), GPU, script.devices, script.options, "x.sock")
    ScriptedPlugin(plugin, script)
    began = trio.current_time()
    await plugin.allocate(["dev-0"])
    assert trio.current_time() - began == pytest.approx(30)
    with trio.move_on_after(1e6) as scope:
        await plugin.allocate(["dev-0"])
    assert scope.cancelled_caught


async def test_preferred_by_strategy_and_by_rule(manager, scripted):
    async with scripted("preferred: last\ncalls: [{call: GetPreferredAllocation, times: 1, ids: [dev-2]}]"):
        assert await verdicts(manager, "a", "b") == [["dev-2"], ["dev-3"]]


async def test_prestart_fails_once_and_the_container_starts_at_the_second_try(manager, scripted):
    rules = "options: {preStartRequired: true}\ncalls: [{call: PreStartContainer, times: 1, error: reset failed}]"
    async with scripted(rules):
        answer = await manager.admit(pod("a"))
        assert answer.failed_container == "main"
        assert "reset failed" in answer.message
        assert (await manager.start_container(pod("a"), pod("a").containers[0])).devices == {GPU: ("dev-0",)}


async def test_the_schedule_in_time(manager, scripted, autojump_clock):
    steps = """\
repeat: 100
schedule:
- {at: 40, healthy: [dev-1], add: [{id: new}]}
- {at: 10, unhealthy: [dev-1], remove: [dev-0]}
- {at: 50, remove: [new], add: [{id: dev-0}]}
"""
    async with scripted(steps) as plugin, trio.open_nursery() as nursery:
        nursery.start_soon(plugin.play)
        began = trio.current_time()
        seen = []
        for at in (5, 15, 45, 55, 105, 115):
            await trio.sleep_until(began + at)
            seen.append("".join(("+" if d.is_healthy else "-") + d.id[-1] for d in plugin.plugin.devices))
        nursery.cancel_scope.cancel()
    assert seen == ["+0+1+2+3", "-1+2+3", "+1+2+3+w", "+1+2+3+0", "+1+2+3+0", "-1+2+3"]


async def test_signals_apply_their_steps_in_turn(manager, scripted):
    steps = "schedule: [{on: HUP, unhealthy: [dev-0]}, {on: USR1, health: {dev-3: Odd}}, {on: HUP, healthy: [dev-0]}]"
    async with scripted(steps) as plugin:
        assert await plugin.trigger("HUP")
        await manager.wait_for_resource(GPU, allocatable=3)
        assert await plugin.trigger("HUP")
        await manager.wait_for_resource(GPU, allocatable=4)
        assert await plugin.trigger("USR1")
        await manager.wait_for_resource(GPU, allocatable=3)
        assert not await plugin.trigger("USR2")


async def test_a_stream_that_ends_and_a_new_registration(manager, scripted):
    async with scripted("schedule: [{at: 0, endStream: true}, {on: HUP, register: true}]") as plugin:
        await plugin.play()
        await manager.wait_for_resource(GPU, allocatable=0)
        await plugin.trigger("HUP")
        await manager.wait_for_resource(GPU, allocatable=4)


async def test_a_registration_without_an_answer_is_ignored(manager, scripted):
    async with scripted("schedule: [{on: HUP, register: true}]") as plugin:
        manager.layout.registration_socket.unlink()
        assert await plugin.trigger("HUP")


async def test_a_crash_is_an_exception_for_the_program(scripted):
    async with scripted("schedule: [{at: 0, crash: true}]") as plugin:
        with pytest.raises(ScriptedCrash):
            await plugin.play()


def test_an_entry_with_id_in_it_is_repeated_per_device():
    template = RunOptions(
        envs={"ALL": "{ids}", "ONE_{id}": "yes"},
        annotations={"{id}": "x"},
        mounts=(Mount(container_path="/m/{id}", host_path="/h"), Mount(container_path="/lib", host_path="/lib")),
        device_specs=(DeviceSpec(container_path="/dev/x", host_path="/dev/{id}", permissions="r"),),
        cdi_devices=("a.com/b={id}", "a.com/b=all"),
    )
    assert fill_template(template, ["p", "q"]) == RunOptions(
        envs={"ALL": "p,q", "ONE_p": "yes", "ONE_q": "yes"},
        annotations={"p": "x", "q": "x"},
        mounts=(
            Mount(container_path="/m/p", host_path="/h"),
            Mount(container_path="/m/q", host_path="/h"),
            Mount(container_path="/lib", host_path="/lib"),
        ),
        device_specs=(
            DeviceSpec(container_path="/dev/x", host_path="/dev/p", permissions="r"),
            DeviceSpec(container_path="/dev/x", host_path="/dev/q", permissions="r"),
        ),
        cdi_devices=("a.com/b=p", "a.com/b=q", "a.com/b=all"),
    )
