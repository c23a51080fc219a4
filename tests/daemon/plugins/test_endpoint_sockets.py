"""LIM-27 against somebody who is quick: which socket a plug-in is reached at, by whatever name, and that it has one
resource only."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from devicemgr import open_device_manager
from devicemgr.errors import RegistrationRefused, RpcFailed
from devicemgr.events import EndpointStopped
from devicemgr.model import Peer, Registration
from devicemgr.rpc.transport.server import CALLER
from devicemgr.testing import open_simulated_plugin
from tests.processes import HANGS

GPU, NIC = "vendor.com/gpu", "vendor.com/nic"


async def register(manager, endpoint, resource):
    """Call Register with any name for the socket."""
    await manager.register(Registration(version="v1beta1", endpoint=endpoint, resource=resource))


async def outcome(manager, endpoint, resource, outcomes):
    try:
        await register(manager, endpoint, resource)
        outcomes[resource] = "registered"
    except RegistrationRefused as refusal:
        outcomes[resource] = str(refusal)


async def test_lim_27_a_link_created_after_the_check_is_not_followed(manager, open_plugin, root_dir):
    """The socket is missing when the endpoint is checked. While the manager waits for it, a link is created."""
    outside = root_dir / "elsewhere"
    outside.mkdir()
    outcomes = {}
    async with open_simulated_plugin(outside, GPU, endpoint="x.sock") as plugin:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outcome, manager, "late.sock", GPU, outcomes)
            await wait_all_tasks_blocked()
            (manager.layout.plugins / "late.sock").symlink_to(outside / "x.sock")
        assert plugin.calls == []
    assert "late.sock: it is not a socket" in outcomes[GPU]


@pytest.mark.parametrize("alias", [os.symlink, os.link])
async def test_lim_27_a_socket_with_two_names_serves_one_resource(manager, open_plugin, alias):
    async with open_plugin(GPU, devices=4, endpoint="x.sock") as plugin:
        await plugin.register()
        alias(manager.layout.plugins / "x.sock", manager.layout.plugins / "alias.sock")
        os.utime(manager.layout.plugins / "x.sock", (1, 1))  # the owner can set its times
        with pytest.raises(RegistrationRefused, match=r"'alias.sock' is invalid: it already serves vendor.com/gpu"):
            await register(manager, "alias.sock", NIC)
        await register(manager, "alias.sock", GPU)  # for the same resource it is accepted
        await manager.wait_for_resource(GPU, allocatable=4)
        assert manager.capacity()[GPU].standbys == (), "it is the same plug-in"


async def test_lim_27_two_registrations_at_once_with_one_socket(manager, open_plugin):
    outcomes = {}
    async with open_plugin(GPU, devices=4, endpoint="x.sock") as plugin:
        asked, answer = trio.Event(), trio.Event()

        async def options():
            asked.set()
            await answer.wait()
            return plugin.options

        plugin.on_options = options
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outcome, manager, "x.sock", GPU, outcomes)
            await asked.wait()
            with trio.move_on_after(5):  # the second one need not wait for the first
                await outcome(manager, "x.sock", NIC, outcomes)
            answer.set()
    assert outcomes == {
        GPU: "registered",
        NIC: f"endpoint 'x.sock' is invalid: it already serves {GPU}",
    }


async def test_a_refused_registration_does_not_reserve_the_socket(manager, open_plugin):
    async with open_plugin(GPU, endpoint="x.sock") as plugin:

        async def fail():
            raise RpcFailed("not today")

        with pytest.raises(RegistrationRefused, match="not today"), pytest.MonkeyPatch.context() as patch:
            patch.setattr(plugin, "on_options", fail)
            await register(manager, "x.sock", GPU)
        await register(manager, "x.sock", NIC)


async def test_lim_27_a_name_may_be_used_again_by_another_socket(manager, open_plugin):
    """The old plug-in still serves, but its name is now that of another socket, which is not an alias."""
    async with open_plugin(GPU, endpoint="x.sock") as old:
        await old.register()
        (manager.layout.plugins / "x.sock").unlink()
        async with open_plugin(NIC, endpoint="x.sock", devices=1) as new:
            await new.register()
            await manager.wait_for_resource(NIC, allocatable=1)
            assert manager.capacity()[GPU].endpoint == "serving"
            assert not [r for r in manager.events() if isinstance(r.event, EndpointStopped)]


ASCII_ONLY = """
import os, sys, trio, devicemgr
from pathlib import Path
from devicemgr.testing import open_simulated_plugin
from tests.processes import HANGS

async def main(root):
    name = "gr\\u00fcn.sock"
    async with devicemgr.open_device_manager(root) as manager:
        place = manager.layout.plugins
        async with open_simulated_plugin(place, "vendor.com/gpu", endpoint=os.fsdecode(name.encode())) as plugin:
            await plugin.register(endpoint=name)
            await manager.wait_for_resource("vendor.com/gpu", allocatable=1)

assert sys.getfilesystemencoding() == "ascii"
trio.run(main, Path(sys.argv[1]))
"""


def test_a_name_is_utf_8_in_any_locale_of_the_manager(root_dir):
    """In containers the locale is often C."""
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", ASCII_ONLY, str(root_dir)], env=environment, check=True, timeout=HANGS)


REFUSED = (
    rf"user {os.geteuid()} serves it, its file belongs to user {os.geteuid()}, and user 65534 registers it; "
    "only these two, root, and the manager's own user may do that"
)


@pytest.mark.parametrize(("uid", "is_taken"), [(None, True), (0, True), (os.geteuid(), True), (65534, False)])
async def test_a_user_cannot_register_the_socket_of_another_user(root_dir, uid, is_taken):
    """Otherwise a member of the group could register it first, and its own plug-in would be refused."""
    async with (
        open_device_manager(root_dir) as manager,
        open_simulated_plugin(manager.layout.plugins, GPU, endpoint="honest.sock") as plugin,
    ):
        CALLER.set(None if uid is None else Peer(pid=1, uid=uid, gids=frozenset()))
        with nullcontext() if is_taken else pytest.raises(RegistrationRefused, match=REFUSED):
            await manager.register(Registration(version="v1beta1", endpoint="honest.sock", resource="b.com/other"))
        if not is_taken:
            await plugin.register()
            await manager.wait_for_resource(GPU, allocatable=1)
            assert [*manager.capacity()] == [GPU]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
async def test_the_owner_of_the_file_may_register_the_socket(root_dir):
    """systemd listens as root, and starts the plug-in as the user who owns the file (SocketUser=)."""
    async with (
        open_device_manager(root_dir) as manager,
        open_simulated_plugin(manager.layout.plugins, GPU, endpoint="honest.sock"),
    ):
        os.chown(manager.layout.plugins / "honest.sock", 65534, -1)
        CALLER.set(Peer(pid=1, uid=65533, gids=frozenset()))
        with pytest.raises(RegistrationRefused, match="belongs to user 65534, and user 65533 registers it"):
            await register(manager, "honest.sock", GPU)
        CALLER.set(Peer(pid=1, uid=65534, gids=frozenset()))
        await register(manager, "honest.sock", GPU)
        await manager.wait_for_resource(GPU, allocatable=1)
