"""Fixtures for all tests. A socket path has at most 107 bytes, so directories are made short."""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

from devicemgr import open_device_manager
from devicemgr.testing import open_simulated_plugin

settings.register_profile("busy", deadline=None)  # 200 ms by default, which a busy machine takes for anything
settings.load_profile("busy")


def pytest_addoption(parser):
    parser.addoption("--vectors", default=None, help="run tests/vectors on this file")
    parser.addoption("--vendors", metavar="DIRECTORY", help="check vendors' plug-ins, whose programs are there, too")
    parser.addoption("--rewrite-traces", action="store_true", help="write the golden traces anew")


def pytest_configure(config):
    """A shell switches SIGINT off for what it runs in the background, and programs under test would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def root_dir():
    with tempfile.TemporaryDirectory(prefix="dm-") as directory:
        yield Path(directory)


@pytest.fixture
async def manager(root_dir):
    """A manager in this program, on real sockets."""
    async with open_device_manager(root_dir) as running:
        yield running


@pytest.fixture
def open_plugin(manager):
    """``async with open_plugin("vendor.com/gpu", devices=2) as plugin:`` in the manager's directory."""

    def open_one(resource="vendor.com/gpu", **options):
        return open_simulated_plugin(manager.layout.plugins, resource, **options)

    return open_one
