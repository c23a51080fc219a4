"""A period in which nothing is done to the plug-in, so that it has nothing to say."""

from __future__ import annotations

from ....events import DeviceListReceived
from ....model import ResourceName
from ..verdicts import Failed
from .history import History
from .recording_client import CheckCallFinished


class QuietPeriod:
    """It begins when all resources have their first list, and is the same for all checks that watch it.

    Its end is set when a check first asks for it. A resource that is registered later has its own beginning and the
    same end.
    """

    def __init__(self, history: History, seconds: float) -> None:
        self._history = history
        self._seconds = seconds
        self._end: float | None = None
        self._watched: set[ResourceName] = set()
        self.since = 0.0
        """Earlier events are not part of it."""

    def bounds(self) -> tuple[float, float]:
        """Begin, for the resource under test, and end. Raises Failed."""
        if (begin := self._first_list(self._history.resource)) is None:
            raise Failed("no list of devices has come")
        if self._end is None:
            first_lists = (self._first_list(resource) for resource in self._history.known)
            calls = (seen.time for seen in self._history.entries if isinstance(seen.event, CheckCallFinished))
            self._end = max(*(time for time in first_lists if time is not None), *calls, self.since) + self._seconds
        return begin, self._end

    def is_first_watch(self, resource: ResourceName) -> bool:
        """True the first time for each resource."""
        is_first = resource not in self._watched
        self._watched.add(resource)
        return is_first

    def restart(self, since: float) -> None:
        """Begin another one, for a plug-in that was started again."""
        self.since, self._end = since, None
        self._watched.clear()

    def _first_list(self, resource: ResourceName) -> float | None:
        lists = self._history.seen(DeviceListReceived, since=self.since, of=resource)
        return lists[0][0].time if lists else None
