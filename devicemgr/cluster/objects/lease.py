"""The Lease of a node: its heartbeat, and who is the node of that name.

The node lifecycle controller looks at the time of the last renewal only, so the holder may be anybody. A kubelet writes
the node's name there, which cannot tell two agents with one name apart. Ours says where it runs.
"""

from __future__ import annotations

import re

from .metadata import Object
from .times import micro_timestamp

DURATION = 40
"""Seconds without a renewal after which the node is taken for lost, as a kubelet says it by default."""
RENEW_PERIOD = DURATION / 4
"""Seconds between renewals: a quarter of the duration, as in a kubelet."""

_HOLDER = re.compile(r"(devicemgr@[^/]*/[0-9a-f]{8})/([0-9a-f]+)(:.*)#[0-9-]+", re.DOTALL)


def holder_identity(*, host: str, machine: str, boot: str, root: str, directory: str) -> str:
    """Who an agent is. Machines often share a name, so it has an id of the machine, which may be empty, and of its
    boot. Containers of one machine often share the path of their directory, so it has the directory's id as well."""
    return f"devicemgr@{host}/{machine}/{boot}:{root}#{directory}"


def ended_with_a_reboot(holder: str, own: str) -> bool:
    """Is ``holder`` the agent that was in our place before this machine was started again? It cannot run any more. The
    id of its directory may be another one by now, as devices are numbered when they are found."""
    theirs, ours = _HOLDER.fullmatch(holder), _HOLDER.fullmatch(own)
    if theirs is None or ours is None:
        return False
    return theirs.group(1, 3) == ours.group(1, 3) and theirs[2] != ours[2]


def new_lease(node: str, holder: str, *, time: float, node_uid: str | None) -> Object:
    """``node_uid`` makes the Node the owner, so that the Lease goes with it."""
    owner = {"apiVersion": "v1", "kind": "Node", "name": node, "uid": node_uid}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": node,
            "namespace": "kube-node-lease",
            **({"ownerReferences": [owner]} if node_uid else {}),
        },
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": DURATION, "renewTime": micro_timestamp(time)},
    }


def renewed(lease: Object, holder: str, *, time: float, node_uid: str | None) -> Object:
    """The same Lease, now held by ``holder``; with its resourceVersion, so that only one of two can be the quicker."""
    fresh = new_lease(lease["metadata"]["name"], holder, time=time, node_uid=node_uid)
    owners = fresh["metadata"].get("ownerReferences") or lease["metadata"].get("ownerReferences") or []
    metadata = {**lease["metadata"], "ownerReferences": owners}
    return {**lease, "metadata": metadata, "spec": {**(lease.get("spec") or {}), **fresh["spec"]}}


def holder_of(lease: Object) -> str:
    """Empty if nobody holds it."""
    return (lease.get("spec") or {}).get("holderIdentity") or ""


def renewal_of(lease: Object) -> str:
    """The time of the last renewal, to compare with an earlier look at it: clocks of two machines differ."""
    return (lease.get("spec") or {}).get("renewTime") or ""


def duration_of(lease: Object) -> float:
    """Seconds without a renewal after which it is nobody's."""
    return float((lease.get("spec") or {}).get("leaseDurationSeconds") or DURATION)
