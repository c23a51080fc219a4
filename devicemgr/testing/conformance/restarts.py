"""Checks of what a plug-in does when the kubelet, or the plug-in itself, has ended and begins anew."""

from __future__ import annotations

from contextlib import suppress

import trio

from ...events import PluginRegistered
from .abbreviation import first_few
from .bench import REACTION_TIME, Bench
from .check import check
from .findings import Termination
from .verdicts import ConclusiveFailure, Failed, Skipped, Weight

WARM_UP = 3
"""Restarts before descriptors are counted."""
FEWEST = 5
"""Restarts that every plug-in has to stand, however quickly they come: systemd gives a kubelet no more in ten seconds.
With fewer, one descriptor is no leak, but one at each is."""
SETTLING = 1.0
"""Seconds that a plug-in has to close what it needed to come back."""
TOLERATED = 10
"""In how many restarts one more descriptor is taken for chance."""
CONVINCING = 20
"""Restarts that are enough when not one descriptor more is open then. A plug-in that leaks at one restart in five, by
chance, shows nothing in so many once in ninety times; fifty, with one in ten tolerated, it passes once in twenty."""


@check(
    "restart",
    rule="REG-17, REG-22",
    needs=("first-list",),
    seen_in="k8snetworkplumbingwg/sriov-network-device-plugin#411",
    whole_plugin=True,
)
async def restart(bench: Bench) -> str:
    """Registers again, on a fresh socket, when the kubelet has restarted.

    A kubelet that starts deletes every socket in the directory, the plug-in's too, and knows nobody. It is the field's
    most frequent defect not to come back: after an update of the kubelet the node has no devices, and stays so until
    somebody deletes the plug-in's pod.

    Fix: watch the directory; when kubelet.sock is made anew or your own socket is gone, stop your server, make a
    new socket, serve, and register. The end of ListAndWatch alone is no reliable sign (a kubelet may be slow to die),
    nor is a timer.
    """
    took = await _restart_and_wait(bench, "after a restart of the manager")
    return f"registered again, with a list, after {took:.2f} s"


@check(
    "wiped",
    rule="REG-17, REG-22",
    needs=("restart",),
    seen_in="Mellanox/k8s-rdma-shared-dev-plugin#79",
    whole_plugin=True,
)
async def wiped(bench: Bench) -> str:
    """Registers again when the sockets in the directory are deleted, even if its stream stays open.

    The deleted socket is the documented sign of a restart. Somebody who cleans the directory, or a kubelet whose old
    process is slow to die, deletes sockets while the old stream is still open: a plug-in that only waits for the
    stream's end serves on a socket that nobody can reach any more.

    Fix: watch for the removal of your own socket.
    """
    if bench.was_discovered:
        raise Skipped("the plug-in was found in plugins_registry, where the kubelet deletes nothing")
    since = await bench.begin_disruption()
    bench.manager.faults.wipe()
    took = await bench.wait_for_list(since=since, what="after all sockets were deleted")
    return f"registered again, with a list, after {took:.2f} s"


@check("socket-deleted", rule="REG-17, REG-22", needs=("wiped",), whole_plugin=True)
async def socket_deleted(bench: Bench) -> str:
    """Registers again when its own socket alone is deleted.

    It is the sign that the API documents: the kubelet deletes all sockets when it starts, and whoever only watches for
    a new kubelet.sock may have looked away in that moment. Nothing else will ever tell the plug-in that the manager's
    next connection finds nobody.

    Fix: watch your own socket as well as kubelet.sock; when it is gone, make a new one, serve, and register.
    """
    if bench.was_discovered:
        raise Skipped("the plug-in was found in plugins_registry, where nobody but itself deletes its socket")
    since = await bench.begin_disruption()
    bench.delete_sockets()
    took = await bench.wait_for_list(since=since, what="after its own socket was deleted")
    return f"registered again, with a list, after {took:.2f} s"


