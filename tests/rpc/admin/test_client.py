"""The client of admin.sock, which the command line uses: very long answers, and no answer."""

from __future__ import annotations

import pytest

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


async def test_a_manager_that_does_not_answer_is_not_one_that_hung_up(root_dir, autojump_clock):
    with listen(root_dir / "a.sock"), pytest.raises(ManagerUnavailable, match="does not answer: no answer within 15 s"):
        async with connect_manager(root_dir / "a.sock") as client:
            await client.status()
