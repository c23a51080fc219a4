"""The nursery tree: how it ends, in peace and in a bug."""

from __future__ import annotations

import ast
import inspect
import re
import signal
import socket
import subprocess
import sys
import textwrap
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from devicemgr import Container, Pod, open_device_manager
from devicemgr.concurrency.exception_groups import collapse_exception_group
from devicemgr.daemon import supervisor
from devicemgr.daemon.layout import Layout
from devicemgr.daemon.supervisor import Supervisor
from devicemgr.errors import DirectoryInUse, RegistrationRefused, RpcFailed
from devicemgr.rpc.admin.client import ManagerClient
from devicemgr.rpc.calls import dial
from devicemgr.rpc.stubs import v1beta1 as wire
from devicemgr.rpc.transport.channel import open_channel
from devicemgr.rpc.transport.server import open_server
from devicemgr.testing import open_simulated_plugin

GPU = "vendor.com/gpu"


async def test_a_bug_in_a_handler_ends_the_manager(root_dir):
    """grpclib would log it and go on."""
    with pytest.raises(ZeroDivisionError):
        async with open_device_manager(root_dir) as manager:
            manager.capacity = lambda: 1 / 0
            async with dial(manager.layout.admin_socket) as channel:
                with pytest.raises(RpcFailed, match="the server failed; its log has the traceback"):
                    await ManagerClient(channel).status()
                await trio.sleep_forever()


async def test_an_error_of_the_block_comes_out_as_it_is(root_dir):
    with pytest.raises(LookupError):
        async with open_device_manager(root_dir):
            raise LookupError


async def test_a_second_manager_in_one_program_is_refused(manager, root_dir):
    with pytest.raises(DirectoryInUse):
        async with open_device_manager(root_dir):
            pass
    assert manager.layout.registration_socket.exists()


async def test_a_program_that_is_cancelled_during_an_admission_ends_and_cleans_up(root_dir):
    async with trio.open_nursery() as nursery:
        async with open_device_manager(root_dir) as manager:
            async with open_simulated_plugin(manager.layout.plugins, GPU, devices=1) as plugin:
                asked = trio.Event()

                async def hang(ids):
                    asked.set()
                    await trio.sleep_forever()

                plugin.on_allocate = hang
                await plugin.register()
                await manager.wait_for_resource(GPU, allocatable=1)
                pod = Pod(name="p", uid="p", containers=(Container(name="c", limits={GPU: 1}),))
                nursery.start_soon(manager.admit, pod)
                await asked.wait()
                nursery.cancel_scope.cancel()
    assert not (root_dir / "device-plugins" / "kubelet.sock").exists()


async def test_a_refusal_in_the_moment_in_which_the_caller_hangs_up_is_nobodys_bug(root_dir):
    """Refusal and cancellation leave the handler's nursery as a group of both."""
    asked, calling = trio.Event(), trio.CancelScope()

    async def refuse_when_cancelled():
        try:
            await trio.sleep_forever()
        finally:
            raise RegistrationRefused("too late", rule="REG-5")

    class Refuses(wire.RegistrationBase):
        async def register(self, message):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(refuse_when_cancelled)
                asked.set()
                await trio.sleep_forever()

    async with open_server(root_dir / "s.sock", [Refuses()]), trio.open_nursery() as nursery:

        async def call():
            with calling:
                async with open_channel(root_dir / "s.sock") as channel:
                    await channel.stub(wire.RegistrationStub).register(wire.RegisterRequest())

        nursery.start_soon(call)
        await asked.wait()
        calling.cancel()


def test_a_failure_says_more_than_the_cancellation_that_came_with_it():
    async def fail():
        try:
            await trio.sleep_forever()
        finally:
            raise LookupError

    async def run():
        with trio.CancelScope() as scope, collapse_exception_group():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                nursery.start_soon(fail)
                scope.cancel()

    with pytest.raises(LookupError):
        trio.run(run)


KILLED_WHILE_IT_LISTENS = """
import os, signal, sys
from pathlib import Path
from devicemgr.rpc.transport.unix_socket import listen

os.link = os.replace = os.rename = lambda *args, **options: os.kill(os.getpid(), signal.SIGKILL)
listen(Path(sys.argv[1]), replace=sys.argv[2] == "replace")
"""


async def test_what_a_kill_has_left_half_made_is_removed_at_the_next_start(root_dir):
    layout = Layout(root_dir)
    for path in layout.sockets:
        path.parent.mkdir(parents=True)
        for how in ("link", "replace"):
            killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_IT_LISTENS, path, how])  # noqa: ASYNC221
            assert killed.returncode == -signal.SIGKILL
        assert len(list(path.parent.iterdir())) == 2
    pods = layout.pod_resources_socket.parent
    others = {pods / ".0123456789ab", pods / ".a-dot-file", pods / "kubelet.sock.old"}
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        first.bind(str(pods / "kubelet.sock.old"))
        second.bind(str(pods / ".0123456789ab"))  # a digit too many
        (pods / ".a-dot-file").touch()
        async with open_device_manager(root_dir):
            assert {*pods.iterdir()} == {layout.pod_resources_socket, *others}
            assert {*layout.own.iterdir()} == {layout.admin_socket, layout.own / "lock"}
            assert not [path for path in layout.plugins.iterdir() if path.name.startswith(".") and path.is_socket()]


# --- the picture is what runs ---

PICTURE = re.search(r"::\n\n(.*?)\n\n", inspect.getdoc(supervisor) or "", re.DOTALL)[1].splitlines()
TREE = inspect.getsource(Supervisor.incarnation)


def test_a_context_manager_for_each_line_of_the_picture_in_the_same_order_under_the_same_names():
    pictured = [(line.index("└"), found[1]) for line in PICTURE if (found := re.search(r"└─ (\w+)", line))]
    assert [column for column, _ in pictured] == sorted({column for column, _ in pictured}), "one inside the other"
    (nested,) = [one for one in ast.walk(ast.parse(textwrap.dedent(TREE))) if isinstance(one, ast.AsyncWith)]
    entered = [item.context_expr.func for item in nested.items]
    assert [ast.unparse(one) for one in entered] == [f"self.{name}" for _, name in pictured]
    assert all(hasattr(getattr(Supervisor, name), "__wrapped__") for _, name in pictured)


def test_the_picture_is_longer_than_what_it_shows_and_the_readme_has_each_of_its_lines():
    assert len(TREE.splitlines()) < len(PICTURE)
    readme = Path(__file__).parent.parent.parent.joinpath("README.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|", readme, re.MULTILINE)
    assert rows == ["run", *re.findall(r"└─ (\w+)", "\n".join(PICTURE))]


async def test_each_line_of_the_picture_ends_after_those_inside_it(root_dir, monkeypatch):
    """In peace, also before a restart: what an inner line owns is gone when the outer one begins to end."""
    happened = []

    def observed(name, enter):
        @asynccontextmanager
        async def observe(*args, **options):
            async with enter(*args, **options) as value:
                happened.append(f"{name} begins")
                yield value
                happened.append(f"{name} ends")
            happened.append(f"{name} has ended")

        return observe

    names = [found[1] for line in PICTURE if (found := re.search(r"└─ (\w+)", line))]
    for name in names:
        monkeypatch.setattr(Supervisor, name, observed(name, getattr(Supervisor, name)))
    async with open_device_manager(root_dir) as manager:
        await manager.faults.restart()
    begins = [f"{name} begins" for name in names]
    ends = [f"{name} {how}" for name in reversed(names) for how in ("ends", "has ended")]
    assert happened == [*begins, *ends] * 2
