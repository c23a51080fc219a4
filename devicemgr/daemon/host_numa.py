"""This machine's NUMA nodes, as the kernel reports them."""

from __future__ import annotations

import re
from pathlib import Path

from ..core.topology.numa import Numa, by_number

NODE_DIRECTORY = Path("/sys/devices/system/node")


def read_numa(directory: Path = NODE_DIRECTORY) -> Numa:
    """The online nodes and their distances. Without information from the kernel there is one node, 0."""
    nodes = sorted(
        int(match[1])
        for path in (directory.iterdir() if directory.is_dir() else ())
        if (match := re.fullmatch(r"node([0-9]{1,4})", path.name))
    )
    if not nodes:
        return Numa()
    return Numa(nodes=tuple(nodes), distances={node: _distances(directory, node, nodes) for node in nodes})


def _distances(directory: Path, node: int, nodes: list[int]) -> tuple[int, ...]:
    """The distances of one node. The kernel lists them by position among the online nodes."""
    try:
        return by_number(nodes, [int(word) for word in (directory / f"node{node}" / "distance").read_text().split()])
    except (OSError, ValueError):
        return ()
