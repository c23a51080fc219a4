"""The tree at a moment of a recorded trace, from its events alone: the nurseries, the endpoints of plug-ins in their
states, admissions, and calls to plug-ins. Other tasks leave no events.

What an event does not say is taken from later ones: a call that is under way is known from the event of its end, and a
plug-in whose registration is missing, because the trace begins later, from whatever it does next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..conversation.elapsed import Elapsed
from ..conversation.fields import Event, count, flag, number, text
from ..devices.endpoint import State
from .missing_events import MissingEvents
from .task_tree import TaskTree, TreeNode

_READERS, _HANDLERS = "readers", "handlers"
"""Where endpoints are, and where admissions and calls are."""
_WAITS = {
    State.SERVING: "the next list of {resource}",
    State.STANDBY: "the next list of {resource}",
    None: "the next list of {resource}",
    State.STOPPED: "the end of the grace period",
}


@dataclass(slots=True)
class _Endpoint:
    """If its registration is missing, ``socket`` is empty, and ``state`` is None until an event says whether it serves
    or stands by."""

    socket: str
    state: State | None
    since: float | None


@dataclass(slots=True)
class TreeMoment:
    """What is so after some events. ``time`` is that of the last one in seconds, None if the trace has no times."""

    time: float | None = None
    _nurseries: list[str] = field(default_factory=list)
    _endpoints: dict[str, dict[int, _Endpoint]] = field(default_factory=dict)
    """By resource and generation. Resources may be very many, and an event concerns one."""
    _admissions: dict[str, tuple[str, float | None]] = field(default_factory=dict)
    _calls: dict[int, tuple[str, float]] = field(default_factory=dict)
    _missing: MissingEvents = field(default_factory=MissingEvents)

    def apply(self, event: Event, time: float | None) -> None:
        """The next event has happened."""
        self.time = time
        self._missing.note(event)
        kind, resource = event.get("event"), text(event, "resource")
        generation = count(event, "generation")
        known = self._endpoints.get(resource, {}).get(generation)
        socket = known.socket if known else ""
        match kind:
            case "NurseryOpened":
                self._open(text(event, "nursery", 40))
            case "NurseryClosed":
                self._close(text(event, "nursery", 40))
            case "PluginRegistered":
                self._replace(resource, text(event, "endpoint"), replaced=flag(event, "replaced"))
                self._advance(resource, generation, text(event, "endpoint"), State.SERVING)
            case "PluginStandsBy":
                self._advance(resource, generation, text(event, "endpoint"), State.STANDBY)
            case "PluginPromoted":
                self._advance(resource, generation, text(event, "endpoint"), State.SERVING)
            case "DeviceListReceived" if known is not None or self.missing:
                self._advance(resource, generation, socket, known.state if known else None)
            case "DeviceListApplied" if known is not None and known.state is None:
                known.state = State.SERVING
            case "EndpointStopped" if known is not None or self.missing:
                self._advance(resource, generation, socket, State.STOPPED)
            case "PluginEnded":
                self._forget(resource, lambda endpoint: endpoint is known)
            case "ResourceRemoved":
                self._forget(resource, lambda endpoint: endpoint.state is State.STOPPED)
            case "PodAdmissionRequested":
                self._admissions[text(event, "uid")] = f"{text(event, 'namespace')}/{text(event, 'name')}", time
            case "PodAdmitted" | "PodRefused" | "PodAdmissionCancelled":
                self._admissions.pop(text(event, "uid"), None)

    def begin_call(self, number: int, event: Event, began: float) -> None:
        """A call is under way, and ``event`` will tell of its end. The number is any that no other such call has."""
        self._calls[number] = f"{text(event, 'method', 60)} of {text(event, 'resource')}", began

    def end_call(self, number: int) -> None:
        self._calls.pop(number, None)

    # --- what events do ---

    def _open(self, nursery: str) -> None:
        """If it is open already, the manager was killed, and this is the next one."""
        self._close(nursery)
        if not self._nurseries:  # a manager begins
            self._missing.forget()
        self._nurseries.append(nursery)

    def _close(self, nursery: str) -> None:
        """It has ended, with those inside it. In a trace whose beginning is missing, nobody has told of its opening."""
        place = self._nurseries.index(nursery) if nursery in self._nurseries else len(self._nurseries)
        ended = {nursery, *self._nurseries[place:]}
        del self._nurseries[place:]
        if _READERS in ended:
            self._endpoints.clear()
        if _HANDLERS in ended:
            self._admissions.clear()

    def _replace(self, resource: str, socket: str, *, replaced: bool) -> None:
        """A newer endpoint serves: one that had stopped is gone, and so is one on the same socket. One whose socket is
        not known is forgotten: if it stands by, the next event says so."""
        self._forget(
            resource,
            lambda endpoint: endpoint.state is State.STOPPED or (replaced and endpoint.socket in (socket, "")),
        )

    def _forget(self, resource: str, is_gone: Callable[[_Endpoint], bool]) -> None:
        left = {key: one for key, one in self._endpoints.pop(resource, {}).items() if not is_gone(one)}
        if left:
            self._endpoints[resource] = left

    def _advance(self, resource: str, generation: int, socket: str, state: State | None) -> None:
        self._endpoints.setdefault(resource, {})[generation] = _Endpoint(socket, state, self.time)

    # --- as a tree ---

    @property
    def missing(self) -> int:
        """How many events are missing on which the tree depends."""
        return self._missing.number

    @property
    def is_open(self) -> bool:
        """Is any nursery?"""
        return bool(self._nurseries)

    def tree(self, at: float | None = None) -> TaskTree:
        """At a moment that is not earlier than ``time``, which it is by default."""
        now = at if at is not None else self.time or 0.0
        root = TreeNode(id="run", kind="task", name="run", children=self._nested(self._lines()))
        return TaskTree(at=now, time=now, root=root)

    def _lines(self) -> list[str]:
        """A trace whose events do not tell of nurseries has those in which there is something."""
        inside = {_READERS: self._endpoints, _HANDLERS: [*self._admissions, *self._calls]}
        return self._nurseries or [name for name, there in inside.items() if there]

    def _nested(self, nurseries: list[str]) -> tuple[TreeNode, ...]:
        if not nurseries:
            return ()
        name, *inner = nurseries
        children = (*self._tasks(name), *self._nested(inner))
        return (TreeNode(id=f"nursery-{name}", kind="nursery", name=name, children=children),)

    def _tasks(self, nursery: str) -> list[TreeNode]:
        if nursery == _READERS:
            return [
                TreeNode(
                    id=f"endpoint-{generation}",
                    kind="task",
                    name=f"{resource} #{generation}",
                    nursery=nursery,
                    state=endpoint.state.value if endpoint.state else "",
                    waits_for=_WAITS.get(endpoint.state, "").format(resource=resource),
                    since=endpoint.since,
                )
                for resource, endpoints in sorted(self._endpoints.items())
                for generation, endpoint in sorted(endpoints.items())
            ]
        if nursery == _HANDLERS:
            return [*self._running_admissions(), *self._running_calls()]
        return []

    def _running_admissions(self) -> list[TreeNode]:
        return [
            TreeNode(
                id=f"pod-{uid}",
                kind="task",
                name=f"admit {name}",
                nursery=_HANDLERS,
                waits_for="its devices",
                since=since,
            )
            for uid, (name, since) in self._admissions.items()
        ]

    def _running_calls(self) -> list[TreeNode]:
        return [
            TreeNode(
                id=f"call-{number}", kind="call", name=name, nursery=_HANDLERS, waits_for="the answer", since=began
            )
            for number, (name, began) in sorted(self._calls.items())
        ]


class RecordedTree:
    """Takes every event of a trace, in order. ``at`` is the moment, in seconds after the first event. None is the end
    of the trace; if its last manager has ended, the moment before, since of an end nothing is left."""

    def __init__(self, at: float | None) -> None:
        self._at = at
        self._elapsed = Elapsed()
        self._moment = TreeMoment()
        self._before_end: TaskTree | None = None
        self._later = 0
        """How many events come after the moment."""

    def add(self, event: Event) -> None:
        """An event without a time happens at the time of the one before."""
        seconds = self._elapsed.until(number(event, "time"))
        if self._at is None or seconds <= self._at:
            self._note_end(event)
            self._moment.apply(event, self._time(seconds))
            return
        self._later += 1
        began = seconds - (number(event, "seconds") or 0.0)
        if event.get("event") == "CallFinished" and began <= self._at:
            self._moment.begin_call(self._later, event, (self._elapsed.first or 0.0) + began)

    def _note_end(self, event: Event) -> None:
        match event.get("event"):
            case "NurseryOpened":
                self._before_end = None
            case "NurseryClosed" if self._before_end is None:
                self._before_end = self._moment.tree()

    def _time(self, seconds: float) -> float | None:
        return None if self._elapsed.first is None else self._elapsed.first + seconds

    @property
    def seconds(self) -> float:
        """From the first event to the last."""
        return self._elapsed.seconds

    @property
    def missing(self) -> int:
        """How many events are missing on which the tree depends."""
        return self._moment.missing

    @property
    def ended_after(self) -> float | None:
        """When the manager began to end of which the tree shows the moment before that; None if it shows another."""
        if self._at is not None or self._before_end is None or self._moment.is_open:
            return None
        return self._before_end.time - (self._elapsed.first or 0.0)

    def tree(self) -> TaskTree:
        """The tree at that moment. Times are in seconds since the epoch."""
        if self.ended_after is not None and self._before_end is not None:
            return self._before_end
        return self._moment.tree(None if self._at is None else (self._elapsed.first or 0.0) + self._at)
