"""What the Topology Manager is told: its policy, its scope and its options (TM-1…TM-4, TM-14)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from ...arguments import CheckedFields
from ...errors import UnusableTopology
from .numa import Numa

DEFAULT_MAX_NODES = 8
"""More NUMA nodes than this are refused unless an option allows more: the kubelet looks at 2^n masks, and this manager
at few of them (``node_search``). Also the smallest value that one may set (TM-3)."""
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}


class Policy(StrEnum):
    """Which pods may run, by the NUMA nodes of what they would get (``alignment``)."""

    NONE = "none"
    BEST_EFFORT = "best-effort"
    RESTRICTED = "restricted"
    SINGLE_NUMA_NODE = "single-numa-node"


class Scope(StrEnum):
    """Whether hints are merged container by container, or once for the whole pod (TM-14)."""

    NONE = "none"
    CONTAINER = "container"
    POD = "pod"


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology(CheckedFields):
    """How pods are aligned. With the policy none the scope is none, too (TM-1).

    Raises UnusableTopology for another policy with the scope none, which would align nothing. :func:`parse_topology`
    makes one from the kubelet's settings, and checks them all.
    """

    policy: Policy = Policy.NONE
    scope: Scope = Scope.CONTAINER
    prefer_closest: bool = False
    numa: Numa = Numa()

    def __post_init__(self) -> None:
        CheckedFields.__post_init__(self)
        if self.policy is Policy.NONE:
            object.__setattr__(self, "scope", Scope.NONE)
        elif self.scope is Scope.NONE:
            raise _unknown_scope(self.scope)


def parse_topology(policy: str, scope: str, options: Mapping[str, str], numa: Numa) -> Topology:
    """The configured topology, checked in the kubelet's order: options, NUMA, policy, scope (TM-1, TM-2).

    With policy none nothing else is looked at. Raises UnusableTopology.
    """
    if policy == Policy.NONE:
        return Topology(numa=numa)
    prefer_closest, max_nodes = parse_options(options)
    if prefer_closest:
        check_distances(numa)
    if len(numa.nodes) > max_nodes:
        raise UnusableTopology(
            f"this machine has {len(numa.nodes)} NUMA nodes, more than max-allowable-numa-nodes ({max_nodes}); "
            "raise that option, or use the policy none",
            code="too_many_numa_nodes",
        )
    if policy not in list(Policy):
        raise UnusableTopology(
            f"unknown topology manager policy {policy!r}; there are {', '.join(Policy)}", code="unknown_policy"
        )
    if scope not in (Scope.CONTAINER, Scope.POD):
        raise _unknown_scope(scope)
    return Topology(policy=Policy(policy), scope=Scope(scope), prefer_closest=prefer_closest, numa=numa)


def _unknown_scope(scope: str) -> UnusableTopology:
    return UnusableTopology(
        f"unknown topology manager scope {str(scope)!r}; there are container and pod", code="unknown_scope"
    )


def parse_options(options: Mapping[str, str]) -> tuple[bool, int]:
    """(prefer-closest-numa-nodes, max-allowable-numa-nodes). Raises UnusableTopology (TM-3)."""
    prefer_closest, max_nodes = False, DEFAULT_MAX_NODES
    for name, value in options.items():
        if name == "prefer-closest-numa-nodes":
            if value not in _BOOLEANS:
                raise UnusableTopology(f"{name} must be true or false, not {value!r}", code="bad_bool")
            prefer_closest = _BOOLEANS[value]
        elif name == "max-allowable-numa-nodes":
            max_nodes = _node_limit(name, value)
        else:
            raise UnusableTopology(
                f"unknown topology manager option {name!r}; "
                "there are prefer-closest-numa-nodes and max-allowable-numa-nodes",
                code="unknown_option",
            )
    return prefer_closest, max_nodes


def _node_limit(name: str, value: str) -> int:
    digits = value.removeprefix("+").removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 19):
        raise UnusableTopology(f"{name} must be a number, not {value!r}", code="bad_int")
    if (limit := int(value)) < DEFAULT_MAX_NODES:
        raise UnusableTopology(f"{name} must be at least {DEFAULT_MAX_NODES}, not {limit}", code="below_minimum_8")
    return limit


def check_distances(numa: Numa) -> None:
    """Raises UnusableTopology when the distances of a node are unknown."""
    for node in numa.nodes:
        if not numa.distances.get(node):
            raise UnusableTopology(
                f"prefer-closest-numa-nodes needs distances, and NUMA node {node} reports none",
                code="numa_distances_unavailable",
            )
