"""What the manager did by itself, in one sentence for each kind of event."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...events.summary import counted
from .fields import Event, clean, count, listed, number, strings, text


def _ready(event: Event) -> str:
    version = text(event, "kubernetes_version", 20)
    return f"the manager is ready: topology policy {_words(event, 'policy')}, Kubernetes {version}"


def _words(event: Event, *names: str) -> str:
    return " ".join(text(event, name, 100) for name in names)


def _pods(event: Event) -> str:
    pods, resources = strings(event, "pods"), strings(event, "resources")
    held = f"{counted(len(pods), 'pod')} with {counted(count(event, 'devices'), 'device')}"
    return f"the state of an earlier run is back: {held}; expected back: {listed(resources) or 'no plug-in'}"


NOTES: Mapping[str, Callable[[Event], str]] = {
    "ManagerReady": _ready,
    "ManagerStopping": lambda event: "the manager stops",
    "StateRestored": _pods,
    "StaleSocketRemoved": lambda event: f"a socket of an earlier run is removed: {text(event, 'path', 100)}",
    "SocketRestored": lambda event: f"our socket was deleted, and is created again: {text(event, 'path', 100)}",
    "SocketReplaced": lambda event: f"our socket was replaced by something else: {text(event, 'path', 100)}",
    "FileSetAside": lambda event: f"set aside: {text(event, 'path', 100)}: {text(event, 'problem', 100)}",
    "DirectoryOpenToOthers": lambda event: f"{text(event, 'path', 100)}: {text(event, 'problem', 100)}",
    "CheckpointFailed": lambda event: f"the checkpoint could not be written: {text(event, 'problem', 100)}",
    "CheckpointLost": lambda event: f"the checkpoint was lost: {text(event, 'how', 100)}",
    "EventsNotWritten": lambda event: f"{count(event, 'count'):,} events are missing here: they were not read in time",
    "FaultInjected": lambda event: f"fault {_words(event, 'fault')}: {_words(event, 'what')}".rstrip(": "),
    "PluginSocketFailed": lambda event: f"{text(event, 'path', 100)}: {text(event, 'problem')}",
    "PluginDirectoryUnwatched": lambda event: f"{text(event, 'path', 100)} is scanned: {text(event, 'problem', 100)}",
    "PluginStandsBy": lambda event: f"{_words(event, 'endpoint')} stands by",
    "PluginPromoted": lambda event: f"{_words(event, 'endpoint')} serves again",
    "ResourceContended": lambda event: f"contended: {listed(strings(event, 'claimants'))}",
    "ResourceRemoved": lambda event: "the grace period is over: the resource is removed",
    "DeviceListNormalised": lambda event: f"{text(event, 'problem', 100)}: {count(event, 'count'):,} devices",
    "PeerLimitReached": lambda event: (
        f"peer limit {_words(event, 'limit')}: {_words(event, 'peer')}: {_words(event, 'consequence')}"
    ),
    "CallsDenied": lambda event: f"denied: {_words(event, 'method')}, {count(event, 'times'):,} times",
    "ConnectionBroken": lambda event: f"a connection was closed: {_words(event, 'problem')}",
    "AllocateAnswerFlagged": lambda event: f"the answer looks wrong: {listed(strings(event, 'texts'))}",
    "NodeLeaseTaken": lambda event: f"this agent is node {_words(event, 'node')}: it holds the Lease",
    "NodeStandsBy": lambda event: f"node {_words(event, 'node')} is {_words(event, 'holder')}, which holds the Lease",
    "ApiServerLost": lambda event: f"the API server does not answer: {text(event, 'problem')}",
    "ApiServerReached": lambda event: f"the API server answers again, after {number(event, 'seconds') or 0:.1f} s",
}


SILENT = {"CheckpointWritten", "NurseryOpened", "NurseryClosed", "AssignmentRestored", "PodRestored"}
"""No part of the conversation: about nobody else, or what StateRestored has said already; the narrator learns the names
of pods from it. The first of them comes after almost every change."""


def note_of(event: Event) -> str:
    """The sentence, or for a kind without one, perhaps of a later version, its name and fields; empty for none."""
    kind = str(event["event"])
    if kind in SILENT:
        return ""
    if kind in NOTES:
        return NOTES[kind](event)
    words = (
        f"{name}={value}" for name, value in event.items() if name not in _EVERYWHERE and isinstance(value, _PLAIN)
    )
    return clean(f"{clean(kind, 60)}: {listed(words)}")


_EVERYWHERE = {"sequence", "time", "event", "level", "check", "instance"}
_PLAIN = str | float | bool
"""Not a large number, which Python may refuse to write."""
