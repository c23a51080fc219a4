"""The process at the other end, according to the kernel."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from devicemgr.model import Peer
from devicemgr.rpc.transport import peer_credentials
from devicemgr.rpc.transport.peer_credentials import has_exited, peer_of
from devicemgr.rpc.transport.unix_socket import connect, listen
from tests.processes import running

CONNECT_AS = """
import os, socket, sys
groups = [int(text) for text in sys.argv[2].split(",") if text]
os.setgroups(groups)
with open("/proc/self/comm", "wb") as name:
    name.write(b"\\xff")
os.setgid(4321)
os.setuid(1234)
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
print("connected", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(root_dir):
    return root_dir / "s.sock"


def test_both_ends_of_a_connection_know_each_other(path):
    with listen(path) as listener, connect(path) as client:
        server, _ = listener.accept()
        with server:
            ours = Peer(pid=os.getpid(), uid=os.geteuid(), gids=frozenset({os.getegid(), *os.getgroups()}))
            assert peer_of(server) == peer_of(client) == ours


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may take other groups")
@pytest.mark.parametrize("count", [0, 30, 255, 256, 257, 300])
def test_all_groups_of_the_peer_count(path, count):
    """30 are more than a small buffer has room for, 300 more than Python can ask for. Its name may be any bytes."""
    groups = list(range(50_000, 50_000 + count))
    path.parent.chmod(0o755)
    with listen(path) as listener:
        path.chmod(0o666)
        command = [sys.executable, "-c", CONNECT_AS, str(path), ",".join(map(str, groups))]
        with running(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"connected\n"
            server, _ = listener.accept()
            with server:
                peer = peer_of(server)
                assert (peer.pid, peer.uid) == (process.pid, 1234)
                assert peer.gids == {4321, *groups}
                assert not has_exited(peer)
                process.stdin.close()
                process.wait()
                assert has_exited(peer)
                if count <= 256:
                    assert peer_of(server) == peer, "the kernel remembers"
                else:
                    assert peer_of(server).gids == {4321}, "a process that has gone has no more to show"


def test_on_an_older_kernel_there_is_one_group(path, monkeypatch):
    monkeypatch.setattr(peer_credentials, "_SO_PEERGROUPS", 9999)
    with listen(path) as listener, connect(path):
        server, _ = listener.accept()
        with server:
            assert peer_of(server).gids == {os.getegid()}


def test_a_process_that_has_ended_has_exited():
    with running([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        peer = Peer(pid=process.pid, uid=0, gids=frozenset())
        assert not has_exited(peer)
        process.communicate(b"\n")
        assert has_exited(peer)


def test_one_that_may_be_running_has_not_exited(monkeypatch):
    asked = []

    def refuse(pid, signal):
        asked.append((pid, signal))
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert not has_exited(Peer(pid=0, uid=0, gids=frozenset())), "one of another process namespace"
    assert not has_exited(Peer(pid=1, uid=0, gids=frozenset()))
    assert asked == [(1, 0)], "to look is all that is done, and 0 would be all of our own group"


def test_a_descriptor_that_is_no_socket_is_an_oserror():
    with socket.socket(socket.AF_UNIX) as sock:
        sock.close()
        with pytest.raises(OSError, match="descriptor"):
            peer_of(sock)
