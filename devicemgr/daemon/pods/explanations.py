"""The explanations that are kept: one for each admitted pod, and the last hundred of refused or ended pods."""

from __future__ import annotations

from collections import deque

from ...core.allocation.explanation import Explanation
from ...model import PodUid

MAX_PAST = 100
"""Explanations of pods that were refused or have ended."""
MAX_LATER_REFUSALS = 10
"""Refusals that are remembered for a pod that stays admitted."""


class Explanations:
    def __init__(self) -> None:
        self._current: dict[PodUid, Explanation] = {}
        self._past: deque[Explanation] = deque(maxlen=MAX_PAST)

    def record(self, explanation: Explanation) -> None:
        """A pod that is admitted again keeps the explanation of how it got its devices."""
        uid = explanation.uid
        current = self._current.get(uid)
        if not explanation.admitted and current is not None:
            refusal = {"time": explanation.time, "message": explanation.message, "rule": explanation.rule}
            current.later_refusals = [*current.later_refusals[1 - MAX_LATER_REFUSALS :], refusal]
        elif not explanation.admitted:
            self._past.append(explanation)
        elif current is None or explanation.took_devices:
            self._current[uid] = explanation

    def pod_ended(self, uid: PodUid) -> None:
        if explanation := self._current.pop(uid, None):
            self._past.append(explanation)

    def current(self, uid: PodUid) -> Explanation | None:
        """That of an admitted pod."""
        return self._current.get(uid)

    def past(self, namespace: str, name: str) -> Explanation | None:
        """The latest of a pod of this name that was refused or has ended."""
        found = (one for one in reversed(self._past) if (one.namespace, one.name) == (namespace, name))
        return next(found, None)
