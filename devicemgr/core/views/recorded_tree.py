"""The tree at a moment of a recorded trace, from its events alone: the nurseries, the endpoints of plug-ins in their
states, admissions, and calls to plug-ins. Other tasks leave no events.

What an event does not say is taken from later ones: a call that is under way is known from the event of its end.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..conversation.fields import Event, count, flag, number, text
from ..devices.endpoint import State
from .task_tree import TaskTree, TreeNode

_READERS, _HANDLERS = "readers", "handlers"
"""Where endpoints are, and where admissions and calls are."""


@dataclass(slots=True)
class _Endpoint:
    socket: str
    state: State
    since: float


@dataclass(slots=True)
class _Moment:
    """What is so after some events."""

    nurseries: list[str] = field(default_factory=list)
    endpoints: dict[tuple[str, int], _Endpoint] = field(default_factory=dict)
    admissions: dict[str, tuple[str, float]] = field(default_factory=dict)

    def apply(self, event: Event, time: float) -> None:
        kind, resource = event.get("event"), text(event, "resource")
        key = resource, count(event, "generation")
        match kind:
            case "NurseryOpened":
                self.nurseries.append(text(event, "nursery", 40))
            case "NurseryClosed":
                self._close(text(event, "nursery", 40))
            case "PluginRegistered":
                self._replace(resource, text(event, "endpoint"), replaced=flag(event, "replaced"))
                self.endpoints[key] = _Endpoint(text(event, "endpoint"), State.SERVING, time)
            case "PluginStandsBy":
                self._advance(key, text(event, "endpoint"), State.STANDBY, time)
            case "PluginPromoted":
                self._advance(key, text(event, "endpoint"), State.SERVING, time)
            case "DeviceListReceived" if key in self.endpoints:
                self.endpoints[key].since = time
            case "EndpointStopped" if key in self.endpoints:
                self._advance(key, self.endpoints[key].socket, State.STOPPED, time)
            case "PluginEnded":
                self.endpoints.pop(key, None)
            case "ResourceRemoved":
                self._forget(resource, State.STOPPED)
            case "PodAdmissionRequested":
                self.admissions[text(event, "uid")] = f"{text(event, 'namespace')}/{text(event, 'name')}", time
            case "PodAdmitted" | "PodRefused":
                self.admissions.pop(text(event, "uid"), None)

    def _close(self, nursery: str) -> None:
        if nursery in self.nurseries:
            del self.nurseries[self.nurseries.index(nursery) :]
        if nursery == _READERS:
            self.endpoints.clear()
        elif nursery == _HANDLERS:
            self.admissions.clear()

    def _replace(self, resource: str, socket: str, *, replaced: bool) -> None:
        """A newer endpoint serves: one that had stopped is gone, and so is one on the same socket."""
        self._forget(resource, State.STOPPED)
        if replaced:
            for key, endpoint in list(self.endpoints.items()):
                if key[0] == resource and endpoint.socket == socket:
                    del self.endpoints[key]

    def _forget(self, resource: str, state: State) -> None:
        for key, endpoint in list(self.endpoints.items()):
            if key[0] == resource and endpoint.state is state:
                del self.endpoints[key]

    def _advance(self, key: tuple[str, int], socket: str, state: State, time: float) -> None:
        self.endpoints[key] = _Endpoint(socket, state, time)


class RecordedTree:
    """Takes every event of a trace, in order. ``at`` is the moment, in seconds after the first event, or None for the
    end of the trace; with ``events``, the moment is after so many of them, which tells apart those of the same time."""

    def __init__(self, at: float | None, *, events: int | None = None) -> None:
        self._at = at
        self._events = events
        self._first = 0.0
        self._now = 0.0
        """The time of the latest event that has happened by then."""
        self._last = 0.0
        self._count = 0
        self._moment = _Moment()
        self._calls: list[TreeNode] = []

    def add(self, event: Event) -> None:
        """An event without a time happens at the time of the one before."""
        given = number(event, "time")
        time = self._last if given is None else given
        if not self._count:
            self._first = time
        self._count, self._last = self._count + 1, time
        if self._has_happened(time):
            self._now = time
            self._moment.apply(event, time)
        elif event.get("event") == "CallFinished":
            self._note_call(event, time - (number(event, "seconds") or 0.0))

    def _has_happened(self, time: float) -> bool:
        if self._events is not None and self._count > self._events:
            return False
        return self._at is None or time <= self._first + self._at

    @property
    def _until(self) -> float:
        return self._now if self._at is None else self._first + self._at

    @property
    def seconds(self) -> float:
        """From the first event to the last."""
        return self._last - self._first

    def _note_call(self, event: Event, began: float) -> None:
        if began <= self._until:
            name = f"{text(event, 'method', 60)} of {text(event, 'resource')}"
            id = f"call-{len(self._calls) + 1}"
            self._calls.append(
                TreeNode(id=id, kind="call", name=name, nursery=_HANDLERS, waits_for="the answer", since=began)
            )

    def tree(self) -> TaskTree:
        """The tree at that moment. Times are in seconds since the epoch."""
        at = self._until
        return TaskTree(
            at=at, time=at, root=TreeNode(id="run", kind="task", name="run", children=self._nested(self._lines()))
        )

    def _lines(self) -> list[str]:
        """A trace whose events do not tell of nurseries has those in which there is something."""
        inside = {_READERS: self._moment.endpoints, _HANDLERS: [*self._moment.admissions, *self._calls]}
        return self._moment.nurseries or [name for name, there in inside.items() if there]

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
                    state=endpoint.state.value,
                    waits_for=_WAITS.get(endpoint.state, "").format(resource=resource),
                    since=endpoint.since,
                )
                for (resource, generation), endpoint in sorted(self._moment.endpoints.items())
            ]
        if nursery == _HANDLERS:
            admissions = [
                TreeNode(
                    id=f"pod-{uid}",
                    kind="task",
                    name=f"admit {name}",
                    nursery=nursery,
                    waits_for="its devices",
                    since=since,
                )
                for uid, (name, since) in self._moment.admissions.items()
            ]
            return [*admissions, *self._calls]
        return []


_WAITS = {
    State.SERVING: "the next list of {resource}",
    State.STANDBY: "the next list of {resource}",
    State.STOPPED: "the end of the grace period",
}
