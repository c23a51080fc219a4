"""A checkpoint cut off, or with one other bit, at any byte: the generation before is used, and somebody is told."""

from __future__ import annotations

import pytest
import trio

from devicemgr import open_device_manager
from devicemgr.core.checkpoint import FILE_NAME
from devicemgr.core.store import DeviceStore
from devicemgr.daemon.checkpointing import checkpoint_file, restore
from devicemgr.daemon.directory import Layout
from devicemgr.daemon.event_log import EventLog
from devicemgr.events import FileSetAside, StateRestored
from devicemgr.testing import open_registered_plugin

GPU = "vendor.com/gpu"


def pod(name):
    limits = {"containers": [{"name": "main", "resources": {"limits": {GPU: 1}}}]}
    return {"kind": "Pod", "metadata": {"name": name, "uid": name}, "spec": limits}


@pytest.fixture
async def generations(root_dir):
    """(newest, the one before) as bytes: with two pods, and with one."""
    path = root_dir / "device-plugins" / FILE_NAME
    found = []
    async with open_device_manager(root_dir) as manager, open_registered_plugin(manager, GPU, devices=3):
        for name in ("first", "second"):
            await manager.admit(pod(name))
            found.insert(0, path.read_bytes())
    return found


def start(root, newest, before):
    """What a start makes of two generations: (its pods, its events)."""
    layout = Layout(root)
    for old in layout.plugins.iterdir():
        old.unlink()
    file = checkpoint_file(layout)
    file.path.write_bytes(newest)
    file.previous.write_bytes(before)
    store, log = DeviceStore(), EventLog()
    restore(file, store, log, boot_id="")
    return [pod.name for pod in store.pods], [one.event for one in log.after(0)]


def damaged(data):
    """Cut off before each byte; and each byte with one bit flipped, another bit each time."""
    for place in range(len(data)):
        yield data[:place]
        yield data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :]


async def test_at_every_byte_the_generation_before_is_used_and_somebody_is_told(root_dir, generations):
    newest, before = generations
    assert start(root_dir, newest, before)[0] == ["first", "second"]
    unnoticed = 0
    for data in damaged(newest):
        pods, events = start(root_dir, data, before)
        told = [event for event in events if isinstance(event, FileSetAside)]
        if told:
            assert (pods, told[0].used) == (["first"], f".{FILE_NAME}.previous")
        else:  # the bit was one that changes nothing, as in a space
            assert pods == ["first", "second"]
            unnoticed += 1
        assert isinstance(events[-1], StateRestored)
        await trio.lowlevel.checkpoint()
    assert unnoticed < len(newest) / 100


async def test_with_both_generations_damaged_the_loss_is_told(root_dir, generations):
    newest, before = generations
    for data in list(damaged(newest))[::50]:
        pods, events = start(root_dir, data, before[: len(before) // 2])
        assert pods == []
        assert [(type(told), told.used) for told in events] == [(FileSetAside, "")] * 2
