"""The endpoint tasks run on the table of transitions: real plug-ins take each of its rows, and fail without it."""

from __future__ import annotations

from collections import UserDict
from contextlib import suppress

import pytest
from trio.testing import wait_all_tasks_blocked

from devicemgr import PeerLimits, open_device_manager
from devicemgr.core.devices import endpoint
from devicemgr.core.devices.endpoint import TRANSITIONS, IllegalTransition, State, Trigger
from devicemgr.errors import PluginUnavailable, RegistrationRefused
from devicemgr.testing import open_simulated_plugin

GPU = "vendor.com/gpu"


async def serves(manager, old, new):
    await old.register()
    await manager.wait_for_resource(GPU, allocatable=1)


async def fails(manager, old, new):
    async def fail():
        raise PluginUnavailable("no options today")

    old.on_options = fail
    with suppress(RegistrationRefused):
        await old.register()


async def registers_again(manager, old, new):
    await serves(manager, old, new)
    await old.register()
    await wait_all_tasks_blocked(0.01)


async def is_replaced(manager, old, new):
    await serves(manager, old, new)
    await new.register()
    await manager.wait_for_resource(GPU, allocatable=2)
    await wait_all_tasks_blocked(0.01)


async def serves_again(manager, old, new):
    await is_replaced(manager, old, new)
    new.end_stream()
    await manager.wait_for_resource(GPU, allocatable=1)


async def registers_again_when_it_stands_by(manager, old, new):
    await is_replaced(manager, old, new)
    await old.register()
    await manager.wait_for_resource(GPU, allocatable=1)
    await wait_all_tasks_blocked(0.01)


async def is_crowded_out(manager, old, new):
    await is_replaced(manager, old, new)
    async with open_simulated_plugin(manager.layout.plugins, GPU, devices=3, endpoint="third.sock") as third:
        await third.register()
        await manager.wait_for_resource(GPU, allocatable=3)
        await wait_all_tasks_blocked(0.01)


async def ends_when_it_stands_by(manager, old, new):
    await is_replaced(manager, old, new)
    old.end_stream()
    await wait_all_tasks_blocked(0.01)


async def stops(manager, old, new):
    await serves(manager, old, new)
    old.end_stream()
    await manager.wait_for_resource(GPU, allocatable=0)


async def is_replaced_when_stopped(manager, old, new):
    await stops(manager, old, new)
    await new.register()
    await manager.wait_for_resource(GPU, allocatable=2)


async def is_removed(manager, old, new):
    await stops(manager, old, new)
    await manager.wait_for_resource(GPU, capacity=0)


SCENARIOS = {
    (State.CONNECTING, Trigger.ANSWERED): serves,
    (State.CONNECTING, Trigger.FAILED): fails,
    (State.SERVING, Trigger.REPLACED): is_replaced,
    (State.SERVING, Trigger.REGISTERED_AGAIN): registers_again,
    (State.SERVING, Trigger.STREAM_ENDED): stops,
    (State.STANDBY, Trigger.PROMOTED): serves_again,
    (State.STANDBY, Trigger.REGISTERED_AGAIN): registers_again_when_it_stands_by,
    (State.STANDBY, Trigger.CROWDED_OUT): is_crowded_out,
    (State.STANDBY, Trigger.STREAM_ENDED): ends_when_it_stands_by,
    (State.DRAINING, Trigger.IDLE): registers_again,
    (State.STOPPED, Trigger.REPLACED): is_replaced_when_stopped,
    (State.STOPPED, Trigger.GRACE_PERIOD_OVER): is_removed,
}


def test_every_row_has_a_scenario():
    assert SCENARIOS.keys() == TRANSITIONS.keys()


async def play(scenario, root_dir):
    grace = 0.05 if scenario is is_removed else 300
    async with open_device_manager(root_dir, grace=grace, peer_limits=PeerLimits(standbys=1)) as manager:
        plugins = manager.layout.plugins
        async with (
            open_simulated_plugin(plugins, GPU, devices=1, endpoint="old.sock") as old,
            open_simulated_plugin(plugins, GPU, devices=2, endpoint="new.sock") as new,
        ):
            await scenario(manager, old, new)


class Taken(UserDict):
    """A table that records which of its rows were looked up."""

    def __init__(self, table):
        super().__init__(table)
        self.rows = []

    def __getitem__(self, row):
        self.rows.append(row)
        return super().__getitem__(row)


@pytest.mark.parametrize("row", SCENARIOS)
async def test_a_row_is_taken_by_real_plugins(root_dir, monkeypatch, row):
    """REG-10, REG-12, LW-8, LW-11."""
    taken = Taken(TRANSITIONS)
    monkeypatch.setattr(endpoint, "TRANSITIONS", taken)
    await play(SCENARIOS[row], root_dir)
    assert row in taken.rows


def errors_in(error):
    if isinstance(error, BaseExceptionGroup):
        return [one for inner in error.exceptions for one in errors_in(inner)]
    return [error]


@pytest.mark.parametrize("row", SCENARIOS)
async def test_without_the_row_the_same_plugins_cause_an_illegal_transition(root_dir, monkeypatch, row):
    monkeypatch.delitem(TRANSITIONS, row)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - in a group, with the errors that it caused
        await play(SCENARIOS[row], root_dir)
    missed = [str(error) for error in errors_in(caught.value) if isinstance(error, IllegalTransition)]
    assert missed, repr(caught.value)
    state, trigger = row
    assert f"{trigger.value!r} while {state.value}" in missed[0]
