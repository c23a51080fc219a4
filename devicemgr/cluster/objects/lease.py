"""The Lease of a node: its heartbeat, and who is the node of that name.

The node lifecycle controller looks at the time of the last renewal only, so the holder may be anybody. A kubelet writes
the node's name there, which cannot tell two agents with one name apart. Ours says where it runs.
"""

from __future__ import annotations

from .metadata import Object
from .times import micro_timestamp

DURATION = 40
"""Seconds without a renewal after which the node is taken for lost, as a kubelet says it by default."""
RENEW_PERIOD = DURATION / 4
"""Seconds between renewals: a quarter of the duration, as in a kubelet."""


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
    return float((lease.get("spec") or {}).get("leaseDurationSeconds") or DURATION)
