"""The events of a check: how they are recorded, sent on and shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ....daemon.event_log import RecordedEvent, Sink
from ....events import CallFinished, DeviceListReceived, EndpointStopped, Event, PluginEnded, RegistrationRequested
from ..abbreviation import first_few
from .recording_client import CheckCallFinished


@dataclass(frozen=True, slots=True)
class Seen:
    """An event, and when it was recorded on Trio's clock; ``at`` is the same time in seconds since the epoch.
    ``served``: did the endpoint accept connections when Register was called?"""

    time: float
    event: Event
    served: bool = False
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class RecordedInCheck(RecordedEvent):
    """``check`` is the one that was running; None before the first. ``without_secrets`` removes secrets from a text
    before it is shown. ``instance`` is the number of the plug-in's instance: those that run in parallel have managers,
    and numbers of events, of their own."""

    check: str | None
    without_secrets: Callable[[str], str] = str
    instance: int = 1

    def as_json(self) -> dict[str, Any]:
        event = _each_text(RecordedEvent.as_json(self), self.without_secrets)
        return {"check": self.check, "instance": self.instance, **event}


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    match value:
        case str():
            return change(value)
        case dict():
            return {key: _each_text(one, change) for key, one in value.items()}
        case list() | tuple():
            return [_each_text(one, change) for one in value]
    return value


def of_instance(sink: Sink, instance: int) -> Sink:
    """The same sink, for the bench of another instance."""

    def relay(recorded: RecordedEvent) -> None:
        assert isinstance(recorded, RecordedInCheck)
        sink(replace(recorded, instance=instance))

    return relay


def rpc_lines(history: Iterable[Seen], *, since: float) -> Iterator[str]:
    """The RPCs, one line each: the call, when it was made, and how it ended."""
    history = list(history)
    calls = [seen.event for seen in history if isinstance(seen.event, CheckCallFinished)]
    known = {id for call in calls for ids in call.request.get("containers", ()) for id in ids}
    for seen in history:
        match seen.event:
            case RegistrationRequested(resource=resource, endpoint=endpoint):
                words = f"Register {resource!r} on {endpoint!r}"
            case CheckCallFinished(method=method, outcome=outcome, seconds=seconds, request=request):
                ids = " and ".join(f"[{first_few(ids, among=known)}]" for ids in request.get("containers", ()))
                words = f"{method} {ids}".rstrip() + f": {outcome} after {seconds * 1000:.1f} ms"
            case CallFinished(method=method, outcome=outcome, seconds=seconds):
                words = f"{method}: {outcome} after {seconds * 1000:.1f} ms"
            case DeviceListReceived(devices=devices):
                words = f"ListAndWatch: a list of {len(devices)} devices"
            case EndpointStopped(reason=reason) | PluginEnded(reason=reason):
                words = f"ListAndWatch ended: {reason}"
            case _:
                continue
        yield f"+{seen.time - since:.3f} s {words}"