@check("registry-deleted", rule="REG-22, LIM-36", needs=("restart",), whole_plugin=True)
async def registry_deleted(bench: Bench) -> str:
    """Goes on when kubelet.sock alone is deleted and made anew.

    It may register again or not: its stream and its own socket are as they were. A plug-in that ends when a file goes
    away, or stops its server and finds its own socket in the way, is lost to a node that has lost nothing.

    Fix: take the new kubelet.sock, and not the end of the old one, for the sign to register again.
    """
    since = await bench.begin_disruption()
    bench.layout.registration_socket.unlink(missing_ok=True)
    await bench.wait_until(bench.layout.registration_socket.exists, bench.timing.prompt)
    await trio.sleep(REACTION_TIME)
    again = any(bench.seen(PluginRegistered, since=since, of=resource) for resource in bench.known)
    if again:  # then with all it has, and nothing disrupts it meanwhile
        with suppress(Failed):
            await bench.wait_for_list(since=since, what="")
    if not await bench.wait_until(bench.serves, bench.timing.patience):
        raise Failed(f"after kubelet.sock was deleted; {bench.what_happened(since=since)}")
    for resource in bench.resources:
        with bench.of([resource]):
            await bench.list_of_new_stream()
    return f"it still serves, and has {'' if again else 'not '}registered again"


@check("away", rule="REG-22", needs=("restart",), seen_in="kubevirt/kubevirt#2068", whole_plugin=True)
async def away(bench: Bench) -> str:
    """Waits while the kubelet is away, and registers when it is back.

    Between the end of a kubelet and its next start lie seconds, and minutes when a node is being updated. A
    plug-in that tries to register three times and gives up, or ends with an error, is in CrashLoopBackOff when the
    kubelet is ready; its devices come minutes late.

    Fix: keep trying, with a bounded pause between attempts.
    """
    since = await bench.begin_disruption()
    await bench.manager.faults.restart(delay=bench.timing.restart_delay)
    back = trio.current_time()
    await bench.wait_for_list(since=since, what=f"after the manager was away for {bench.timing.restart_delay:g} s")
    firsts = [bench.seen(PluginRegistered, since=back, of=resource)[:1] for resource in bench.resources]
    late = max((seen.time - back for first in firsts for seen, _ in first), default=0.0)
    return f"registered again {late:.2f} s after the manager was back"


@check("descriptors", rule="REG-22", needs=("restart",), seen_in="NVIDIA/k8s-device-plugin#152", whole_plugin=True)
async def descriptors(bench: Bench) -> str:
    """Does not leak file descriptors when the kubelet restarts.

    Each registration opens a connection, a listener, often a watch of the directory. What is not closed adds up over
    the restarts of months, until "too many open files" ends the plug-in.

    Fix: close the connection to kubelet.sock after Register, stop the old server before the new one starts, and
    keep one watch.
    """
    bench.subject.descriptors()
    started, respawns = trio.current_time(), len(bench.lifecycle.respawn_causes)
    await _restart_and_wait(bench, "after one of many restarts of the manager")
    if len(bench.lifecycle.respawn_causes) > respawns:
        return "it ends with its stream, and with it all that is open"
    end = started + bench.timing.restarting
    # What is opened once only is no leak.
    warm, _ = await _restart_repeatedly(bench, WARM_UP - 1, until=started + bench.timing.restarting / 4)
    before = bench.subject.descriptors()
    most = bench.timing.restarts
    made, gave_up = await _restart_repeatedly(bench, min(most, CONVINCING), until=end, before=warm + 1, least=2)
    if not gave_up and await _fewest_descriptors(bench, before) > before:  # by chance, or at each so-manieth
        further, gave_up = await _restart_repeatedly(bench, most - made, until=end, before=warm + 1 + made)
        made += further
    took = trio.current_time() - started
    if gave_up:
        made += warm + 1
        return f"{before} open descriptors; after {made} restarts in {took:.1f} s, more than a kubelet makes, {gave_up}"
    more = await _fewest_descriptors(bench, before) - before
    if more > made / TOLERATED if made >= FEWEST else more >= made:
        raise ConclusiveFailure(f"{before} open descriptors, and {more} more after {made} restarts")
    enough = f"; of {most}, as many as are enough when none is left open" if made == CONVINCING < most else ""
    return f"{before} open descriptors before, {before + more} after {made} restarts in {took:.1f} s{enough}"


async def _restart_repeatedly(
    bench: Bench, most: int, *, until: float, before: int = 0, least: int = 0
) -> tuple[int, str]:
    """As many as fit ``until`` then; how many that were, and why the plug-in came back no more.

    Raises Failed when it did not come back often enough, those ``before`` included.
    """
    made = 0
    while made < least or (made < most and trio.current_time() < until):
        try:
            await _restart_and_wait(bench, "after one of many restarts of the manager")
        except Failed as failure:
            if before + made < FEWEST:
                raise
            return made, str(failure)
        made += 1
    return made, ""


