"""The manager's memory of why: one decision per pod that is here, and the last hundred of those that are not."""

from __future__ import annotations

from collections import deque

from ...core.allocation.explanation import Decision
from ...model import PodUid

REMEMBERED = 100
"""Decisions about pods that were refused or have ended."""
LATER = 10
"""Refusals that are remembered of a pod that goes on."""


class Decisions:
    def __init__(self) -> None:
        self._current: dict[PodUid, Decision] = {}
        self._past: deque[Decision] = deque(maxlen=REMEMBERED)

    def record(self, decision: Decision) -> None:
        """A pod that is here and is asked about again keeps the decision that gave it its devices."""
        uid = decision.uid
        current = self._current.get(uid)
        if not decision.admitted and current is not None:
            refusal = {"time": decision.time, "message": decision.message, "rule": decision.rule}
            current.later = [*current.later[1 - LATER :], refusal]
        elif not decision.admitted:
            self._past.append(decision)
        elif current is None or decision.took_devices:
            self._current[uid] = decision

    def pod_ended(self, uid: PodUid) -> None:
        if decision := self._current.pop(uid, None):
            self._past.append(decision)

    def current(self, uid: PodUid) -> Decision | None:
        """About a pod that is here; None when an earlier run decided."""
        return self._current.get(uid)

    def past(self, namespace: str, name: str) -> Decision | None:
        """The newest about a pod of this name that is not here."""
        found = (one for one in reversed(self._past) if (one.namespace, one.name) == (namespace, name))
        return next(found, None)
