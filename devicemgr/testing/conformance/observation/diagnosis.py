"""For evidence: what a plug-in did instead of what was expected of it."""

from __future__ import annotations

import trio

from ....events import (
    DeviceListReceived,
    EndpointStopped,
    PluginRefused,
    PluginRegistered,
    PluginSocketFailed,
    RegistrationRequested,
)
from ....model import ResourceName
from ..abbreviation import shortened_line
from ..subject.exit_message import exit_message
from ..subject.lifecycle import Lifecycle
from .history import History
from .recording_client import CheckCallFinished

_RESPAWN_HINT = "; one that relies on being started again is checked with --respawn"


def what_happened(history: History, lifecycle: Lifecycle, *, since: float, of: ResourceName | None = None) -> str:
    """How the plug-in tried to register, or that it did not try."""
    subject = lifecycle.subject
    if not subject.is_running:
        return exit_report(history, lifecycle)
    if refused := history.seen(PluginRefused, since=since, of=of):
        return f"its registration was refused: {refused[-1][1].message}"
    if stops := history.seen(EndpointStopped, since=since, of=of):
        return f"its stream ended without a list: {stops[-1][1].reason}"
    if history.seen(PluginRegistered, since=since, of=of):
        lists = history.seen(DeviceListReceived, since=since, of=of)
        return "it has registered, but " + ("sent no devices" if lists else "sent no list")
    if history.seen(RegistrationRequested, since=since, of=of):
        return "it called Register, but did not answer"
    later = (seen.event for seen in history.entries if seen.time >= since)
    if failed := [event for event in later if isinstance(event, PluginSocketFailed)]:
        return f"it was found in plugins_registry, but not registered: {failed[-1].problem}"
    text = f"it did not call Register within {trio.current_time() - since:.1f} s"
    if subject.unexpected_exit:
        text += f"; its program has ended, {subject.unexpected_exit}, but processes that it started go on"
    return text + _last_lines(lifecycle, "it last wrote")


def exit_report(history: History, lifecycle: Lifecycle) -> str:
    """How it exited, and what it wrote last."""
    cause = lifecycle.subject.unexpected_exit
    how = f", {cause}" if cause else ""
    hint = _RESPAWN_HINT if lifecycle.has_exited_for_good and _may_rely_on_a_respawn(history, lifecycle) else ""
    return f"the plug-in has ended{how}{_last_lines(lifecycle, 'its last output')}{hint}"


def _may_rely_on_a_respawn(history: History, lifecycle: Lifecycle) -> bool:
    """Was the last thing that happened to it a disruption, or the end of a stream? A panic in a call, or at a change,
    is not meant. And one that could not even start would not start the next time."""
    start = lifecycle.start_times[-1]
    if not any(history.seen(DeviceListReceived, since=start, of=resource) for resource in history.resources):
        return False
    calls = [(seen.time, seen.event) for seen in history.entries if isinstance(seen.event, CheckCallFinished)]
    streams = (time for time, call in calls if call.method == "ListAndWatch")
    others = (time for time, call in calls if call.method != "ListAndWatch")
    return max([start, *lifecycle.disruptions, *streams]) > max([start, *lifecycle.changes, *others])


def _last_lines(lifecycle: Lifecycle, title: str) -> str:
    lines = exit_message(lifecycle.output)
    return f"; {title}: {' | '.join(map(shortened_line, lines))}" if lines else ""
