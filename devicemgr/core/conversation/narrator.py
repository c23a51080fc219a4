"""Events → items of a conversation. It remembers only what an event leaves out: which socket a generation has, which
plug-in a call without a socket was for (in old traces), and what a pod is about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import ClassVar, TypeVar

from ...events.summary import counted, counts_in_short, devices_in_short
from .fields import Event, clean, count, devices, flag, listed, mapping, number, strings, text
from .items import API_SERVER, CALLER, CHECK, MANAGER, Call, Item, Lifeline, Message, Note
from .notes import NOTES, note_of
from .rules import RULES

K = TypeVar("K")
V = TypeVar("V")

_MOST_REMEMBERED = 10_000
"""Pods, and registrations of plug-ins: more than a node has at one time. A stream may go on for months."""
_MOST_RESOURCES = 100
"""Of one pod, or in one note."""
_LONGEST_NAME = 60
"""Characters of a name at a lifeline. Of a longer one the ends are shown."""


class Narrator:
    """Tells one stream of events, oldest first."""

    def __init__(self) -> None:
        self._sockets: dict[tuple[str, int], str] = {}
        self._latest: dict[str, str] = {}
        self._serving: dict[str, int] = {}
        self._just_promoted = self._promoting = ""
        self._pods: dict[str, tuple[str, frozenset[str]]] = {}

    def tell(self, event: Event) -> list[Item]:
        """The items of one event; none for an event that is no part of the conversation."""
        kind = event.get("event")
        if not isinstance(kind, str):
            return []
        self._just_promoted, self._promoting = self._promoting, ""
        if (method := self._TOLD.get(kind)) is not None:
            return list(method(self, event))
        return [self._note(event, words)] if (words := note_of(event)) else []

    # --- what an event is about -------------------------------------------------------------------

    def _rule(self, event: Event, name: str = "") -> str:
        return text(event, "rule", 20) or RULES.get(name or str(event["event"]), "")

    def _about(self, event: Event) -> frozenset[str]:
        """The resources: one that it names, or those of its pod."""
        if resource := text(event, "resource", _LONGEST_NAME):
            return frozenset([resource])
        return self._known(text(event, "pod_uid") or text(event, "uid"))[1]

    def _container(self, event: Event) -> str:
        return f"container {text(event, 'container', _LONGEST_NAME)} of {self._pod_of(event)}"

    def _pod_of(self, event: Event) -> str:
        """The pod of an event that has only its uid."""
        return f"pod {self._known(text(event, 'pod_uid'))[0]}"

    def _known(self, uid: str) -> tuple[str, frozenset[str]]:
        """A pod's name, or its uid, and its resources."""
        return self._pods.get(uid) or (f"uid {clean(uid, _LONGEST_NAME)}", frozenset())

    def _plugin(self, event: Event, socket: str = "") -> Lifeline:
        resource = text(event, "resource", _LONGEST_NAME)
        key = resource, count(event, "generation")
        return Lifeline(socket or self._sockets.get(key) or self._latest.get(resource) or "plug-in", resource)

    def _note(self, event: Event, words: str, about: Iterable[str] = ()) -> Note:
        """About those resources, if there are any; otherwise about what the event is about."""
        some = frozenset(clean(name, _LONGEST_NAME) for name in islice(about, _MOST_RESOURCES))
        return Note(
            time=number(event, "time"),
            text=words,
            about=some or self._about(event),
            rule=self._rule(event),
            failed=event["event"] in _BAD,
        )

    def _message(
        self,
        event: Event,
        source: Lifeline,
        target: Lifeline,
        words: str,
        *,
        reply: bool = False,
        failed: bool = False,
        rule: str = "",
    ) -> Message:
        return Message(
            time=number(event, "time"),
            source=source,
            target=target,
            text=words,
            is_reply=reply,
            failed=failed,
            about=self._about(event),
            rule=rule or self._rule(event),
        )

    # --- plug-ins -----------------------------------------------------------------------------------

    def _register(self, event: Event) -> Iterator[Item]:
        socket, resource = text(event, "endpoint", _LONGEST_NAME), text(event, "resource", _LONGEST_NAME)
        _remember(self._latest, resource, socket)
        words = f"Register({text(event, 'version', 20)}, {socket}, {resource})"
        yield self._message(event, self._plugin(event, socket), MANAGER, words)

    def _discovered(self, event: Event) -> Iterator[Item]:
        socket, resource = text(event, "path", _LONGEST_NAME), text(event, "resource", _LONGEST_NAME)
        _remember(self._latest, resource, socket)
        yield Call(
            time=number(event, "time"),
            source=MANAGER,
            target=self._plugin(event, socket),
            text="GetInfo()",
            answer=f"{text(event, 'type', 40)}, {resource}, versions {listed(strings(event, 'versions'))}",
            about=self._about(event),
            rule=self._rule(event),
        )

    def _registered(self, event: Event) -> Iterator[Item]:
        socket, resource = text(event, "endpoint", _LONGEST_NAME), text(event, "resource", _LONGEST_NAME)
        generation = count(event, "generation")
        _remember(self._sockets, (resource, generation), socket)
        _remember(self._latest, resource, socket)
        _remember(self._serving, resource, generation)
        plugin = self._plugin(event, socket)
        rule = "REG-9" if flag(event, "replaced") else ""
        yield self._message(event, MANAGER, plugin, "registered", reply=True, rule=rule)
        yield self._message(event, MANAGER, plugin, "ListAndWatch()", rule=RULES["ListAndWatch"])

    def _refused(self, event: Event) -> Iterator[Item]:
        plugin = self._plugin(event, text(event, "endpoint", _LONGEST_NAME))
        yield self._message(event, MANAGER, plugin, f"refused: {text(event, 'message')}", reply=True, failed=True)

    def _promote(self, event: Event) -> Iterator[Item]:
        resource = text(event, "resource", _LONGEST_NAME)
        _remember(self._serving, resource, count(event, "generation"))
        self._promoting = resource
        yield self._note(event, NOTES["PluginPromoted"](event))

    def _received(self, event: Event) -> Iterator[Item]:
        """Only of a plug-in that stands by: the list of the one that serves is told when it is applied."""
        resource = text(event, "resource", _LONGEST_NAME)
        if self._serving.get(resource, -1) != count(event, "generation"):
            entries = event.get("devices")
            entries = entries if isinstance(entries, list | tuple) else ()
            healthy = sum(isinstance(one, dict) and one.get("health") == "Healthy" for one in entries)
            words = f"list: {counts_in_short(len(entries), healthy)} (not in force)"
            yield self._message(event, self._plugin(event), MANAGER, words, reply=True)

    def _applied(self, event: Event) -> Iterator[Item]:
        resource = text(event, "resource", _LONGEST_NAME)
        capacity, healthy = count(event, "capacity"), count(event, "allocatable")
        words = f"list: {counts_in_short(capacity, healthy)}{_changes(event)}"
        if resource == self._just_promoted:
            yield self._note(event, f"its last {words} is in force")
        else:
            rule = "LW-3" if healthy < capacity else ""
            yield self._message(event, self._plugin(event), MANAGER, words, reply=True, rule=rule)

    def _ended(self, event: Event) -> Iterator[Item]:
        plugin = self._plugin(event, text(event, "endpoint", _LONGEST_NAME))
        words = f"end of ListAndWatch: {text(event, 'reason')}"
        yield self._message(event, plugin, MANAGER, words, reply=True, failed=event["event"] == "EndpointStopped")
        if event["event"] == "EndpointStopped":
            words = "its devices count as unhealthy, and the grace period for a new registration begins"
            yield self._note(event, words)

    def _called(self, event: Event) -> Iterator[Item]:
        method, outcome = text(event, "method", 40), text(event, "outcome", 40)
        answer = text(event, "received")
        yield Call(
            time=number(event, "time"),
            source=MANAGER,
            target=self._plugin(event, text(event, "endpoint", _LONGEST_NAME)),
            text=f"{method}({text(event, 'sent')})",
            answer=(answer or outcome) if outcome == "OK" else f"{outcome}{': ' if answer else ''}{answer}",
            seconds=number(event, "seconds"),
            failed=outcome != "OK",
            about=self._about(event),
            rule=self._rule(event, method),
        )

    def _called_by_check(self, event: Event) -> Iterator[Item]:
        method, outcome = text(event, "method", 40), text(event, "outcome", 40)
        lists = mapping(event, "request").get("containers")
        asked = (
            [[id for id in ids if isinstance(id, str)] for ids in lists if isinstance(ids, list)]
            if isinstance(lists, list)
            else []
        )
        response = event.get("response")
        yield Call(
            time=number(event, "time"),
            source=CHECK,
            target=self._plugin(event),
            text=f"{method}({'; '.join(clean(devices_in_short(ids)) for ids in asked[:4])})",
            answer=f"{outcome}: {clean(response)}" if isinstance(response, str) and response else outcome,
            seconds=number(event, "seconds"),
            failed=outcome != "OK",
            about=self._about(event),
            rule=self._rule(event, method),
        )

    # --- pods -----------------------------------------------------------------------------------------

    def _admission(self, event: Event) -> Iterator[Item]:
        limits = mapping(event, "limits")
        about = frozenset(clean(name, _LONGEST_NAME) for name in islice(limits, _MOST_RESOURCES))
        _remember(self._pods, text(event, "uid"), (_pod(event), about))
        wanted = listed(f"{name}: {value}" for name, value in limits.items()) or "no devices"
        yield self._message(event, CALLER, MANAGER, f"admit pod {_pod(event)} ({wanted})")

    def _held_before(self, event: Event) -> Iterator[Item]:
        """Of the pod's name the next events tell."""
        name, about = self._known(text(event, "pod_uid"))
        if len(about) < _MOST_RESOURCES:
            _remember(self._pods, text(event, "pod_uid"), (name, about | self._about(event)))
        return iter(())

    def _restored(self, event: Event) -> Iterator[Item]:
        _, about = self._known(text(event, "uid"))
        _remember(self._pods, text(event, "uid"), (_pod(event), about))
        return iter(())

    def _admitted(self, event: Event) -> Iterator[Item]:
        yield self._message(event, MANAGER, CALLER, f"admitted {_pod(event)}", reply=True)

    def _pod_refused(self, event: Event) -> Iterator[Item]:
        words = f"refused {_pod(event)}: {text(event, 'reason', 100)}: {text(event, 'message')}"
        yield self._message(event, MANAGER, CALLER, words, reply=True, failed=True)

    def _waits(self, event: Event) -> Iterator[Item]:
        yield self._note(event, f"pod {_pod(event)} waits for plug-ins to come back", strings(event, "resources"))

    def _aligned(self, event: Event) -> Iterator[Item]:
        whose = f"{'a container of ' if text(event, 'scope', 20) == 'container' else ''}{self._pod_of(event)}"
        is_aligned = "is" if flag(event, "aligned") else "cannot be"
        yield self._note(event, f"{whose} {is_aligned} aligned on one NUMA node")

    def _conflicted(self, event: Event) -> Iterator[Item]:
        part, key = text(event, "part", 40), text(event, "key", _LONGEST_NAME)
        kept, ignored = text(event, "kept", _LONGEST_NAME), text(event, "ignored", _LONGEST_NAME)
        words = f"{self._container(event)}: {part} {key}: that of {kept} is kept, that of {ignored} is ignored"
        yield self._note(event, words, [kept, ignored])

    def _cancelled(self, event: Event) -> Iterator[Item]:
        words = f"does not wait for {_pod(event)} any more: what it had taken is released"
        yield self._message(event, CALLER, MANAGER, words, failed=True)

    def _removed(self, event: Event) -> Iterator[Item]:
        freed = (f"{name}: {devices({name: ids}, name)}" for name, ids in mapping(event, "freed").items())
        yield self._message(event, CALLER, MANAGER, f"remove pod {_pod(event)}")
        yield self._message(event, MANAGER, CALLER, f"freed {listed(freed) or 'nothing'}", reply=True)

    def _started(self, event: Event) -> Iterator[Item]:
        words = f"{self._container(event)} starts, with what the plug-ins answered"
        yield self._message(event, MANAGER, CALLER, words, reply=True)

    def _not_started(self, event: Event) -> Iterator[Item]:
        words = f"{self._container(event)} cannot start: {text(event, 'message')}"
        yield self._message(event, MANAGER, CALLER, words, reply=True, failed=True)

    def _allocated(self, event: Event) -> Iterator[Item]:
        yield self._note(event, f"{self._container(event)} gets {devices(event, 'devices')}")

    def _health_changed(self, event: Event) -> Iterator[Item]:
        words = f"{text(event, 'device', _LONGEST_NAME)} of {self._container(event)} is {text(event, 'health', 40)}"
        yield self._note(event, words)

    def _pod_resources(self, event: Event) -> Iterator[Item]:
        failed, words = flag(event, "failed"), f"PodResources {text(event, 'version', 20)} {text(event, 'method', 40)}"
        yield self._message(event, CALLER, MANAGER, words, failed=failed)

    # --- the API server -----------------------------------------------------------------------------

    def _node_registered(self, event: Event) -> Iterator[Item]:
        found = "found" if flag(event, "existed") else "created"
        yield self._message(event, MANAGER, API_SERVER, f"Node {text(event, 'node', 60)}: {found}")

    def _node_status(self, event: Event) -> Iterator[Item]:
        capacity, allocatable = mapping(event, "capacity"), mapping(event, "allocatable")
        words = (f"{name} {allocatable.get(name, 0)} of {value}" for name, value in capacity.items())
        yield self._message(event, MANAGER, API_SERVER, f"allocatable: {listed(words) or 'nothing'}")

    def _pod_status(self, event: Event) -> Iterator[Item]:
        words = " ".join(filter(None, (text(event, "phase", 40), text(event, "reason", 60))))
        yield self._message(event, MANAGER, API_SERVER, f"pod {_pod(event)}: {words}")

    def _pod_deleted(self, event: Event) -> Iterator[Item]:
        yield self._message(event, MANAGER, API_SERVER, f"delete pod {_pod(event)}, which has ended")

    def _api_refused(self, event: Event) -> Iterator[Item]:
        words = f"refused: {text(event, 'what', 100)}: {text(event, 'problem')}"
        yield self._message(event, API_SERVER, MANAGER, words, reply=True, failed=True)

    _TOLD: ClassVar[dict[str, Callable[[Narrator, Event], Iterator[Item]]]] = {
        "RegistrationRequested": _register,
        "PluginDiscovered": _discovered,
        "PluginRegistered": _registered,
        "PluginRefused": _refused,
        "PluginPromoted": _promote,
        "PluginEnded": _ended,
        "EndpointStopped": _ended,
        "DeviceListReceived": _received,
        "DeviceListApplied": _applied,
        "CallFinished": _called,
        "CheckCallFinished": _called_by_check,
        "AssignmentRestored": _held_before,
        "PodRestored": _restored,
        "PodAdmissionRequested": _admission,
        "DevicesAllocated": _allocated,
        "DeviceHealthChanged": _health_changed,
        "PodAdmitted": _admitted,
        "PodRefused": _pod_refused,
        "PodWaiting": _waits,
        "PodAligned": _aligned,
        "PodAdmissionCancelled": _cancelled,
        "PodRemoved": _removed,
        "ContainerStarted": _started,
        "ContainerNotStarted": _not_started,
        "AnswersConflicted": _conflicted,
        "PodResourcesCalled": _pod_resources,
        "NodeRegistered": _node_registered,
        "NodeStatusPublished": _node_status,
        "PodStatusPublished": _pod_status,
        "PodDeleted": _pod_deleted,
        "ApiRequestRefused": _api_refused,
    }


