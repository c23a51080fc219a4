"""A checkpoint cut off, or with one other bit, at any byte: the generation before is used, and an event reports it."""

from __future__ import annotations

import json

import pytest
import trio

from devicemgr import open_device_manager
from devicemgr.core.checkpoint.kubelet_format import FILE_NAME, Checkpoint, canonical_text, checksum_of, render
from devicemgr.core.devices.store import DeviceStore
from devicemgr.daemon.checkpoint.writer import checkpoint_file, restore
from devicemgr.daemon.event_log import EventLog
from devicemgr.daemon.layout import Layout
from devicemgr.errors import CorruptCheckpoint
from devicemgr.events import FileSetAside, StateRestored
from devicemgr.testing import open_registered_plugin
from tests.helpers import pod

GPU = "vendor.com/gpu"


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


async def test_at_every_byte_the_generation_before_is_used_and_reported(root_dir, generations):
    newest, before = generations
    assert start(root_dir, newest, before)[0] == ["first", "second"]
    unnoticed = 0
    for data in damaged(newest):
        pods, events = start(root_dir, data, before)
        set_aside = [event for event in events if isinstance(event, FileSetAside)]
        if set_aside:
            assert (pods, set_aside[0].used) == (["first"], f".{FILE_NAME}.previous")
        else:  # the bit was one that changes nothing, as in a space
            assert pods == ["first", "second"]
            unnoticed += 1
        assert isinstance(events[-1], StateRestored)
        await trio.lowlevel.checkpoint()
    assert unnoticed < len(newest) / 100


async def test_with_both_generations_damaged_the_loss_is_reported(root_dir, generations):
    newest, before = generations
    for data in list(damaged(newest))[::50]:
        pods, events = start(root_dir, data, before[: len(before) // 2])
        assert pods == []
        assert [(type(event), event.used) for event in events] == [(FileSetAside, "")] * 2


def sectioned(**changes):
    """A checkpoint with the right checksums, and these JSON texts in our section."""
    parts = {
        "BootID": '"b"',
        "Layout": "2",
        "PluginOptions": "{}",
        "Pods": "[]",
        "RemovedResources": "[]",
        "Unconfirmed": "[]",
        **changes,
    }
    text = ",".join(f'"{key}":{value}' for key, value in sorted(parts.items()))
    section = json.loads(f"{{{text}}}")
    summed = checksum_of(json.dumps(section, sort_keys=True, separators=(",", ":")))
    return render(Checkpoint(), section=f'{{"Data":{{{text}}},"Checksum":{summed}}}')


def with_limit(count):
    return sectioned(Pods=WITH_ONE_POD.replace("COUNT", count))


def with_entry(**changes):
    """A kubelet's checkpoint with one entry, which has these JSON texts."""
    parts = {"PodUID": '"u"', "ContainerName": '"c"', "ResourceName": f'"{GPU}"', "AllocResp": '""', **changes}
    data = f'{{"PodDeviceEntries":[{{{",".join(f""""{key}":{value}""" for key, value in parts.items())}}}]}}'
    try:
        summed = checksum_of(canonical_text(json.loads(data)))
    except (CorruptCheckpoint, RecursionError):
        summed = 0
    return f'{{"Data":{data},"Checksum":{summed}}}'


def nested(inner):
    return inner * 900 + "1" + "}" * 900


WITH_ONE_POD = (
    '[{"Namespace":"n","Name":"p","UID":"u","Containers":[{"Name":"c","Kind":"main","Limits":{"v.com/gpu":COUNT}}]}]'
)
ODD = {
    "infinite limit": with_limit("Infinity"),
    "limit that is no number": with_limit("NaN"),
    "limit beyond a float": with_limit("1e400"),
    "negative limit": with_limit("-1"),
    "half a device": with_limit("1.5"),
    "true": with_limit("true"),
    "limit beyond 64 bits": with_limit("9" * 4000),
    "limit of 5,000 digits": with_limit("1").replace(":1}", f":{'9' * 5000}}}"),
    "name that is a number": sectioned(Pods=WITH_ONE_POD.replace("COUNT", "1").replace('"p"', "7")),
    "name that is no Unicode": sectioned(Pods=WITH_ONE_POD.replace("COUNT", "1").replace('"p"', '"\\ud800"')),
    "pods that are a text": sectioned(Pods='"pods"'),
    "resources that are a text": sectioned(RemovedResources='"abc"'),
    "infinite layout": sectioned(Layout="1e400"),
    "infinite checksum": '{"Data":{},"Checksum":1e400}',
    "checksum beyond 64 bits": f'{{"Data":{{}},"Checksum":{"9" * 4000}}}',
    "negative checksum": '{"Data":{},"Checksum":-1}',
    "NUMA node beyond 64 bits": with_entry(DeviceIDs='{"9999999999999999999":["d"]}'),
    "deeper than anybody reads": f'{{"Data":{{}},"x":{"[" * 100_000}{"]" * 100_000}}}',
}
HARMLESS = {
    "key given twice": sectioned().replace('"Checksum"', '"Checksum":5,"Checksum"', 1),
    "pod given twice": sectioned(Pods=(WITH_ONE_POD[:-1] + "," + WITH_ONE_POD[1:]).replace("COUNT", "1")),
    "deep in a key that nobody knows": sectioned(Zzz=nested('{"a":')),
    "deep in an entry": with_entry(z=nested('{"PodUID":"x","z":')),
    "number beyond a float that nobody reads": sectioned().replace('{"Data"', '{"x":1e400,"Data"', 1),
    "highest NUMA node": with_entry(DeviceIDs=f'{{"{2**63 - 1}":["d"],"-5":["d"]}}'),
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
async def test_what_is_odd_is_not_believed_though_its_checksums_are_right(root_dir, generations, text):
    pods, events = start(root_dir, text.encode(), generations[1])
    assert pods == ["first"]
    assert isinstance(events[0], FileSetAside)
    assert len(events[0].problem) < 400
    assert events[0].problem.isprintable()


@pytest.mark.parametrize("text", HARMLESS.values(), ids=HARMLESS)
async def test_what_is_odd_and_harmless_is_read(root_dir, generations, text):
    _, events = start(root_dir, text.encode(), generations[1])
    assert [type(event) for event in events] == [StateRestored]
    async with open_device_manager(root_dir) as manager:
        assert [one.uid for one in manager.pods()] == (["u"] if '"u"' in text else [])
