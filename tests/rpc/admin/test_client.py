"""The client of admin.sock, which the command line uses: very long answers, and no answer."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from devicemgr import Container, Device, ManagerUnavailable, Pod, RunOptions
from devicemgr.rpc.admin.client import connect_manager
from devicemgr.rpc.transport.unix_socket import listen
from devicemgr.testing import open_registered_plugin

RESOURCES = "a.com/x", "a.com/y"


async def test_a_status_may_be_longer_than_any_message_of_a_plugin(manager):
    """With two plug-ins that list as much as the default limits allow: 600 ids of 16,000 characters each."""

    async def answer_nothing(ids):
        return RunOptions()

    devices = [Device(id=f"{number:016000}") for number in range(600)]
    async with (
        open_registered_plugin(manager, RESOURCES[0], devices=devices) as x,
        open_registered_plugin(manager, RESOURCES[1], devices=devices) as y,
    ):
        x.on_allocate = y.on_allocate = answer_nothing
        for resource in RESOURCES:
            pod = Pod(name="p", uid=resource, containers=(Container(name="c", limits={resource: len(devices)}),))
            assert await manager.admit(pod)
        async with connect_manager(manager.layout.admin_socket) as client:
            _, pods, _ = await client.status()
    assert sum(len(id) for pod in pods for ids in pod.containers[0].devices.values() for id in ids) == 19_200_000


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.status(),
        lambda client: client.admit(Pod(name="p", uid="u", containers=())),
        lambda client: client.read_tree(print, watch=True),
        lambda client: client.read_events(print, follow=True),
        lambda client: client.ping(),
    ],
    ids=["status", "admit", "tree", "events", "ping"],
)
async def test_a_manager_that_hangs_is_not_one_that_hung_up(root_dir, autojump_clock, ask):
    """The kernel connects to it all the same."""
    problem = "does not answer: nothing was heard for 12 s"
    with listen(root_dir / "a.sock"), pytest.raises(ManagerUnavailable, match=problem):
        async with connect_manager(root_dir / "a.sock") as client:
            await ask(client)


async def test_who_follows_a_manager_in_which_nothing_happens_waits(manager, autojump_clock, nursery):
    async with connect_manager(manager.layout.admin_socket) as client:
        nursery.start_soon(partial(client.read_events, print, follow=True))
        await trio.sleep(1000)
        await client.ping()
        nursery.cancel_scope.cancel()
