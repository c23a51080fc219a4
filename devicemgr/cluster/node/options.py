"""What a node is told, beside what its manager knows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ...arguments import CheckedFields


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOptions(CheckedFields):
    """
    ====================  =============================================================================================
    ``name``              of the Node
    ``labels``            beside those that a kubelet sets
    ``tainted``           whether a new Node gets the taint ``devicemgr.dev/simulated``, which keeps other people's pods
                          away; as in a kubelet, a Node that is there keeps its taints
    ``capacity``          quantities of cpu, memory, pods, ephemeral-storage …, as ``{"cpu": "4"}``
    ``address``           of the machine, for the pods' ``hostIP`` and the Node's ``InternalIP``
    ``delete_on_exit``    whether the Node is deleted at the end. Else it stays, not Ready, as that of a kubelet does
    ``clock``             seconds since the epoch
    ====================  =============================================================================================
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    tainted: bool = True
    capacity: Mapping[str, str] = field(default_factory=dict)
    address: str = "127.0.0.1"
    delete_on_exit: bool = False
    clock: Callable[[], float] = time.time


KUBELET_VERSIONS = {"1.36": "1.36.3", "1.37": "1.37.2"}
"""The release of each version of Kubernetes whose kubelet the manager is like."""
