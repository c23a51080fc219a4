"""Sockets by path: visible only once they listen, with the right permissions."""

from __future__ import annotations

import errno
import os
import resource
import socket
import stat
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from devicemgr.errors import DirectoryUnusable
from devicemgr.rpc.transport import unix_socket
from devicemgr.rpc.transport.accepting import ACCEPT_PAUSE, pause_after
from devicemgr.rpc.transport.channel import open_channel
from devicemgr.rpc.transport.server import MAX_FORMER, Server, open_server
from devicemgr.rpc.transport.unix_socket import Place, connect, identity, listen
from tests.rpc.transport.made_up import Service, unary


@pytest.fixture
def path(root_dir):
    return root_dir / "s.sock"


@pytest.mark.parametrize("replace", [False, True])
def test_a_socket_that_is_visible_can_be_connected_to(path, replace):
    """A thread tries all the time while sockets are made and removed: there is none, or one that listens."""
    problems, connected, stopped = [], threading.Event(), threading.Event()

    def try_all_the_time():
        while not stopped.is_set():
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
                try:
                    sock.connect(str(path))
                    connected.set()
                except FileNotFoundError:
                    pass
                except BlockingIOError:  # so many wait there already
                    connected.set()
                except Exception as error:
                    problems.append(error)

    thread = threading.Thread(target=try_all_the_time)
    thread.start()
    with ExitStack() as listeners:
        try:
            for _ in range(100):
                connected.clear()
                listeners.enter_context(listen(path, replace=replace))
                assert connected.wait(10)
                path.unlink()
        finally:
            stopped.set()
            thread.join()
    assert not problems


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o777])
def test_the_mode_is_0660_whatever_the_umask_which_is_as_before(path, mask):
    before = os.umask(mask)
    try:
        with listen(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with pytest.raises(OSError, match="in use"):
            listen(path)
        assert os.umask(mask) == mask
    finally:
        os.umask(before)


def in_use(error, path):
    """As bind(2) would raise it, with the path."""
    words = errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), str(path)
    return (error.errno, error.strerror, error.filename) == words


