"""A plug-in that cannot be registered is told why, and where."""

from __future__ import annotations

import socket

import pytest

from devicemgr.errors import ManagerUnavailable
from devicemgr.model import API_VERSION, Registration
from devicemgr.rpc.deviceplugin.client import register_plugin

REGISTRATION = Registration(version=API_VERSION, endpoint="gpu.sock", resource="vendor.com/gpu")


async def test_a_manager_that_does_not_answer(tmp_path, autojump_clock):
    registry = tmp_path / "kubelet.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(registry))
        silent.listen()
        with pytest.raises(ManagerUnavailable, match=r"kubelet\.sock: there was no answer within 15 s"):
            await register_plugin(registry, REGISTRATION)


async def test_no_manager(tmp_path):
    with pytest.raises(ManagerUnavailable, match=r"kubelet\.sock: .*No such file or directory"):
        await register_plugin(tmp_path / "kubelet.sock", REGISTRATION)