async def _fewest_descriptors(bench: Bench, before: int) -> int:
    """What is about to be closed is no leak: look again for a moment, as long as there are more than before."""
    found = bench.subject.descriptors()
    with trio.move_on_after(SETTLING):
        while found > before:
            await trio.sleep(SETTLING / 20)
            found = min(found, bench.subject.descriptors())
    return found


async def _restart_and_wait(bench: Bench, what: str) -> float:
    """Seconds until the plug-in was back. Raises Failed, which begins with ``what``."""
    since = await bench.begin_disruption()
    await bench.manager.faults.restart()
    return await bench.wait_for_list(since=since, what=what)


@check(
    "kill-restart",
    rule="REG-17",
    needs=("first-list",),
    seen_in="intel/intel-device-plugins-for-kubernetes#1370",
    whole_plugin=True,
)
async def kill_restart(bench: Bench) -> str:
    """Starts again after kill -9, though its old socket is still there.

    Nobody removes a dead plug-in's socket but the next start of the kubelet. A plug-in that only binds finds "address
    already in use", ends, and does so at every restart of its pod.

    Fix: remove the socket of your own name before you bind.
    """
    sockets = bench.sockets
    await bench.subject.kill()
    if bench.subject.is_running:
        raise Skipped("the plug-in is not ours to kill (--attach)")
    left = any(socket.is_socket() for socket in sockets)
    await bench.wait_until(lambda: not bench.serving(), bench.timing.prompt)  # of the old streams' end nobody asks more
    since = trio.current_time()
    await bench.lifecycle.start()
    took = await bench.wait_for_list(since=since, what="after kill -9 and a new start")
    return f"with its old socket {'in place' if left else 'gone'}, registered after {took:.2f} s"


@check("sigterm-ends", rule="LW-8", needs=("first-list",), seen_in="odigos-io/odigos#4966", whole_plugin=True)
async def sigterm_ends(bench: Bench) -> str:
    """Ends on SIGTERM, in time and without an error.

    That is how Kubernetes ends a pod. One that does not listen is killed after 30 s: every update of the DaemonSet
    takes half a minute longer on each node, and nothing is cleaned up.

    With another exit status than 0 it is a warning: of a pod that is being deleted nobody reads it.

    Fix: handle SIGTERM: end the streams, stop the server, remove the socket, exit 0. As process 1 of a container a
    program without a handler does not get the signal at all.
    """
    termination = await _terminate_once(bench)
    if termination.status is None:
        raise Failed(f"it was still running {bench.timing.termination_grace_period:g} s after SIGTERM")
    if termination.status not in (0, -15, 143):
        raise Failed(
            f"it ended with exit status {termination.status} after {termination.seconds:.2f} s", Weight.WARNING
        )
    how = "exit status" if termination.status >= 0 else "signal"
    return f"it ended with {how} {abs(termination.status)} after {termination.seconds:.2f} s"


async def _terminate_once(bench: Bench) -> Termination:
    """How the plug-in takes SIGTERM, once for all who ask. It is left ended: whatever needs it starts it again, and
    that it cannot start over what it left is not the signal's affair."""
    if bench.findings.termination is None:
        status, started, sockets = None, trio.current_time(), bench.sockets
        with trio.move_on_after(bench.timing.termination_grace_period):
            status = await bench.subject.terminate()
        left = [socket.name for socket in sockets if socket.is_socket()]
        bench.findings.termination = Termination(
            status, trio.current_time() - started, [socket.name for socket in sockets], left
        )
        await bench.subject.kill()
    return bench.findings.termination


@check(
    "sigterm-removes-socket",
    rule="REG-17",
    needs=("first-list",),
    seen_in="project-akri/akri#551",
    whole_plugin=True,
    weight=Weight.WARNING,
)
async def sigterm_removes_socket(bench: Bench) -> str:
    """Removes its socket when it ends on SIGTERM.

    A socket without a server looks like a plug-in to whoever looks into the directory, and to the next process
    of a plug-in: it has to guess whether somebody still serves it.

    It is a warning: the kubelet deletes what is left when it starts, and nothing comes of it meanwhile, as long as the
    plug-in can start over its own socket (kill-restart).

    Fix: stop the gRPC server gracefully, or remove the file as the last thing you do.
    """
    termination = await _terminate_once(bench)
    if termination.status is None:
        raise Skipped("it did not end on SIGTERM (sigterm-ends)")
    if termination.left:
        raise Failed(f"{first_few(termination.left)} was still there when the plug-in had ended")
    return f"{first_few(termination.sockets)} was gone when the plug-in had ended"
