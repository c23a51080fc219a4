"""Reads the checkpoints of all versions of the kubelet, to show them.

==============  ==============================================================================
Kubernetes      layout
==============  ==============================================================================
1.20 and later  ``{"Data": …, "Checksum": n}``, the devices of an entry by NUMA node
1.11 to 1.19    the same, the devices of an entry as a list
1.8 to 1.10     only what is ``Data`` in the others, without a checksum; devices as a list
==============  ==============================================================================

The manager itself loads the newest layout only, as today's kubelet does (CKPT-9), and only with the right checksum.
Here a wrong checksum is reported, and the content is shown all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import CorruptCheckpoint
from .kubelet_format import (
    NO_NUMA_NODE,
    Checkpoint,
    canonical_text,
    checksum_problem,
    content,
    load_json,
    stored_checksum,
)

NEWEST, LISTS, BARE = "1.20 and later", "1.11 to 1.19", "1.8 to 1.10"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyCheckpoint:
    """``problem`` says why the checksum is wrong. It is empty if it is right, or the layout has none."""

    checkpoint: Checkpoint
    layout: str
    problem: str = ""

    @property
    def checksum(self) -> str:
        """``ok``, ``wrong`` or ``none``."""
        return "wrong" if self.problem else "none" if self.layout == BARE else "ok"


def parse_any_checkpoint(text: str) -> AnyCheckpoint:
    """Parse a file in any of the layouts. Raises CorruptCheckpoint if it has none of them."""
    top = load_json(text)
    layout, data = _layout(top)
    canonical = canonical_text(data, with_nodes=layout == NEWEST)
    problem = "" if layout == BARE else checksum_problem(canonical, stored_checksum(top))
    return AnyCheckpoint(
        checkpoint=content(data if layout == NEWEST else _by_node(data)), layout=layout, problem=problem
    )


def _layout(top: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    if "Data" not in top:
        if not top.keys() & {"PodDeviceEntries", "RegisteredDevices"}:
            raise CorruptCheckpoint("it has neither Data nor PodDeviceEntries: it is not a device manager's")
        return BARE, top
    data = {} if top["Data"] is None else top["Data"]
    entries = data.get("PodDeviceEntries") if isinstance(data, dict) else None
    has_lists = isinstance(entries, list) and any(
        isinstance(entry, dict) and isinstance(entry.get("DeviceIDs"), list) for entry in entries
    )
    return LISTS if has_lists else NEWEST, data


def _by_node(data: Mapping[str, Any]) -> dict[str, Any]:
    """Convert to the newest layout: the older ones have no NUMA nodes."""
    entries = [
        {**(entry or {}), "DeviceIDs": {str(NO_NUMA_NODE): (entry or {}).get("DeviceIDs")}}
        for entry in data.get("PodDeviceEntries") or ()
    ]
    return {**data, "PodDeviceEntries": entries}
