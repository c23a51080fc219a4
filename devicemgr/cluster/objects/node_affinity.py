"""Which nodes a pod asks for: ``nodeSelector``, and the required node affinity."""

from __future__ import annotations

from collections.abc import Mapping

from .metadata import Object


def matches_node(pod: Object, node: Object) -> bool:
    """Does the pod want this node? All of ``nodeSelector`` and one of the terms of its affinity have to match."""
    spec = pod["spec"]
    labels: Mapping[str, str] = node["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    fields = {"metadata.name": node["metadata"]["name"]}
    return any(_matches_term(term, labels, fields) for term in required.get("nodeSelectorTerms") or [])


def _matches_term(term: Object, labels: Mapping[str, str], fields: Mapping[str, str]) -> bool:
    """A term without requirements matches nothing."""
    of_labels, of_fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    return bool(of_labels or of_fields) and (
        all(_matches(one, labels) for one in of_labels) and all(_matches(one, fields) for one in of_fields)
    )


def _matches(requirement: Object, there: Mapping[str, str]) -> bool:
    key, values = requirement["key"], requirement.get("values") or []
    match requirement["operator"]:
        case "In":
            return there.get(key) in values
        case "NotIn":
            return there.get(key) not in values
        case "Exists":
            return key in there
        case "DoesNotExist":
            return key not in there
        case "Gt":
            return _is_less(values[0], there.get(key))
        case "Lt":
            return key in there and _is_less(there[key], values[0])
        case _:
            return False


def _is_less(one: str, other: str | None) -> bool:
    """As whole numbers; what is none matches nothing."""
    try:
        return int(one) < int(other or "")
    except ValueError:
        return False
