"""Which hints are good enough for a pod to run (TM-13).

=================  ==============================================  ======================
policy             what it merges                                  admits
=================  ==============================================  ======================
none               nothing                                         always
best-effort        all hints                                       always
restricted         all hints                                       a preferred result
single-numa-node   preferred hints for any node or exactly one     a preferred result
=================  ==============================================  ======================
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .hints import DeviceHints, Hint, HintList, Hints
from .merge import ANY, Merged, filter_providers_hints, filter_single_numa_hints, merge_hints
from .node_search import MAX_STEPS, SearchBudgetExceeded
from .policy import Policy, Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """A policy's decision: the affinity to allocate by, and whether the pod may run."""

    hint: Hint
    admit: bool
    because: str
    is_decided: bool = True
    """False when the search for the best nodes took too many steps. The pod is then refused, whatever the policy."""


def align(topology: Topology, providers: Iterable[Hints | None]) -> Alignment:
    """Merge the hints of all providers, in the order of their registration (ALLOC-3), and decide (TM-13)."""
    policy, numa = topology.policy, topology.numa
    if policy is Policy.NONE:
        return Alignment(hint=ANY, admit=True, because="the policy none does not look at NUMA nodes")
    lists: list[HintList] = [hints for _, hints in filter_providers_hints(providers)]
    if policy is Policy.SINGLE_NUMA_NODE:
        lists = [filter_single_numa_hints(hints) for hints in lists]
    # Closeness does not matter where exactly one node is wanted.
    prefer_closest = topology.prefer_closest and policy is not Policy.SINGLE_NUMA_NODE
    try:
        merged: Merged = merge_hints(lists, numa, prefer_closest=prefer_closest)
    except SearchBudgetExceeded:
        return Alignment(
            hint=ANY, admit=False, because=_too_many(lists, prefer_closest=prefer_closest), is_decided=False
        )
    hint = merged.hint
    if policy is Policy.SINGLE_NUMA_NODE and hint.affinity == numa.mask:
        hint = Hint(None, hint.preferred)
    admit = policy is Policy.BEST_EFFORT or hint.preferred
    return Alignment(hint=hint, admit=admit, because=merged.because)


def _too_many(lists: Iterable[HintList], *, prefer_closest: bool) -> str:
    """Why there is no decision, and what helps."""
    count = max(hints.nodes.bit_count() for hints in lists if isinstance(hints, DeviceHints))
    option = "no prefer-closest-numa-nodes, " if prefer_closest else ""
    return (
        f"devices on {count} NUMA nodes can be combined in too many ways to find the best in {MAX_STEPS:,} steps; what "
        f"helps is {option}each device on fewer NUMA nodes, or the policy single-numa-node or none"
    )
