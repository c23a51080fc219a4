"""In the plug-ins' directory a member of ``--allow-group`` may make any file: none stops the manager, none is believed.

Each row puts one thing somewhere before the manager starts; then it must be up, say what it did, serve, and remember.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
from contextlib import ExitStack, closing, contextmanager, nullcontext
from functools import wraps
from pathlib import Path

import pytest
import trio

from devicemgr import Container, Pod, open_device_manager
from devicemgr.core.checkpoint.kubelet_format import FILE_NAME, Checkpoint, Entry, render
from devicemgr.daemon.access.callers import Callers
from devicemgr.daemon.layout import Layout, remove_stale_sockets
from devicemgr.daemon.serving.trace import open_trace
from devicemgr.daemon.shared_directory import set_aside
from devicemgr.errors import DirectoryInUse, DirectoryUnusable
from devicemgr.events import DirectoryOpenToOthers, FileSetAside
from devicemgr.model import Owner
from devicemgr.testing import open_registered_plugin
from tests.helpers import pod, until

GPU = "vendor.com/gpu"
STRANGER = 65534
GROUP = os.getegid()
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of somebody else")
FORGED = render(
    Checkpoint(
        entries=(
            Entry(
                owner=Owner("forged", "main"),
                resource=GPU,
                devices={"dev-0": None},
                answer=b"\x12\x06\x0a\x01/\x12\x01/",  # a mount of / on /
            ),
        )
    )
)


def a_directory(path):
    path.mkdir()
    (path / "something").touch()


def a_file(path):
    path.write_text("nonsense")


def a_dangling_link(path):
    path.symlink_to("nowhere")


def a_link_to_a_directory(path):
    path.symlink_to("/etc")


def a_pipe(path):
    os.mkfifo(path)


def a_sparse_file(path):
    path.touch(0o600)
    os.truncate(path, 2**42)


def a_forged_checkpoint(path):
    path.write_text(FORGED)


def a_checkpoint_that_others_may_write(path):
    path.write_text(FORGED)
    path.chmod(0o660)


@contextmanager
def a_leased_file(path):
    """To open it waits until its owner releases it."""
    path.write_text(FORGED)
    os.chown(path, STRANGER, GROUP)
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    with path.open("r+") as file:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        yield
    signal.signal(signal.SIGIO, before)


@contextmanager
def a_socket_that_accepts(path):
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(path))
        os.chown(path, STRANGER, GROUP)
        listener.listen()
        yield


@contextmanager
def a_link_to_a_socket_that_accepts(path):
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(path.parent.parent / "other"))
        listener.listen()
        path.symlink_to("../other")
        yield


def of_a_stranger(puts):
    @wraps(puts)
    def puts_as_a_stranger(path):
        puts(path)
        os.chown(path, STRANGER, GROUP, follow_symlinks=False)

    return puts_as_a_stranger


CHECKPOINT = f"device-plugins/{FILE_NAME}"
PREVIOUS = f"device-plugins/.{FILE_NAME}.previous"
TEMPORARY = f"device-plugins/.{FILE_NAME}.0.tmp"
KUBELET_SOCK = "device-plugins/kubelet.sock"
POD_RESOURCES = "pod-resources/kubelet.sock"
ADMIN = "devicemgr/admin.sock"
ANYTHING = [a_directory, a_file, a_dangling_link, a_link_to_a_directory, a_pipe]
SOCKETS = [KUBELET_SOCK, POD_RESOURCES, ADMIN]
ROWS = [
    *((place, puts) for puts in ANYTHING for place in [CHECKPOINT, PREVIOUS, TEMPORARY, *SOCKETS]),
    *(
        (place, puts)
        for puts in [a_sparse_file, a_checkpoint_that_others_may_write]
        for place in [CHECKPOINT, PREVIOUS]
    ),
]
STRANGERS_ROWS = [
    *((place, of_a_stranger(puts)) for puts in ANYTHING for place in [CHECKPOINT, PREVIOUS, TEMPORARY, KUBELET_SOCK]),
    *(
        (place, of_a_stranger(puts))
        for puts in [a_sparse_file, a_forged_checkpoint]
        for place in [CHECKPOINT, PREVIOUS]
    ),
    (CHECKPOINT, a_leased_file),
    (KUBELET_SOCK, a_socket_that_accepts),
    (KUBELET_SOCK, a_link_to_a_socket_that_accepts),
]


def name(value):
    return getattr(value, "__name__", None)


def open_manager(root_dir):
    return open_device_manager(root_dir, callers=Callers.default(GROUP))


def files_set_aside(manager):
    return [one.event for one in manager.events() if isinstance(one.event, FileSetAside)]


def make_directories(root_dir):
    for directory in ("device-plugins", "pod-resources", "devicemgr"):
        (root_dir / directory).mkdir(mode=0o750)


async def serves_and_remembers(root_dir, place, put):
    make_directories(root_dir)
    with put(root_dir / place) or nullcontext():
        with trio.fail_after(20):
            async with open_manager(root_dir) as manager, open_registered_plugin(manager, GPU, devices=1):
                assert manager.pods() == []
                assert manager.node_status().reset, "what is there is no checkpoint (LIM-17)"
                assert (await manager.admit(pod("a"))).admitted
                seen = files_set_aside(manager)
        async with open_manager(root_dir) as manager:
            assert [one.name for one in manager.pods()] == ["a"]
            assert files_set_aside(manager) == []
    return seen


@pytest.mark.parametrize(("place", "put"), ROWS, ids=name)
async def test_whatever_is_there_the_manager_serves_and_remembers(root_dir, place, put):
    seen = await serves_and_remembers(root_dir, place, put)
    assert place == TEMPORARY or len(seen) == 1


@root_only
@pytest.mark.parametrize(("place", "put"), STRANGERS_ROWS, ids=name)
async def test_whatever_a_stranger_puts_there(root_dir, place, put):
    seen = await serves_and_remembers(root_dir, place, put)
    if place in (CHECKPOINT, PREVIOUS):
        assert [event.path for event in seen] == [str(root_dir / place)]


@root_only
async def test_a_strangers_file_does_not_replace_what_we_knew(root_dir):
    """The copy beside it is ours still."""
    async with open_manager(root_dir) as manager, open_registered_plugin(manager, GPU, devices=1):
        assert (await manager.admit(pod("a"))).admitted
        await manager.flush()
    os.unlink(root_dir / CHECKPOINT)
    of_a_stranger(a_forged_checkpoint)(root_dir / CHECKPOINT)
    async with open_manager(root_dir) as manager:
        assert [one.name for one in manager.pods()] == ["a"]
        (event,) = files_set_aside(manager)
        assert event.problem == "it belongs to user 65534, who is neither root nor the manager's user"


async def test_a_kubelet_that_serves_there_is_respected_with_a_group_too(root_dir):
    make_directories(root_dir)
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(root_dir / KUBELET_SOCK))
        listener.listen()
        with pytest.raises(DirectoryInUse):
            async with open_manager(root_dir):
                pass


async def test_a_lock_that_is_a_link_is_not_followed(root_dir):
    make_directories(root_dir)
    victim = root_dir / "victim"
    victim.write_text("precious")
    (root_dir / "devicemgr" / "lock").symlink_to(victim)
    with pytest.raises(DirectoryUnusable, match="lock"):
        async with open_manager(root_dir):
            pass
    assert victim.read_text() == "precious"


async def test_a_directory_that_is_made_anew_belongs_to_the_group_again(root_dir, autojump_clock):
    """Also when it is the writer who makes it, or the end."""
    plugins = root_dir / "device-plugins"
    async with open_manager(root_dir) as manager, open_registered_plugin(manager, GPU, devices=1):
        assert (await manager.admit(pod("a"))).admitted
        for path in plugins.iterdir():
            path.unlink()
        plugins.rmdir()
        while not (plugins / FILE_NAME).exists():  # noqa: ASYNC110 - the clock jumps while a thread works
            await trio.sleep(0.2)
        assert (plugins.stat().st_mode & 0o7777, plugins.stat().st_gid) == (0o1770, GROUP)
    assert (plugins.stat().st_mode & 0o7777, plugins.stat().st_gid) == (0o1770, GROUP)


def test_thousands_of_other_files_are_not_looked_at(root_dir, monkeypatch):
    """At a start with 60,000 of them it took seconds."""
    make_directories(root_dir)
    plugins = root_dir / "device-plugins"
    for number in range(1000):
        (plugins / f"file-{number}").touch()
    with closing(socket.socket(socket.AF_UNIX)) as stale:
        stale.bind(str(plugins / "stale.sock"))
    looked, stat = [], Path.stat
    monkeypatch.setattr(Path, "stat", lambda path, **options: looked.append(path.name) or stat(path, **options))
    assert [path.name for path in remove_stale_sockets(Layout(root_dir))] == ["stale.sock"]
    assert {"stale.sock", "admin.sock"} <= set(looked)
    assert [name for name in looked if name.startswith("file-")] == []


def opened(manager):
    return [
        (one.event.path, one.event.problem) for one in manager.events() if isinstance(one.event, DirectoryOpenToOthers)
    ]


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o757])
@pytest.mark.parametrize("place", ["", "device-plugins", "devicemgr", "pod-resources", "plugins_registry"])
async def test_a_directory_that_is_open_to_others_is_told(root_dir, place, mode):
    directory = root_dir / place
    directory.mkdir(exist_ok=True)
    directory.chmod(mode)
    async with open_device_manager(root_dir) as manager:
        ((path, problem),) = opened(manager)
        assert path == str(directory)
        assert f"its mode is {mode:04o}" in problem
        assert f"chmod go-w {directory}" in problem


@pytest.mark.parametrize("mode", [0o750, 0o755, 0o1777, 0o700])
async def test_one_that_is_not_or_is_sticky_is_not(root_dir, mode):
    (root_dir / "device-plugins").mkdir()
    (root_dir / "device-plugins").chmod(mode)
    async with open_device_manager(root_dir) as manager:
        assert opened(manager) == []


@root_only
async def test_a_directory_of_somebody_else_is_told(root_dir):
    os.chown(root_dir, STRANGER, STRANGER)
    async with open_device_manager(root_dir) as manager:
        assert [path for path, _ in opened(manager)] == [str(root_dir)]


@root_only
@pytest.mark.parametrize("is_link", [False, True])
@pytest.mark.parametrize("is_moved", [False, True])
async def test_what_a_stranger_puts_where_the_root_was_is_not_used(root_dir, is_moved, is_link):
    """As in /tmp, where anybody may have the name of what was deleted."""
    root, his = root_dir / "root", root_dir / "his"
    his.mkdir()
    async with open_device_manager(root) as manager:
        assert await manager.admit(Pod(name="a", uid="a", containers=(Container(name="c"),)))
        root.rename(root_dir / "away") if is_moved else shutil.rmtree(root)
        root.symlink_to(his) if is_link else root.mkdir(0o777)
        os.chown(root, STRANGER, STRANGER, follow_symlinks=False)
        refused = await manager.admit(Pod(name="b", uid="b", containers=(Container(name="c"),)))
        assert f"what is there now belongs to user {STRANGER}" in refused.message
        assert list(root.iterdir()) == list(his.iterdir()) == []
        root.unlink() if is_link else root.rmdir()
        root.mkdir()
        with trio.fail_after(20):
            await manager.flush()
            await until(manager, lambda: all(path.is_socket() for path in manager.layout.sockets))


async def test_with_a_umask_of_0_nobody_else_may_write(root_dir):
    """API-11: as daemons have it. Parents of the root, too, which nobody else can then replace."""
    before = os.umask(0)
    try:
        root = root_dir / "parent" / "node"
        with open_trace(root_dir / "trace") as trace:
            async with open_device_manager(root, sinks=[trace]) as manager, open_registered_plugin(manager, GPU):
                assert (await manager.admit(pod("a"))).admitted
                sockets = {str(path.relative_to(root)): path.stat().st_mode & 0o7777 for path in manager.layout.sockets}
    finally:
        os.umask(before)
    assert sockets == dict.fromkeys(sockets, 0o660)
    assert {str(path.relative_to(root_dir)): path.stat().st_mode & 0o7777 for path in root_dir.rglob("*")} == {
        "trace": 0o640,
        "parent": 0o755,
        "parent/node": 0o750,
        "parent/node/device-plugins": 0o750,
        f"parent/node/device-plugins/{FILE_NAME}": 0o600,
        f"parent/node/device-plugins/.{FILE_NAME}.previous": 0o600,
        "parent/node/devicemgr": 0o750,
        "parent/node/devicemgr/lock": 0o640,
        "parent/node/plugins_registry": 0o750,
        "parent/node/pod-resources": 0o750,
    }


@root_only
@pytest.mark.parametrize("put", [of_a_stranger(a_directory), of_a_stranger(a_file), a_socket_that_accepts])
async def test_who_puts_something_there_again_and_again_does_not_stop_the_manager(root_dir, monkeypatch, put):
    """It has set it aside, and before it can make its socket there is another one."""
    make_directories(root_dir)
    path, times = root_dir / KUBELET_SOCK, 5
    with ExitStack() as stack:

        def put_again():
            stack.enter_context(put(path) or nullcontext())

        def set_aside_in_vain(one):
            nonlocal times
            moved_to = set_aside(one)
            times -= 1
            if times:
                put_again()
            return moved_to

        monkeypatch.setattr("devicemgr.daemon.layout.set_aside", set_aside_in_vain)
        monkeypatch.setattr("devicemgr.daemon.supervisor.remove_stale_sockets", lambda layout: [])
        put_again()
        async with open_manager(root_dir) as manager, open_registered_plugin(manager, GPU, devices=1):
            assert (await manager.admit(pod("a"))).admitted
            assert len(files_set_aside(manager)) == 5


def test_a_socket_that_goes_while_stale_ones_are_removed(root_dir, monkeypatch):
    make_directories(root_dir)
    with closing(socket.socket(socket.AF_UNIX)) as stale:
        stale.bind(str(root_dir / "device-plugins" / "stale.sock"))
    unlink = Path.unlink

    def unlink_too_late(path):
        unlink(path)
        unlink(path)

    monkeypatch.setattr(Path, "unlink", unlink_too_late)
    assert remove_stale_sockets(Layout(root_dir)) == []
