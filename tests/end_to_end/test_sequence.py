"""``sequence`` on a running manager."""

from __future__ import annotations

import subprocess
import sys

import trio

from devicemgr import Container, Pod, open_device_manager
from devicemgr.testing import open_simulated_plugin
from tests.end_to_end.conftest import ROOT
from tests.helpers import GPU, pod

NOT_HERE = Pod(name="p", uid="p", containers=(Container(name="c", limits={"vendor.com/none": 1}),))
MANY = 5000
"""Refusals: more than what a pipe, two sockets and the log hold."""


def command(manager, *options):
    return [sys.executable, "-m", "devicemgr", "sequence", "--root-dir", str(manager.layout.root), *options]


async def run(manager, *options):
    done = await trio.run_process(command(manager, *options), capture_stdout=True, cwd=ROOT)
    return done.stdout.decode()


async def test_the_conversation_of_an_admission(manager, open_plugin):
    async with open_plugin(GPU, devices=2) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=2)
        assert await manager.admit(pod("a", gpu=1))
        said = (await run(manager)).splitlines()
    words = ["Register(", "GetDevicePluginOptions(", "ListAndWatch(", "list: 2 devices", "admit pod default/a"]
    words += ["Allocate(dev-0)", "admitted default/a", "container main of pod default/a starts"]
    found = [word for line in said for word in words if f"  {word}" in line]
    assert found == words
    assert (await run(manager, "-o", "mermaid")).startswith("sequenceDiagram\n")
    assert (await run(manager, "-o", "svg")).endswith("</svg>\n")


async def test_a_pod_that_an_earlier_run_admitted_has_its_name(root_dir):
    async def serve(manager):
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=1) as plugin:
            await plugin.register()
            await manager.wait_for_resource(GPU, allocatable=1)
            if not manager.pods():
                assert await manager.admit(pod("a", gpu=1))

    async with open_device_manager(root_dir) as manager:
        await serve(manager)
    async with open_device_manager(root_dir) as manager:
        await serve(manager)
        said = await run(manager)
    assert "  dev-0 of container main of pod default/a is Healthy [vendor.com/gpu]" in said
    assert "uid" not in said


async def test_a_follower_that_does_not_read_holds_nobody_up_and_is_told_what_it_missed(manager):
    process = await trio.lowlevel.open_process(command(manager, "--follow"), stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    try:
        seen = await process.stdout.receive_some()
        while b"the manager is ready" not in seen:
            seen += await process.stdout.receive_some()
        for number in range(MANY):
            with trio.fail_after(30):
                assert not await manager.admit(Pod(name=f"p{number}", uid="p", containers=NOT_HERE.containers))
        with trio.fail_after(60):
            while f"refused default/p{MANY - 1}:".encode() not in seen:
                seen += await process.stdout.receive_some()
        assert b"events are missing here" in seen
    finally:
        process.kill()
        await process.wait()
        await process.stdout.aclose()