_BAD = {
    *("CheckpointFailed", "CheckpointLost", "EventsNotWritten", "SocketReplaced", "FileSetAside", "PluginSocketFailed"),
    *("ResourceContended", "ResourceRemoved", "PeerLimitReached", "CallsDenied", "ConnectionBroken"),
    *("AllocateAnswerFlagged", "FaultInjected", "NodeStandsBy", "ApiServerLost"),
}
"""Notes that are drawn as a warning."""


def _remember(known: dict[K, V], key: K, value: V) -> None:
    """As the latest; of too many the oldest is forgotten."""
    known.pop(key, None)
    known[key] = value
    if len(known) > _MOST_REMEMBERED:
        del known[next(iter(known))]


def _pod(event: Event) -> str:
    namespace, name = text(event, "namespace", 60), text(event, "name", 60)
    return f"{namespace}/{name}" if name else f"uid {text(event, 'uid', 60)}"


def _changes(event: Event) -> str:
    """What is different from the list before. Of each kind an event names the first devices, and of none more than of
    one that is cut: what it omits is of the kinds of which it names the most."""
    kinds = {"new": strings(event, "added"), "gone": strings(event, "removed"), "changed": strings(event, "changed")}
    shown = {word: clean(devices_in_short(ids)) for word, ids in kinds.items() if ids}
    omitted = count(event, "omitted")
    if not shown:
        return " (not compared with the list before)" if omitted else ""
    named = max(map(len, kinds.values()))
    cut = [word for word, ids in kinds.items() if omitted and len(ids) == named]
    if len(cut) == 1:
        shown[cut[0]] = counted(named + omitted, "device")
    texts = [f"{word} {'at least ' if len(cut) > 1 and word in cut else ''}{ids}" for word, ids in shown.items()]
    if len(cut) > 1:
        texts.append(f"{omitted:,} more changes")
    return f" ({'; '.join(texts)})"
