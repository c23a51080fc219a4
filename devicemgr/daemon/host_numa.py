"""The machine's NUMA nodes, as the kernel tells of them."""

from __future__ import annotations

import re
from pathlib import Path

from ..core.topology.numa import Numa
from ..errors import UnusableTopology

NODE_DIRECTORY = Path("/sys/devices/system/node")


def read_numa(directory: Path = NODE_DIRECTORY) -> Numa:
    """The online nodes and their distances. A machine that does not tell has the one node 0."""
    nodes = sorted(
        int(match[1])
        for path in (directory.iterdir() if directory.is_dir() else ())
        if (match := re.fullmatch(r"node([0-9]{1,4})", path.name))
    )
    if not nodes:
        return Numa()
    return Numa(nodes=tuple(nodes), distances={node: _distances(directory, node, nodes) for node in nodes})


def _distances(directory: Path, node: int, nodes: list[int]) -> tuple[int, ...]:
    """Distances by node number. The kernel lists them by position among the online nodes, which may have gaps."""
    try:
        listed = [int(word) for word in (directory / f"node{node}" / "distance").read_text().split()]
    except (OSError, ValueError):
        return ()
    by_node = dict(zip(nodes, listed, strict=False))
    return tuple(by_node.get(number, 0) for number in range(max(nodes) + 1))


def parse_numa(text: str) -> Numa:
    """``0,1`` or ``0-1`` or, with distances, ``0=10,21;1=21,10`` (one per node, in their order).

    Raises UnusableTopology.
    """
    try:
        if "=" not in text:
            return Numa(nodes=tuple(sorted(set(parse_nodes(text)))))
        rows = dict(row.split("=") for row in text.split(";") if row.strip())
        listed = {_node(node): [int(word) for word in row.split(",")] for node, row in rows.items()}
        nodes = sorted(listed)
        if any(len(row) != len(nodes) for row in listed.values()):
            raise ValueError
        distances = {
            node: tuple(dict(zip(nodes, row, strict=True)).get(number, 0) for number in range(nodes[-1] + 1))
            for node, row in listed.items()
        }
        return Numa(nodes=tuple(nodes), distances=distances)
    except ValueError:
        raise UnusableTopology(
            f"{text!r}: write the nodes as 0,1 or 0-1 or, with one distance per node, as 0=10,21;1=21,10",
            code="bad_numa",
        ) from None


def parse_nodes(text: str) -> list[int]:
    """``1,4-6`` → [1, 4, 5, 6], in the order given. Raises ValueError."""
    nodes: list[int] = []
    for word in text.split(","):
        first, dash, last = word.partition("-")
        some = range(_node(first), _node(last if dash else first) + 1)
        if not some:
            raise ValueError
        nodes += some
    return nodes


def _node(word: str) -> int:
    node = int(word)
    if not 0 <= node < 1024:
        raise ValueError
    return node
