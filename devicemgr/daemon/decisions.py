"""The manager's memory of why: one decision per pod that is here, and the last hundred of those that are not."""

from __future__ import annotations

from collections import deque

from ..core.decision import Decision
from ..model import PodUid

REMEMBERED = 100
"""Decisions about pods that were refused or have ended."""


class Decisions:
    def __init__(self) -> None:
        self._current: dict[PodUid, Decision] = {}
        self._past: deque[Decision] = deque(maxlen=REMEMBERED)

    def record(self, decision: Decision) -> None:
        if decision.admitted:
            self._current[PodUid(decision.uid)] = decision
        else:
            self._past.append(decision)

    def pod_ended(self, uid: PodUid) -> None:
        if decision := self._current.pop(uid, None):
            self._past.append(decision)

    def find(self, namespace: str, name: str) -> Decision | None:
        """The newest decision about a pod of this name."""
        found = [
            decision
            for decision in (*self._past, *self._current.values())
            if (decision.namespace, decision.name) == (namespace, name)
        ]
        return max(found, key=lambda decision: decision.time, default=None)
