"""What the node publishes about extended resources, and whether a pod fits on what is published (CAP-5…CAP-9).

Quantities are whole numbers by resource name. Other resources (``cpu``, ``memory``) are passed through.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from ...model import NodeStatus
from ..checkpoint.kubelet_format import FILE_NAME

Quantities = Mapping[str, int]


def is_extended(resource: str) -> bool:
    """Does the name have a domain other than kubernetes.io?"""
    return "/" in resource and "kubernetes.io/" not in resource


def node_status(
    node: NodeStatus,
    *,
    capacity: Quantities,
    allocatable: Quantities,
    removed: Collection[str],
    reserved: Quantities | None = None,
) -> NodeStatus:
    """The node's status after the Device Manager's report (CAP-5).

    A removed resource is set to 0, not left out, so that it differs from one that only the cluster knows. An extended
    resource without capacity loses its allocatable entry.
    """
    capacities = {**node.capacity, **capacity, **dict.fromkeys(removed, 0)}
    kept = {name: count for name, count in node.allocatable.items() if name in capacities or not is_extended(name)}
    computed = {name: max(count - (reserved or {}).get(name, 0), 0) for name, count in capacities.items()}
    return replace(
        node, capacity=capacities, allocatable={**kept, **computed, **allocatable}, removed=tuple(sorted(removed))
    )


def should_reset_extended_resources(directory: Iterable[str]) -> bool:
    """Has this node lost its checkpoint, so that what it published before is void? (CAP-6)"""
    # Decision (LIM-17): only a checkpoint counts. The kubelet takes any file that is not hidden for one, so a socket
    # that a plug-in creates before the kubelet starts keeps stale numbers alive.
    return FILE_NAME not in directory


def reset_extended_resources(quantities: Quantities) -> dict[str, int]:
    """Every extended resource as 0, everything else as it is (CAP-6)."""
    return {name: 0 if is_extended(name) else count for name, count in quantities.items()}


def reset_node_status(node: NodeStatus) -> NodeStatus:
    """A node whose extended resources are void until their plug-ins report (CAP-6)."""
    return replace(
        node,
        capacity=reset_extended_resources(node.capacity),
        allocatable=reset_extended_resources(node.allocatable),
        reset=True,
    )


def sanitize_node_allocatable(allocatable: Quantities, held: Quantities) -> dict[str, int]:
    """Allocatable as used in the admission of a pod with devices: never less than what is held (CAP-7).

    Otherwise running pods would not fit while their plug-in is stopped.
    """
    return {**allocatable, **{name: max(allocatable.get(name, 0), count) for name, count in held.items()}}


def remove_missing_extended_resources(requests: Quantities, allocatable: Quantities) -> dict[str, int]:
    """The requests that the fit check considers: without extended resources that the node does not list (CAP-8)."""
    return {name: count for name, count in requests.items() if name in allocatable or not is_extended(name)}


@dataclass(frozen=True, slots=True, kw_only=True)
class InsufficientResource:
    """The first resource of which there is not enough (CAP-9)."""

    resource: str
    requested: int
    used: int
    capacity: int

    @property
    def reason(self) -> str:
        return f"OutOf{self.resource}"

    def __str__(self) -> str:
        return (
            f"Node didn't have enough resource: {self.resource}, "
            f"requested: {self.requested}, used: {self.used}, capacity: {self.capacity}"
        )


def first_insufficient_resource(
    requests: Quantities, used: Quantities, allocatable: Quantities
) -> InsufficientResource | None:
    """Why a pod does not fit beside the others: the first such resource by name. None if it fits."""
    for name, count in sorted(remove_missing_extended_resources(requests, allocatable).items()):
        there = allocatable.get(name, 0)
        if count and used.get(name, 0) + count > there:
            return InsufficientResource(resource=name, requested=count, used=used.get(name, 0), capacity=there)
    return None
