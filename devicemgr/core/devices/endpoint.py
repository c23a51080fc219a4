"""The life of an endpoint: the manager's record of one registration of one plug-in.

A plug-in that registers gets an endpoint, and one that registers again gets another. They are numbered: by its
*generation* a list that was already on its way, or the end of a stream, is recognised as news of an older endpoint, and
dropped (LIM-2, LIM-4). This page says what an endpoint may go through; ``TRANSITIONS`` says the same to the program.

CONNECTING: the plug-in has called Register, or the watcher has found its socket. The manager connects to it and asks
for its options. Nobody else sees the endpoint, and whatever served the resource before goes on serving it. So a
registration that fails has no effect on others (LIM-3).

SERVING: the plug-in has answered, and Register returns. The devices of the resource are those of its lists, and it is
the one that is asked to allocate them. A resource has one such endpoint at most, the *primary*: the newest (REG-10).

STANDBY: a plug-in on another socket has registered since, and serves. The stream stays open and its lists are kept.
They do not count once a newer plug-in has sent one, and nothing is asked. When the newer ones have ended it serves
again, with its own last list. If it ends before, nothing else changes. So a plug-in can be updated, and the update
undone, without an interruption.

DRAINING: the endpoint has no part in the resource any more. Most often its own socket was registered again, as by a
plug-in that has restarted: the newer registration serves, and a plug-in may support one stream only. The stream is not
read any more and nothing new is asked. What the plug-in was asked before, it may still answer; then the connection is
closed. Every call has a deadline, so this ends.

STOPPED: the stream has ended, nobody else serves, and none stands by. The plug-in may have crashed or ended its stream,
or its socket was removed; no distinction is made. The devices count as unhealthy. The capacity stays for a grace
period, within which a plug-in that only restarts is back (LW-8, LW-11). A resource known only from the checkpoint
begins here (REG-19). "Stopped" is what the kubelet calls such an endpoint, and what ``status`` shows.

GONE: nothing is left of the endpoint. If it stopped and nobody took over, the resource is removed from the node. If
another one stands by, the primary is STOPPED for no time: in the same step the newest of them takes over.

Who serves is decided by what happened, and in the order in which plug-ins answered. The newest wins, and at its end the
newest of the others: the kubelet takes any of them, even if it was an old one that ended (LIM-40).

Two things are not in the table. A list changes the devices of a resource, but not the life of the endpoint. And the end
of the manager cancels the endpoint tasks wherever they are: it is the end of the machine, and not a step of it.

A trigger for which the state has no row is a bug in the manager, whatever plug-ins do, so it raises IllegalTransition
instead of being ignored. The diagrams in the README and in the book are generated from the table, and without any one
of its rows a test fails in which real plug-ins register, serve and end.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum

from ...model import PluginOptions, ResourceName
from .last_list import LastList

GRACE_PERIOD = 300.0
"""Seconds a stopped endpoint keeps its capacity; it ends strictly after (LW-11)."""
RESTORED = 0
"""The generation of an endpoint that is known from the checkpoint only (REG-19); registrations count from 1."""


class State(Enum):
    CONNECTING = "connecting"
    SERVING = "serving"
    STANDBY = "standby"
    DRAINING = "draining"
    STOPPED = "stopped"
    GONE = "gone"


class Trigger(Enum):
    """What changes the state."""

    ANSWERED = "the plug-in answered"
    FAILED = "the registration failed"
    REPLACED = "another plug-in took over"
    REGISTERED_AGAIN = "its socket was registered again"
    CROWDED_OUT = "too many stand by"
    PROMOTED = "the one that served ended"
    IDLE = "the last call was answered"
    STREAM_ENDED = "the stream ended"
    GRACE_PERIOD_OVER = "the grace period is over"


TRANSITIONS = {
    (State.CONNECTING, Trigger.ANSWERED): State.SERVING,
    (State.CONNECTING, Trigger.FAILED): State.GONE,
    (State.SERVING, Trigger.REPLACED): State.STANDBY,
    (State.SERVING, Trigger.REGISTERED_AGAIN): State.DRAINING,
    (State.SERVING, Trigger.STREAM_ENDED): State.STOPPED,
    (State.STANDBY, Trigger.PROMOTED): State.SERVING,
    (State.STANDBY, Trigger.REGISTERED_AGAIN): State.DRAINING,
    (State.STANDBY, Trigger.CROWDED_OUT): State.DRAINING,
    (State.STANDBY, Trigger.STREAM_ENDED): State.GONE,
    (State.DRAINING, Trigger.IDLE): State.GONE,
    (State.STOPPED, Trigger.REPLACED): State.GONE,
    (State.STOPPED, Trigger.GRACE_PERIOD_OVER): State.GONE,
}
LIVE = State.SERVING, State.STANDBY
"""The states in which the stream is read."""


class IllegalTransition(RuntimeError):
    """A trigger that cannot occur in this state did."""


@dataclass(slots=True, kw_only=True, eq=False)
class Endpoint:
    """``socket`` is the plug-in's file name. ``stopped_at`` is when the stream ended, None as long as it has not.

    ``aliases`` is what else identifies the socket. ``last_list`` is None before the first list, and when the stream is
    not read any more. ``arriving`` is how much memory a list takes that is being examined, in bytes.
    """

    resource: ResourceName
    generation: int
    socket: str
    aliases: frozenset[Hashable] = frozenset()
    options: PluginOptions = PluginOptions()
    state: State = State.CONNECTING
    stopped_at: float | None = None
    last_list: LastList | None = None
    arriving: int = 0

    @property
    def is_live(self) -> bool:
        return self.state in LIVE

    def is_on_same_socket(self, other: Endpoint) -> bool:
        """Is it the same plug-in, or one in its place?"""
        return self.socket == other.socket or not self.aliases.isdisjoint(other.aliases)

    def advance(self, trigger: Trigger) -> None:
        """Change the state. Raises IllegalTransition if the table has no row for this."""
        try:
            self.state = TRANSITIONS[self.state, trigger]
        except KeyError:
            raise IllegalTransition(
                f"generation {self.generation} of {self.resource}: {trigger.value!r} while {self.state.value}"
            ) from None
        if not self.is_live:
            self.last_list = None

    def stop(self, *, now: float) -> None:
        """The stream ended."""
        self.advance(Trigger.STREAM_ENDED)
        self.stopped_at = now

    def is_expired(self, *, now: float, grace: float = GRACE_PERIOD) -> bool:
        """Has the grace period run out? Strictly more than ``grace`` seconds must have passed (LW-11)."""
        return self.stopped_at is not None and now - self.stopped_at > grace