def test_the_umask_of_the_process_is_not_touched(path, monkeypatch):
    """It is that of all threads, and other threads make files meanwhile."""

    def touched(mask):
        raise AssertionError("another thread's file gets this mode")

    monkeypatch.setattr(os, "umask", touched)
    with listen(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_a_file_that_replaces_the_temporary_name_is_left_alone(path, monkeypatch):
    """Where others may write: a file, or a link to one, at the name to which the socket was bound."""
    victim = path.with_name("victim")
    victim.touch(mode=0o600)
    bind_temporary = unix_socket._bind_temporary

    for put in (lambda bound: bound.symlink_to(victim), lambda bound: bound.hardlink_to(victim)):

        def bind_and_swap(listener, path, put=put):
            bound = bind_temporary(listener, path)
            bound.unlink()
            put(bound)
            return bound

        monkeypatch.setattr(unix_socket, "_bind_temporary", bind_and_swap)
        with pytest.raises(OSError, match="in use"):
            listen(path)
        assert stat.S_IMODE(victim.stat().st_mode) == 0o600
        assert not os.path.lexists(path)


def test_a_path_in_use_is_an_error_and_left_alone(path):
    with listen(path):
        before = identity(path)
        with pytest.raises(OSError, match="in use") as caught:
            listen(path)
        assert in_use(caught.value, path)
        assert identity(path) == before
    path.unlink()
    for make in (path.touch, path.mkdir, lambda: path.symlink_to("nowhere")):
        make()
        with pytest.raises(OSError, match="in use") as caught:
            listen(path)
        assert in_use(caught.value, path)
        assert identity(path) is None
        path.rmdir() if path.is_dir() else path.unlink()
    assert os.listdir(path.parent) == []


def test_replace_replaces_an_old_socket(path):
    with listen(path) as old:
        before = identity(path)
        with listen(path, replace=True) as new:
            assert identity(path) not in (before, None)
            with connect(path):
                new.accept()[0].close()
                with pytest.raises(BlockingIOError):
                    old.accept()
    assert os.listdir(path.parent) == [path.name]


def test_nothing_is_left_when_it_fails(path, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(PermissionError):
        listen(path)
    assert os.listdir(path.parent) == []
    with pytest.raises(FileNotFoundError):
        listen(path.parent / "nowhere" / "s.sock")


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK])
def test_a_file_system_without_hard_links(path, monkeypatch, code):
    def refuse(*args, **options):
        raise OSError(code, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    with listen(path) as listener, connect(path):
        listener.accept()[0].close()
        with pytest.raises(OSError, match="in use") as caught:
            listen(path)
        assert in_use(caught.value, path)
    assert os.listdir(path.parent) == [path.name]


def test_a_short_name_in_a_long_directory(root_dir):
    """Nothing in between is longer than the path itself."""
    directory = root_dir / ("d" * (107 - len(os.fsencode(root_dir)) - 4))
    directory.mkdir()
    path = directory / "nn"
    assert len(os.fsencode(path)) == 107
    with listen(path) as listener, connect(path):
        listener.accept()[0].close()


@pytest.mark.parametrize("length", [1, 2, 3, 60, 107])
def test_long_and_short_paths(root_dir, length):
    """A socket's address has room for 107 bytes."""
    path = root_dir / ("n" * max(length - len(os.fsencode(root_dir)) - 1, 1) if length > 50 else "n" * length)
    with listen(path) as listener, connect(path):
        listener.accept()[0].close()
    assert length <= 50 or len(os.fsencode(path)) == length


def test_a_name_of_many_bytes_in_each_character(root_dir):
    name = "ö" * ((107 - len(os.fsencode(root_dir)) - 1) // 2)
    with listen(root_dir / name), connect(root_dir / name):
        assert os.listdir(root_dir) == [name]


def test_a_path_too_long(root_dir):
    path = root_dir / ("n" * (108 - len(os.fsencode(root_dir)) - 1))
    with pytest.raises(OSError, match="too long"):
        listen(path)
    with pytest.raises(OSError, match="too long"):
        connect(path)
    assert os.listdir(root_dir) == []


def test_a_temporary_name_that_is_taken(path, monkeypatch):
    """Another random name is tried."""
    names = iter(["taken0", "taken0", "free00"])
    (path.parent / ".taken").touch()
    monkeypatch.setattr(unix_socket.secrets, "token_hex", lambda size: next(names))
    with listen(path), connect(path):
        assert sorted(os.listdir(path.parent)) == [".taken", path.name]


@pytest.mark.parametrize("length", [2, 6, 90])
def test_a_killed_listen_leaves_a_stale_temporary_socket(root_dir, monkeypatch, length):
    """And its name is no longer than the path, whose length the kernel limits."""
    path, seen, link = root_dir / ("n" * length), [], os.link

    def killed_here(bound, path, **options):
        seen.extend(unix_socket.stale_temporary_sockets(path))
        assert seen == [bound]
        assert len(bound.name) <= len(path.name)
        link(bound, path, **options)

    monkeypatch.setattr(os, "link", killed_here)
    with listen(path):
        assert seen
        assert unix_socket.stale_temporary_sockets(path) == []


GROUP = 12345 if os.geteuid() == 0 else os.getegid()


def test_a_group_may_be_given(path):
    with listen(path, group=GROUP):
        status = path.stat()
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (os.geteuid(), GROUP, 0o660)


def test_the_group_is_given_to_no_other_file(path, monkeypatch):
    """A user who may write in the directory may replace the temporary name by a link. No file of ours changes its
    owner, or gets a second name, for that."""
    victim, bind = path.with_name("victim"), unix_socket._bind_temporary
    victim.touch()
    before = victim.stat()

    def replaced(listener, path):
        bound = bind(listener, path)
        bound.unlink()
        bound.symlink_to(victim)
        return bound

    monkeypatch.setattr(unix_socket, "_bind_temporary", replaced)
    with pytest.raises(OSError, match="in use"):
        listen(path, group=GROUP)
    after = victim.stat()
    assert (after.st_uid, after.st_gid, after.st_nlink) == (before.st_uid, before.st_gid, 1)


def test_connecting_does_not_wait(path, monkeypatch):
    monkeypatch.setattr(unix_socket, "BACKLOG", 1)
    with pytest.raises(FileNotFoundError):
        connect(path)
    connected = []
    with listen(path):
        with pytest.raises(ConnectionRefusedError) as caught:
            for _ in range(10):
                connected.append(connect(path))
        assert connected
        assert caught.value.args == (errno.ECONNREFUSED, "too many connections wait to be accepted")
    for sock in connected:
        sock.close()
    with pytest.raises(ConnectionRefusedError):
        connect(path)


# --- a server's socket ---


async def test_a_server_removes_its_own_socket_only(path):
    async with open_server(path, []):
        assert path.is_socket()
    assert not path.exists()
    async with open_server(path, []) as server:
        path.unlink()
        path.touch()
        assert not server.owns_socket()
        assert not server.is_lost()
        assert not server.restore()
    assert path.is_file()


async def test_a_socket_that_cannot_be_removed_does_not_fail_the_server(path, monkeypatch):
    """As on a file system that has become read-only."""

    def refuse(path, missing_ok=False):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    async with open_server(path, []):
        monkeypatch.setattr(type(path), "unlink", refuse)


async def test_a_path_in_use_is_an_oserror_where_the_server_is_opened(path):
    async with open_server(path, []):
        with pytest.raises(OSError, match="in use") as caught:
            async with open_server(path, []):
                pass
        assert caught.value.errno == errno.EADDRINUSE
        assert path.is_socket()


async def test_an_old_socket_of_a_server_that_comes_back_is_replaced(path):
    """It does not listen any more: the directory was moved away and back."""
    async with open_server(path, [Service(trio.Event)]) as server:
        path.rename(path.with_name("away"))
        assert server.restore()
        path.with_name("away").replace(path)
        assert server.restore()
        async with open_channel(path) as channel:
            assert await unary(channel, "Echo", b"new") == b"new"


async def test_a_server_makes_its_socket_again(path):
    async with open_server(path, [Service(trio.Event)]) as server:
        async with open_channel(path) as old:
            await wait_all_tasks_blocked()
            path.unlink()
            assert server.is_lost()
            assert server.restore()
            assert not server.restore()
            async with open_channel(path) as channel:
                assert await unary(channel, "Echo", b"new") == b"new"
            assert await unary(old, "Echo", b"old") == b"old", "connections live on"
    assert not path.exists()


@pytest.mark.parametrize("once_more", range(10))  # Trio runs in any order who accepts and who empties the old one
@pytest.mark.parametrize("accepts", [False, True])
async def test_connections_that_queue_are_accepted_when_the_socket_is_made_again(path, accepts, once_more):
    async with open_server(path, [Service(trio.Event)]) as server:
        if accepts:
            await wait_all_tasks_blocked()
        async with open_channel(path) as channel:
            path.unlink()
            server.restore()
            assert await unary(channel, "Echo", b"x") == b"x"


@contextmanager
def descriptors_below(number):
    """No more can be opened from this number on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_server_that_has_stopped_listening_makes_no_socket_again(path):
    """Where both are cancelled at once, one task may end the server, and another one still look after its socket."""
    async with open_server(path, []) as server:
        pass
    assert not server.restore()
    assert not path.exists()


async def test_connections_that_queue_are_accepted_later_when_there_is_no_descriptor(path, mock_clock):
    async with open_server(path, [Service(trio.Event)]) as server, open_channel(path) as channel:
        free = os.dup(0)
        os.close(free)
        with descriptors_below(free + 2):  # to make a socket takes one for a moment
            path.unlink()
            assert server.restore()
            with open(os.devnull):  # noqa: ASYNC230
                await wait_all_tasks_blocked()
                assert not server._connections
        mock_clock.jump(ACCEPT_PAUSE)
        assert await unary(channel, "Echo", b"x") == b"x"


async def test_without_descriptors_a_server_waits_and_accepts_later(path, mock_clock):
    async with open_server(path, [Service(trio.Event)]) as server:
        with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
            with descriptors_below(second.fileno() + 1):
                first.connect(str(path))
                await wait_all_tasks_blocked()
                assert not server._connections
            mock_clock.jump(ACCEPT_PAUSE)
            await wait_all_tasks_blocked()
            assert len(server._connections) == 1


async def test_a_socket_is_made_again_while_accepting_pauses(path, mock_clock):
    async with open_server(path, [Service(trio.Event)]) as server:
        with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
            with descriptors_below(second.fileno() + 1):
                first.connect(str(path))
                await wait_all_tasks_blocked()
            path.unlink()
            assert server.restore()
            mock_clock.jump(ACCEPT_PAUSE)
            async with open_channel(path) as channel:
                assert await unary(channel, "Echo", b"x") == b"x"


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS])
def test_accept_pauses_when_resources_are_exhausted(code):
    assert pause_after(OSError(code, "no more")) == ACCEPT_PAUSE == 0.1


@pytest.mark.parametrize("code", [errno.ECONNABORTED, errno.EPERM])
def test_accept_goes_on_when_a_connection_was_aborted(code):
    assert pause_after(OSError(code, "gone")) == 0.0


def test_a_permanent_error_is_raised():
    error = OSError(errno.EBADF, "bad")
    with pytest.raises(OSError, match="bad") as caught:
        pause_after(error)
    assert caught.value is error


# --- somebody else's socket ---


def test_a_socket_file_is_the_socket_that_was_there(path):
    place = Place(path.parent, Path(path.name))
    with listen(path) as old, place.opened() as file:
        assert file.inode == identity(path)[:2]
        assert str(file) == str(place) == str(path)
        with listen(path, replace=True), connect(file):
            old.accept()[0].close()
            assert identity(path)[:2] != file.inode
        path.unlink()
        with pytest.raises(FileNotFoundError):
            with place.opened():
                pass


@pytest.mark.parametrize("inside", [".", "s.sock", "link.sock", "link/s.sock", "file", "file/s.sock", "real/link.sock"])
def test_what_is_no_socket_or_behind_a_link_is_not_opened(root_dir, inside):
    real = root_dir / "real"
    real.mkdir()
    (root_dir / "link").symlink_to(real)
    (root_dir / "file").touch()
    (root_dir / "s.sock").mkdir()
    descriptors = len(os.listdir("/proc/self/fd"))
    with listen(real / "s.sock"):
        for link in (root_dir / "link.sock", real / "link.sock"):
            link.symlink_to(real / "s.sock")
        with pytest.raises(OSError, match="is not a socket|Not a directory"):
            with Place(root_dir, Path(inside)).opened():
                pass
        with Place(root_dir, Path("real/s.sock")).opened() as file:
            assert file.inode == identity(real / "s.sock")[:2]
    assert len(os.listdir("/proc/self/fd")) == descriptors


# --- what is left, and what is too long ---


def test_stale_temporary_sockets_are_recognized_by_their_names(path):
    """``listen`` binds to a name as long as the path's own; other names and other files do not count."""
    with listen(path), ExitStack() as stack:
        for name in (".abcde", ".01234"):
            stack.enter_context(socket.socket(socket.AF_UNIX)).bind(str(path.with_name(name)))
        for name in (".abcdef", ".abcd", "abcdef", ".abcdx", ".ABCDE"):
            stack.enter_context(socket.socket(socket.AF_UNIX)).bind(str(path.with_name(name)))
        path.with_name(".fffff").touch()
        assert unix_socket.stale_temporary_sockets(path) == [path.with_name(".01234"), path.with_name(".abcde")]


def test_a_path_too_long_is_refused_before_anything_is_bound(root_dir):
    longest = root_dir / ("n" * (107 - len(os.fsencode(root_dir)) - 1))
    unix_socket.require_short(longest)
    with pytest.raises(DirectoryUnusable) as refused:
        unix_socket.require_short(longest.with_name(longest.name + "n"))
    assert str(refused.value) == (
        f"{root_dir} is too long a path: its sockets would need 108 bytes, unix allows 107. "
        "Give a shorter --root-dir, or, if it is a temporary directory, set TMPDIR to a shorter one"
    )


async def test_lost_sockets_of_a_server_are_recognized_and_others_are_not(path):
    """Up to a number of them: each that comes back is replaced; a socket of another process is not."""
    async with open_server(path, [Service(trio.Event)]) as server:
        lost = [path.with_name(f"away-{n}") for n in range(MAX_FORMER + 1)]
        for place in lost:
            path.rename(place)
            assert server.restore()
        lost.pop(0).replace(path)
        assert not server.is_lost(), "so long ago that it may be anybody's"
        assert not server.owns_socket()
        for place in lost:
            place.replace(path)
            assert server.is_lost()
        assert server.restore()
        assert server.owns_socket()
        async with open_channel(path) as channel:
            assert await unary(channel, "Echo", b"x") == b"x"
        path.unlink()
        with listen(path):
            assert not server.restore()


async def test_a_socket_that_is_made_again_has_the_group_it_had(path):
    async with trio.open_nursery() as nursery:
        server = Server(path, [Service(trio.Event)], nursery, nursery, group=GROUP)
        nursery.start_soon(server.serve)
        path.unlink()
        assert server.restore()
        assert (path.stat().st_gid, stat.S_IMODE(path.stat().st_mode)) == (GROUP, 0o660)
        async with open_channel(path) as channel:
            assert await unary(channel, "Echo", b"x") == b"x"
        nursery.cancel_scope.cancel()
    assert not path.exists()


def test_a_server_takes_the_place_of_an_old_socket_only_where_it_may(path):
    with listen(path):
        with pytest.raises(OSError, match="in use"):
            Server(path, [], None, None)
        old = identity(path)
        server = Server(path, [], None, None, replace=True)
        assert server.owns_socket()
        assert identity(path) != old
        server._listener.close()
