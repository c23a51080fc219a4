"""Which taints a pod tolerates."""

from __future__ import annotations

from collections.abc import Iterable

from .metadata import Object


def tolerates(pod: Object, taints: Iterable[Object], effect: str) -> bool:
    """Does it tolerate all taints with this effect?"""
    tolerations = pod["spec"].get("tolerations") or []
    return all(any(_tolerates(one, taint) for one in tolerations) for taint in taints if taint["effect"] == effect)


def _tolerates(toleration: Object, taint: Object) -> bool:
    """What it leaves out matches everything."""
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("key") not in (None, "", taint["key"]):
        return False
    is_any = toleration.get("operator") == "Exists"
    return is_any or (toleration.get("value") or "") == (taint.get("value") or "")
