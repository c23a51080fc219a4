"""A simulated plug-in's socket has a unique name, and the sockets that killed processes left behind are removed."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from devicemgr.testing import open_simulated_plugin
from devicemgr.testing.plugin.own_socket import own_endpoint

GPU = "vendor.com/gpu"


def leave(path):
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
        stale.listen()


def test_names_are_unique_and_of_the_same_length():
    names = {own_endpoint(GPU) for _ in range(10)}
    assert len(names) == 10
    assert {len(name) for name in names} == {len("vendor.com-gpu-0123.sock")}


async def test_only_sockets_that_no_process_serves_are_removed(tmp_path):
    killed, others = own_endpoint(GPU), ("vendor.com-gpu.sock", own_endpoint("vendor.com/nic"), own_endpoint("a.com/b"))
    for name in (killed, *others):
        leave(tmp_path / name)
    (tmp_path / (no_socket := own_endpoint(GPU))).touch()
    async with open_simulated_plugin(tmp_path, GPU) as first, open_simulated_plugin(tmp_path, GPU) as second:
        there = {path.name for path in tmp_path.iterdir()}
        assert there == {first.endpoint, second.endpoint, no_socket, *others}
    assert {path.name for path in tmp_path.iterdir()} == {no_socket, *others}


async def test_a_socket_whose_process_is_busy_is_left_alone(tmp_path):
    name = own_endpoint(GPU)
    with ExitStack() as stack:
        busy = stack.enter_context(socket.socket(socket.AF_UNIX))
        busy.bind(str(tmp_path / name))
        busy.listen(0)
        is_full = False
        while not is_full:
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
            waiting.setblocking(False)
            is_full = bool(waiting.connect_ex(str(tmp_path / name)))
        async with open_simulated_plugin(tmp_path, GPU):
            assert (tmp_path / name).is_socket()


async def test_a_given_name_is_used(tmp_path):
    leave(tmp_path / own_endpoint(GPU))
    async with open_simulated_plugin(tmp_path, GPU, endpoint="gpu.sock") as plugin:
        assert plugin.endpoint == "gpu.sock"
        assert len(list(tmp_path.iterdir())) == 2, "with a name of its own it removes no other socket"
