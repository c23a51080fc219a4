"""The groups about the checkpoint, and about how devices are recorded by NUMA node."""

from __future__ import annotations

import json

import pytest

from devicemgr.core.checkpoint.kubelet_format import (
    Entry,
    canonical_text,
    checksum_of,
    entry_fragment,
    numa_map,
    parse_checkpoint,
    render,
)
from devicemgr.errors import CorruptCheckpoint
from devicemgr.model import Owner


def checkpoint_checksum(case):
    assert canonical_text(case["data"]) == case["canonical_text"]
    assert checksum_of(case["canonical_text"]) == case["checksum"]
    if case.get("file_text"):
        assert json.loads(case["file_text"])["Checksum"] == case["checksum"]
        assert render(parse_checkpoint(case["file_text"])) == case["file_text"]


def checkpoint_load(case):
    """Whether a text is a valid checkpoint. A missing file is tested with the files."""
    if case["file_text"] is None:
        assert case["expect"].startswith("not_found")
    elif case["expect"].startswith("error"):
        with pytest.raises(CorruptCheckpoint):
            parse_checkpoint(case["file_text"])
    else:
        parse_checkpoint(case["file_text"])


def allocation_numa_map(case):
    """ALLOC-5h."""
    devices = {id: case["devices"][id] and tuple(case["devices"][id]) for id in case["allocated"]}
    assert {str(node): ids for node, ids in numa_map(devices).items()} == case["expect"]


def container_devices(case):
    """CC-110: written by node, read back by device."""
    devices = {}
    for node, ids in case["numa_map"].items():
        for id in ids:
            devices[id] = (*devices.get(id, ()), int(node))
    entry = Entry(owner=Owner("p", "c"), resource="a.com/x", devices=devices, answer=b"")
    fragment = entry_fragment(entry)
    data = {"PodDeviceEntries": [json.loads(fragment.json)], "RegisteredDevices": {}}
    text = json.dumps({"Data": data, "Checksum": checksum_of(canonical_text(data))})
    read = parse_checkpoint(text).entries[0].devices
    assert {id: list(nodes) for id, nodes in read.items()} == case["expect"]


RUNNERS = (checkpoint_checksum, checkpoint_load, allocation_numa_map, container_devices)
