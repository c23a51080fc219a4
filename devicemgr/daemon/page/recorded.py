"""The page of a trace: the same views of any moment, by replaying the events up to it.

What is so after some of the events is saved now and then (a *checkpoint*), so a moment is never far from one, however
long the trace is. The events are kept as text, which takes a fraction of the memory.
"""

from __future__ import annotations

import json
import pickle
import zlib
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import trio

from ... import events as kinds
from ...concurrency.steps import Steps, run_steps
from ...concurrency.turns import run_in_turns
from ...core.conversation.elapsed import Elapsed
from ...core.conversation.fields import number
from ...core.views.recorded_tree import TreeMoment
from ...core.views.replay import Recorded, Replay
from .event_texts import EventTexts
from .feed import MAX_EVENTS
from .parts import PartsOf, message, tree_part

_WORK = 2**20
"""From one checkpoint to the next, in bytes of events; an event counts as if it were longer by as much as
``_WORK_OF_EVENT``. All that takes some 30 ms to replay."""
_WORK_OF_EVENT = 2000
_WORK_OF_SAVING = 30
"""Saving a state takes about as long as replaying so many times its bytes when packed. Where it is long, checkpoints
are farther apart, so that saving takes no longer than replaying."""
_MOST_CHECKPOINTS = 1000
"""Of a very long trace they are farther apart."""


@dataclass(slots=True)
class _State:
    """What is so after the first ``count`` events."""

    count: int = 0
    replay: Replay = field(default_factory=Replay)
    tree: TreeMoment = field(default_factory=TreeMoment)


@dataclass(slots=True)
class _Shown:
    """The ``texts`` of the last of the first ``count`` events."""

    count: int = 0
    source: EventTexts = field(default_factory=EventTexts)
    texts: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_EVENTS))

    def add(self, event: Recorded) -> None:
        self.texts.append(self.source.text_of(self._numbered(event), _severity(event)))

    def skip(self, event: Recorded) -> None:
        self.texts.clear()
        self.source.skip(self._numbered(event))

    def _numbered(self, event: Recorded) -> dict[str, Any]:
        """By its place: events that no log keeps have no number of their own."""
        self.count += 1
        return {**event, "sequence": self.count}


class _Checkpoint(NamedTuple):
    """What is needed to go on ``after`` so many events, packed."""

    after: int
    state: bytes
    shown: bytes


