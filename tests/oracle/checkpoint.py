"""The kubelet's checkpoint file as values that can be compared: without the order of its lists and the checksum."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from devicemgr.rpc.stubs import v1beta1 as wire

FILE = "kubelet_internal_checkpoint"


def read_checkpoint(plugins: Path) -> dict[str, Any]:
    """No file is the same as one in which there is nothing: ours is written as soon as there are options of plug-ins to
    be kept (LIM-39)."""
    path = plugins / FILE
    if not path.exists():
        return {"entries": {}, "registered": {}}
    data = json.loads(path.read_text())["Data"]
    entries = {
        f"{entry['PodUID']} {entry['ContainerName']} {entry['ResourceName']}": {
            "devices": {node: sorted(ids) for node, ids in entry["DeviceIDs"].items()},
            "answer": wire.ContainerAllocateResponse.parse(base64.b64decode(entry["AllocResp"] or "")).to_dict(),
        }
        for entry in data["PodDeviceEntries"] or ()
    }
    registered = {resource: sorted(ids or ()) for resource, ids in (data["RegisteredDevices"] or {}).items()}
    return {"entries": entries, "registered": registered}
