"""NUMA nodes as sets of bits, how far they are from each other (TM-3…TM-5), and both as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Annotated

from ...arguments import CheckedFields, Count
from ...errors import UnusableTopology

# Decision: a mask is a Python int. The kubelet's masks have 64 bits, and a device on node 64 crashes it (LIM-18); an
# int has as many bits as it needs, and ``&``, ``|`` and ``bit_count`` are all that merging hints needs.
Mask = int
"""A set of NUMA nodes: bit n is node n."""


def mask_of(nodes: Iterable[int]) -> Mask:
    mask = 0
    for node in nodes:
        mask |= 1 << node
    return mask


def nodes_of(mask: Mask) -> tuple[int, ...]:
    """The nodes of a mask, ascending."""
    return tuple(node for node in range(mask.bit_length()) if mask >> node & 1)


def subsets(nodes: Sequence[int]) -> Iterator[Mask]:
    """Every non-empty subset: by size, then in the order in which the nodes are given (TM-5)."""
    bits = [1 << node for node in nodes]
    for size in range(1, len(nodes) + 1):
        yield from map(sum, combinations(bits, size))  # of different bits the sum is the union


def _ascending(nodes: tuple[int, ...]) -> str | None:
    return None if nodes == tuple(sorted(set(nodes))) else "must be in ascending order"


@dataclass(frozen=True, slots=True, kw_only=True)
class Numa(CheckedFields):
    """A machine's NUMA nodes in ascending order, and per node its distances to all nodes (10 is its own memory).

    ``distances`` may lack nodes: their distances are unknown.
    """

    nodes: Annotated[tuple[Count, ...], _ascending] = (0,)
    distances: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    @property
    def mask(self) -> Mask:
        return mask_of(self.nodes)

    def average_distance(self, mask: Mask) -> float:
        """Mean over all ordered pairs of the mask's nodes, each with itself included (TM-12); 0 when unknown."""
        pairs = mask.bit_count() ** 2
        return self.total_distance(mask) / pairs if pairs else 0.0

    def total_distance(self, mask: Mask) -> int:
        nodes = nodes_of(mask)
        return sum(self.distance(one, other) for one in nodes for other in nodes)

    def distance(self, one: int, other: int) -> int:
        """From one node to another; 0 when unknown."""
        row = self.distances.get(one, ())
        return row[other] if other < len(row) else 0


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
        return Numa(nodes=tuple(nodes), distances={node: by_number(nodes, row) for node, row in listed.items()})
    except ValueError:
        raise UnusableTopology(
            f"NUMA nodes {text!r}: write them as 0,1 or 0-1 or, with one distance per node, as 0=10,21;1=21,10",
            code="bad_numa",
        ) from None


def by_number(nodes: Sequence[int], distances: Sequence[int]) -> tuple[int, ...]:
    """Distances by node number, from those listed by position among ``nodes``, which may have gaps."""
    by_node = dict(zip(nodes, distances, strict=False))
    return tuple(by_node.get(number, 0) for number in range(nodes[-1] + 1))


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
