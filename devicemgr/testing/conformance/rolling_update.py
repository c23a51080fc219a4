"""A check of what becomes of the new process when an old one that it has replaced ends after it."""

from __future__ import annotations

from collections.abc import Callable

import trio

from ...events import PluginRefused, PluginRegistered
from .abbreviation import first_few
from .bench import REACTION_TIME, Bench
from .check import check
from .verdicts import ConclusiveFailure, Failed, Skipped, Weight

CONNECTED = "D37-4"
"""The rule by which a kubelet of v1.37 refuses a socket whose stream is open."""
_CAME_BACK = "; when the new one was refused here, it registered again"
_OWN_NAME = "take a name that no other process has"


@check(
    "rolling-update",
    rule="REG-10, D37-4",
    needs=("kill-restart",),
    seen_in="NVIDIA/k8s-device-plugin#1792",
    whole_plugin=True,
)
async def rolling_update(bench: Bench) -> str:
    """Is still served when its old process ends after its new one has begun.

    With ``maxSurge`` in its DaemonSet the new pod runs, and has registered, before the old one is asked to end. One
    that at its end deletes whatever has its socket's name deletes the new one's: nobody can reach that any more, and
    nothing tells it so, until somebody restarts it by hand. One that ends meanwhile is started again here, as every pod
    of a DaemonSet is.

    Where the two take the socket from each other before, how that ends is chance, so then it is a warning.

    A kubelet of v1.37 refuses a socket on which the old process's stream is open: "device plugin already connected".
    Where both have one name, that is done here too, to a third process. One that only writes it to its log serves
    nobody when the old one has ended. One that registers again, or ends and is started again, gets a warning all the
    same: v1.37 itself has forgotten the old stream by then, and goes on refusing the name until the kubelet is
    restarted (LIM-42), and before v1.37 the end of any one stream takes all devices away. It is a warning, since
    without ``maxSurge`` the old process has ended before the new one begins.

    Fix: a name that no other process has, such as one with the time of its start in it, as Kubernetes' own sample
    and GKE's plug-in have it (process ids repeat from pod to pod), or else wait until nobody serves yours, and register
    again after every refusal; at the end delete your own socket only, if it still is the one that you made; and watch
    it (socket-deleted). With a name for each process nobody deletes what a killed one has left: at the start connect to
    each socket that has your prefix, and remove it when the connection is refused (ECONNREFUSED), for then nobody
    serves it.
    """
    since = await bench.begin_disruption()
    before = _names(bench)
    async with bench.lifecycle.respawning():
        has_come = await _update(bench, lambda: bench.are_back(since))
        fight = _fight(bench, since)
        if not await bench.wait_until(lambda: _is_reached(bench), bench.timing.patience):
            why = f"when the first of two processes had ended, {_what_is_left(bench, since)}{fight}"
            raise Failed(why, Weight.WARNING if fight else Weight.ERROR)
        for resource in bench.resources:
            with bench.of([resource]):
                async with bench.client() as client:
                    await client.get_options()
        named = await _told_of_names(bench, before & _names(bench), has_come)
    return f"when the first of two processes had ended, the second was served{fight}; {named}"


def _names(bench: Bench) -> set[str]:
    return {socket.name for socket in bench.sockets}


async def _update(bench: Bench, has_come: Callable[[], bool]) -> bool:
    """Start a new process, and end the old one when that has come, has ended, or patience has; had it come then?

    Raises Skipped where only the little patience that there is beside other instances has ended.
    """
    came = is_known = False

    async def until_it_has_come() -> None:
        nonlocal came, is_known
        is_known = await bench.wait_until(
            lambda: bench.subject.unexpected_exit is not None or has_come(), bench.timing.patience
        )
        came = has_come()

    await bench.lifecycle.surge(until_it_has_come, bench.timing.termination_grace_period)
    if bench.has_parallel_instances and not is_known:
        raise Skipped(f"within {bench.timing.patience:g} s the second of two processes neither registered nor ended")
    return came


async def _told_of_names(bench: Bench, same: set[str], has_come: bool) -> str:
    """Why v1.37 takes the names of both, ``same`` being those that both had; where it would refuse the new one, do
    that. Raises Failed."""
    if not same:
        return "each had a name of its own"
    both = f"both had {first_few(sorted(same))}"
    if bench.was_discovered:
        return f"{both}, which a kubelet takes from plugins_registry when it is made anew"
    if not has_come:
        return f"{both}, one after the other"
    came_back = await _comes_after_a_refusal(bench, both)
    why = f"{both}: with maxSurge a kubelet of v1.37 refuses that name until it is restarted; {_OWN_NAME}"
    raise ConclusiveFailure(
        f"{why}, such as one with the time of its start in it{_CAME_BACK * came_back}", Weight.WARNING
    )


async def _comes_after_a_refusal(bench: Bench, both: str) -> bool:
    """Update it once more, with a manager that refuses as v1.37 does; was anybody refused? Raises Failed."""
    await trio.sleep(REACTION_TIME)  # a registration that the first update led to must not be taken for the third one's
    since = await bench.begin_disruption()
    bench.manager.faults.refuse_same_socket()
    try:
        await _update(bench, lambda: bool(_refusals(bench, since)) or bench.are_back(since))
    finally:
        bench.manager.faults.accept_same_socket()
    refusals = _refusals(bench, since)
    ended = bench.lifecycle.overlaps[-1][1]
    if not await bench.wait_until(lambda: bench.are_back(since) and _is_reached(bench), bench.timing.patience):
        fight = _fight(bench, since)
        came = f"{_what_came_then(bench, since, ended)}{fight}"
        then = f"when the old one had ended, {came}; {_OWN_NAME}, and register again after a refusal"
        if refusals:
            then = (
                f"Register was answered UNKNOWN, {refusals[-1].message!r}, as by v1.37 until a stream ends, and {then}"
            )
        raise Failed(f"{both}: {then}", Weight.WARNING if fight else Weight.ERROR)
    return bool(refusals)


def _is_reached(bench: Bench) -> bool:
    return bench.serves() and bench.accepts()


def _refusals(bench: Bench, since: float) -> list[PluginRefused]:
    """Of sockets whose stream was open."""
    refused = [
        event for resource in bench.resources for _, event in bench.seen(PluginRefused, since=since, of=resource)
    ]
    return [event for event in refused if event.rule == CONNECTED]


def _fight(bench: Bench, since: float) -> str:
    """How often somebody was registered while both ran, if that was more than once."""
    most = max(len(bench.seen(PluginRegistered, since=since, of=resource)) for resource in bench.resources)
    return f"; before, they took the socket from each other, with {most} registrations" if most > 1 else ""


def _what_is_left(bench: Bench, since: float) -> str:
    gone = [socket.name for socket in bench.sockets if not socket.exists()]
    if gone and bench.subject.is_running and bench.are_back(since):
        return f"{first_few(gone)} was gone, which was the second one's by then, and nobody made it again"
    return bench.what_happened(since=since)


def _what_came_then(bench: Bench, since: float, ended: float) -> str:
    """Of the first resource that did not come back."""
    late = bench.not_back(since) or bench.resources
    with bench.of(late[:1]):
        which = f"{late[0]}: " if len(bench.known) > 1 else ""
        if bench.subject.is_running and not bench.registrations(since=ended):
            return f"{which}the new one did not register again within {bench.timing.patience:g} s"
        return which + bench.what_happened(since=ended)
