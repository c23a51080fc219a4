"""How many events a trace does not have: it may begin in the middle, as ``tail`` cuts it, and a sink that is too slow
loses some. The log numbers its events, so each gap shows."""

from __future__ import annotations

from ..conversation.fields import Event, count, number

_MOST_INSTANCES = 100
"""Instances of a plug-in under test, each with a log of its own; ``check`` runs six."""


class MissingEvents:
    """``number`` events before the latest one are missing. Events without numbers, as in a golden trace, are all
    there."""

    def __init__(self) -> None:
        self.number = 0
        self._last: dict[int, int] = {}

    def note(self, event: Event) -> bool:
        """The next event. Returns whether another log begins with it: that of the next manager, in the same file."""
        if number(event, "sequence") is None:
            return False
        now, instance = count(event, "sequence"), min(max(count(event, "instance"), 0), _MOST_INSTANCES)
        before = self._last.get(instance, 0)
        self._last[instance] = now
        is_another = now < before
        self.number = max(now - 1, 0) if is_another else self.number + max(now - before - 1, 0)
        return is_another

    def forget(self) -> None:
        """A manager has begun: what is so from now on does not depend on them."""
        self.number = 0