class Recording:
    """The events of a trace, and what they show of a moment. The moment of an event is in seconds after the first one.
    In a trace without times, as a golden one is, the slider has a place for each event, and nothing shows a time. An
    event may have its severity under ``level``."""

    def __init__(self, file: str, events: Iterable[Recorded]) -> None:
        self._file = file
        self._events: list[bytes] = []
        times, calls = [], []
        for event in events:
            if event["event"] == "CallFinished":
                calls.append((len(self._events), number(event, "seconds") or 0.0))
            self._events.append(json.dumps(event).encode())
            times.append(number(event, "time"))
        self._has_times = any(time is not None for time in times)
        self._seconds = _moments(times)
        """Or, without times, the place of each event."""
        self._began = next((time for time in times if time is not None), 0.0)
        self._calls_under_way_from = self._beginnings(calls)
        """After which event it is first seen that calls are under way, and which events tell of their ends."""
        self._checkpoints = self._make_checkpoints()
        self._lock = trio.Lock()
        self._latest: tuple[_State, _Shown] | None = None
        """Of the moment that was asked for last."""
        self._parts_of = PartsOf()

    def about(self) -> dict[str, Any]:
        """What the page is about: the file, and how many seconds it lasts; without times, its last place."""
        return {"mode": "trace", "file": self._file, "duration": self._seconds[-1] if self._seconds else 0.0}

    def count_until(self, seconds: float) -> int:
        """How many events there were by then."""
        return bisect_right(self._seconds, seconds)

    async def at(self, count: int) -> str:
        """What is shown after the first ``count`` events: a complete message, with its ``moment``."""
        async with self._lock:
            count = min(max(count, 0), len(self._events))
            first = max(count - MAX_EVENTS, 0)
            state, shown = self._start_for(count, first)
            self._latest = None  # when this is cancelled, they are anywhere
            parts = dict(await run_in_turns(self._seeking(state, count)))
            await run_in_turns(self._adding(shown, count, first))
            self._latest = state, shown
            moment = self._moment(count) | {"missing": state.replay.missing}
            now = self._began + moment["seconds"]
            parts["tasks"] = tree_part(state.tree.tree(now))
            texts = list(shown.texts)[first - count :]
            return "".join(message(parts.values(), events=texts, first=True, moment=moment, now=now))

    def _start_for(self, count: int, first: int) -> tuple[_State, _Shown]:
        """From where to go on to a moment whose events are shown from the ``first`` one on: from the latest one, if no
        checkpoint is nearer."""
        state, shown = self._latest or (_State(), _Shown())
        saved = self._checkpoint_before(count)
        if not saved.after <= state.count <= count:
            state = _unpacked(saved.state)
        saved = self._checkpoint_before(first)
        if not (saved.after <= shown.count <= count and shown.count - len(shown.texts) <= first):
            shown = _unpacked(saved.shown)
        return state, shown

    def _checkpoint_before(self, count: int) -> _Checkpoint:
        return self._checkpoints[bisect_right(self._checkpoints, count, key=lambda one: one.after) - 1]

    def _seeking(self, state: _State, count: int) -> Steps[Mapping[str, str]]:
        while state.count < count:
            yield from self._applying(state, self._event(state.count))
        seen = yield from state.replay.overview()
        return (yield from self._parts_of(seen))

    def _applying(self, state: _State, event: Recorded) -> Steps[None]:
        place = state.count
        yield from state.replay.applying(event)
        state.tree.apply(event, self._began + self._seconds[place] if self._has_times else None)
        state.tree.end_call(place)
        for end in self._calls_under_way_from.get(place, ()):
            call = self._event(end)
            began = self._began + self._seconds[end] - (number(call, "seconds") or 0.0)
            state.tree.begin_call(end, call, began)
        state.count += 1

    def _adding(self, shown: _Shown, count: int, first: int) -> Steps[None]:
        while shown.count < count:
            event = self._event(shown.count)
            if shown.count < first:
                shown.skip(event)
            else:
                shown.add(event)
            yield

    def _event(self, place: int) -> Recorded:
        event: Recorded = json.loads(self._events[place])
        return event

    def _beginnings(self, calls: Iterable[tuple[int, float]]) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        if not self._has_times:
            return found
        for end, seconds in calls:
            begin = bisect_left(self._seconds, self._seconds[end] - seconds)
            if begin < end:
                found.setdefault(begin, []).append(end)
        return found

    def _make_checkpoints(self) -> list[_Checkpoint]:
        works = [len(event) + _WORK_OF_EVENT for event in self._events]
        distance = max(_WORK, sum(works) // _MOST_CHECKPOINTS)
        state, shown, since = _State(), _Shown(), 0
        made = [_Checkpoint(0, _packed(state), _packed(shown))]
        for place, work in enumerate(works):
            event = self._event(place)
            run_steps(self._applying(state, event))
            shown.skip(event)
            since += work
            if since >= max(distance, _WORK_OF_SAVING * len(made[-1].state)):
                made.append(_Checkpoint(state.count, _packed(state), _packed(shown)))
                since = 0
        return made

    def _moment(self, count: int) -> dict[str, Any]:
        seconds = self._seconds[count - 1] if count else 0.0
        following = self._seconds[count] if count < len(self._seconds) else seconds
        return {
            "event": count,
            "of": len(self._events),
            "seconds": seconds,
            "has_times": self._has_times,
            "next": following - seconds,
            "what": self._event(count - 1)["event"] if count else "",
        }


def _packed(what: object) -> bytes:
    """A copy, which takes little memory."""
    return zlib.compress(pickle.dumps(what), level=1)


def _unpacked(copy: bytes) -> Any:
    return pickle.loads(zlib.decompress(copy))


def _moments(times: Sequence[float | None]) -> list[float]:
    elapsed, has_times = Elapsed(), any(time is not None for time in times)
    return [elapsed.until(time) if has_times else float(place) for place, time in enumerate(times)]


def _severity(event: Recorded) -> str:
    """As the trace states it, or as the manager would. Of an event of another version only the kind may be known, or
    nothing."""
    if (stated := event.get("level")) in list(kinds.Severity):
        return str(stated)
    kind = getattr(kinds, event["event"], None)
    if not (isinstance(kind, type) and issubclass(kind, kinds.Event)):
        return str(kinds.Severity.INFO)
    fields = {name: value for name, value in event.items() if name not in ("event", "sequence", "time", "level")}
    try:
        return str(kind(**fields).severity)
    except (TypeError, ValueError):
        return str(kind.usual_severity())
