"""A check that the new process of a rolling update outlives the old one."""

from __future__ import annotations

from collections.abc import Callable

import trio

from ....events import PluginRefused, PluginRegistered
from ..abbreviation import first_few
from ..bench import REACTION_TIME, Bench
from ..check import check
from ..verdicts import ConclusiveFailure, Failed, Skipped, Weight

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

    With ``maxSurge`` in its DaemonSet the new pod runs and has registered before the old one is asked to end. If the
    old process deletes the socket of its name at its end, it deletes that of the new one: the new process cannot be
    reached any more, and does not learn of it, until somebody restarts it by hand. A process that exits meanwhile is
    started again here, as every pod of a DaemonSet is.

    If the two processes take the socket from each other before that, the outcome is chance, so a failure is a warning
    then.

    A kubelet of v1.37 refuses a socket on which the stream of the old process is open: "device plugin already
    connected". If both processes have one name, the check does that too, to a third process. A plug-in that only logs
    the error serves no manager when the old process has ended. One that registers again, or exits and is started again,
    still gets a warning: v1.37 itself has forgotten the old stream by then, and refuses the name until the kubelet is
    restarted (LIM-42), and before v1.37 the end of either stream takes all devices away. It is a warning, since without
    ``maxSurge`` the old process has ended before the new one begins.

    Fix: use a name that no other process has, such as one with the time of its start in it, as Kubernetes' own sample
    and GKE's plug-in do (process ids repeat from pod to pod), or else wait until your name is not served any more, and
    register again after every refusal; at the end delete your own socket only, if it still is the one that you made;
    and watch it (socket-deleted). With a name for each process, the socket of a killed process is left behind: at the
    start connect to each socket that has your prefix, and remove it if the connection is refused (ECONNREFUSED), since
    it is not served then.
    """
    since = await bench.begin_disruption()
    before = _socket_names(bench)
    async with bench.lifecycle.respawning():
        has_come = await _update(bench, lambda: bench.are_back(since))
        contention = _contention(bench, since)
        if not await bench.wait_until(lambda: _is_reached(bench), bench.timing.patience):
            why = f"when the first of two processes had ended, {_missing_socket(bench, since)}{contention}"
            raise Failed(why, Weight.WARNING if contention else Weight.ERROR)
        for resource in bench.resources:
            with bench.of([resource]):
                async with bench.client() as client:
                    await client.get_options()
        named = await _check_socket_names(bench, before & _socket_names(bench), has_come)
    return f"when the first of two processes had ended, the second was served{contention}; {named}"


def _socket_names(bench: Bench) -> set[str]:
    return {socket.name for socket in bench.sockets}


async def _update(bench: Bench, has_come: Callable[[], bool]) -> bool:
    """Start a new process, and end the old one when ``has_come``, when the new one has exited, or when patience is
    over; returns whether it had come.

    Raises Skipped if only the short patience with parallel instances is over.
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


async def _check_socket_names(bench: Bench, same: set[str], has_come: bool) -> str:
    """What v1.37 makes of the names: ``same`` are those that both processes had. If it would refuse the new process, do
    that. Raises Failed."""
    if not same:
        return "each had a name of its own"
    both = f"both had {first_few(sorted(same))}"
    if bench.was_discovered:
        return f"{both}, which a kubelet takes from plugins_registry when it is created again"
    if not has_come:
        return f"{both}, one after the other"
    came_back = await _update_with_refusals(bench, both)
    why = f"{both}: with maxSurge a kubelet of v1.37 refuses that name until it is restarted; {_OWN_NAME}"
    raise ConclusiveFailure(
        f"{why}, such as one with the time of its start in it{_CAME_BACK * came_back}", Weight.WARNING
    )


async def _update_with_refusals(bench: Bench, both: str) -> bool:
    """Update the plug-in once more, with a manager that refuses as v1.37 does; returns whether it refused. Raises
    Failed."""
    await trio.sleep(REACTION_TIME)  # a late registration of the second process must not count as the third one's
    since = await bench.begin_disruption()
    bench.manager.faults.refuse_same_socket()
    try:
        await _update(bench, lambda: bool(_refusals(bench, since)) or bench.are_back(since))
    finally:
        bench.manager.faults.accept_same_socket()
    refusals = _refusals(bench, since)
    ended = bench.lifecycle.overlaps[-1][1]
    if not await bench.wait_until(lambda: bench.are_back(since) and _is_reached(bench), bench.timing.patience):
        contention = _contention(bench, since)
        came = f"{_outcome(bench, since, ended)}{contention}"
        then = f"when the old one had ended, {came}; {_OWN_NAME}, and register again after a refusal"
        if refusals:
            then = (
                f"Register was answered UNKNOWN, {refusals[-1].message!r}, as by v1.37 until a stream ends, and {then}"
            )
        raise Failed(f"{both}: {then}", Weight.WARNING if contention else Weight.ERROR)
    return bool(refusals)


def _is_reached(bench: Bench) -> bool:
    return bench.serves() and bench.accepts()


def _refusals(bench: Bench, since: float) -> list[PluginRefused]:
    """The refusals of sockets whose stream was open."""
    refused = [
        event for resource in bench.resources for _, event in bench.seen(PluginRefused, since=since, of=resource)
    ]
    return [event for event in refused if event.rule == CONNECTED]


def _contention(bench: Bench, since: float) -> str:
    """How often the plug-in registered while both processes ran, if that was more than once."""
    most = max(len(bench.seen(PluginRegistered, since=since, of=resource)) for resource in bench.resources)
    return f"; before, they took the socket from each other, with {most} registrations" if most > 1 else ""


def _missing_socket(bench: Bench, since: float) -> str:
    gone = [socket.name for socket in bench.sockets if not socket.exists()]
    if gone and bench.subject.is_running and bench.are_back(since):
        return f"{first_few(gone)} was gone, which was the second one's by then, and was not created again"
    return _outcome(bench, since, bench.lifecycle.overlaps[-1][1])


def _outcome(bench: Bench, since: float, ended: float) -> str:
    """Why the first of the missing resources did not come back."""
    late = bench.not_back(since) or bench.resources
    with bench.of(late[:1]):
        which = f"{late[0]}: " if len(bench.known) > 1 else ""
        if bench.subject.is_running and not bench.registrations(since=ended):
            return f"{which}the new one did not register again within {bench.timing.patience:g} s"
        return which + bench.what_happened(since=ended)
