"""A stream of events as one conversation: with what is missing in it, and which check of ``check`` it belongs to."""

from __future__ import annotations

from collections.abc import Iterable

from .fields import Event, count, number, text
from .items import Item, Note
from .narrator import Narrator

_MOST_INSTANCES = 100
"""Instances of a plug-in under test; ``check`` runs six."""


class Conversation:
    """Tells events in the order in which they were recorded. Each instance of a plug-in under test has a manager, and
    numbers of events, of its own."""

    def __init__(self) -> None:
        self._narrators: dict[int, Narrator] = {}
        self._last: dict[int, int] = {}
        self._times: dict[int, float] = {}
        self._check = ""

    def tell(self, event: Event) -> list[Item]:
        """The items of the next event, after what has to be said of the stream itself."""
        instance = min(max(count(event, "instance"), 0), _MOST_INSTANCES)
        narrator = self._narrators.setdefault(instance, Narrator())
        notes: list[Item] = [
            Note(time=number(event, "time"), text=words)
            for words in (
                self._missing(event, instance),
                self._goes_back(event, instance),
                self._check_begins(event, instance),
            )
            if words
        ]
        return [*notes, *narrator.tell(event)]

    def know_pod(self, *, namespace: str, name: str, uid: str, resources: Iterable[str] = ()) -> None:
        """A pod that is there now. What a log has may begin after it was admitted, or restored, and most events have
        only its uid."""
        for resource in resources:
            self.tell({"event": "AssignmentRestored", "pod_uid": uid, "resource": resource})
        self.tell({"event": "PodRestored", "namespace": namespace, "name": name, "uid": uid})

    def _missing(self, event: Event, instance: int) -> str:
        """The log keeps the last events only, and a reader may be slower than they come."""
        now = count(event, "sequence")
        if now <= 0:
            return ""
        before = self._last.get(instance, 0)
        self._last[instance] = now
        if now <= before + 1 or event.get("event") == "EventsNotWritten":  # which says so itself
            return ""
        return f"{now - before - 1:,} events are missing here"

    def _goes_back(self, event: Event, instance: int) -> str:
        """Somebody has set the clock, or the files of two managers are in one."""
        if (now := number(event, "time")) is None:
            return ""
        before = self._times.get(instance, now)
        self._times[instance] = now
        return f"the clock goes back by {before - now:,.3f} s" if now < before else ""

    def _check_begins(self, event: Event, instance: int) -> str:
        check = text(event, "check", 60)
        name = f"check {check}{f', instance {instance}' if instance > 1 else ''}" if check else ""
        begins = bool(name) and name != self._check
        self._check = name or self._check
        return name if begins else ""
