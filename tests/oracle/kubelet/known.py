"""In what the kubelet as a whole differs from us. Kubernetes' managers alone do not show it."""

from __future__ import annotations

from dataclasses import replace

from tests.oracle.compare import MISSING, Difference


def as_a_whole(difference: Difference) -> Difference:
    """With the item that explains it, if it is one of these."""
    for item, looks in (("PR-7", _is_refused_pod), ("MET-1", _is_zero)):
        if looks(difference):
            return replace(difference, item=item)
    return difference


def _is_refused_pod(difference: Difference) -> bool:
    """Whoever asks in v1alpha1 is told of pods that the kubelet has refused, too."""
    of_a_pod = difference.where[:3] == ("result", "pod-resources", "v1alpha1") and len(difference.where) == 4
    if not of_a_pod or difference.ours != MISSING:
        return False
    return not any(difference.judge["containers"].values())


def _is_zero(difference: Difference) -> bool:
    """A kubelet shows no aligned resources before there is one: its zeros are set before its metrics exist."""
    if difference.where[:2] != ("result", "metrics") or "aligned_compute_resources" not in difference.where[2]:
        return False
    ours = difference.ours["counts"] if isinstance(difference.ours, dict) else {"": difference.ours}
    return difference.judge == MISSING and not any(ours.values())
