"""Fixtures for all tests. A socket path has at most 107 bytes, so directories are made short."""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

from devicemgr import DeviceManager, open_device_manager
from devicemgr.daemon.event_log import EventLog
from devicemgr.testing import open_simulated_plugin

settings.register_profile("busy", deadline=None)  # 200 ms by default, which a busy machine takes for anything
settings.load_profile("busy")


def pytest_addoption(parser):
    parser.addoption("--vectors", default=None, help="run tests/vectors on this file")
    parser.addoption("--vendors", metavar="DIRECTORY", help="check vendors' plug-ins, whose programs are there, too")
    parser.addoption("--rewrite-traces", action="store_true", help="write the golden traces anew")


def pytest_configure(config):
    """A shell switches SIGINT off for what it runs in the background, and nohup SIGHUP. Programs under test would
    inherit that, but not a handler."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda number, frame: None)


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


@pytest.fixture
def task_names(monkeypatch):
    """The names of all tasks and calls in the trees of all managers, looked at with each of their events."""
    names, trees = set(), {}
    make, record = DeviceManager.__init__, EventLog.record

    def made(manager, layout, log, *arguments, **options):
        make(manager, layout, log, *arguments, **options)
        trees[log] = manager.running_tree

    def recorded(log, events):
        record(log, events)
        if log in trees:
            names.update(node.name for node in trees[log].snapshot().walk() if node.kind != "nursery")

    monkeypatch.setattr(DeviceManager, "__init__", made)
    monkeypatch.setattr(EventLog, "record", recorded)
    return names
