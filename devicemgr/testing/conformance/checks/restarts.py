"""Checks that a plug-in comes back after a restart of the kubelet, or of itself."""

from __future__ import annotations

from contextlib import suppress

import trio

from ....events import PluginRegistered
from ..abbreviation import first_few
from ..bench import REACTION_TIME, Bench
from ..check import check
from ..findings import Termination
from ..verdicts import ConclusiveFailure, Failed, Skipped, Weight

WARM_UP = 3
"""Restarts before descriptors are counted."""
FEWEST = 5
"""Restarts that every plug-in must survive, however quickly they come: systemd allows a kubelet no more in ten seconds.
With fewer restarts one more descriptor is no leak, but one at each restart is."""
SETTLING = 1.0
"""Seconds that a plug-in has to close what it needed to come back."""
TOLERATED = 10
"""One more descriptor in so many restarts counts as chance."""
CONVINCING = 20
"""Restarts that are enough if no more descriptors are open afterwards. A plug-in that leaks at one restart in five, at
random, passes so many once in ninety times. With fifty restarts and one leak in ten tolerated it passes once in twenty.
"""


@check(
    "restart",
    rule="REG-17, REG-22",
    needs=("first-list",),
    seen_in="k8snetworkplumbingwg/sriov-network-device-plugin#411",
    whole_plugin=True,
)
async def restart(bench: Bench) -> str:
    """Registers again, on a fresh socket, when the kubelet has restarted.

    A kubelet that starts deletes every socket in the directory, including the plug-in's, and knows no plug-in. Not
    coming back is the most frequent defect in the field: after an update of the kubelet the node has no devices until
    somebody deletes the plug-in's pod.

    Fix: watch the directory; when kubelet.sock is another file or your own socket is gone, stop your server, create a
    new socket, serve, and register. Neither the end of ListAndWatch alone is a reliable sign (a kubelet may be slow to
    exit), nor a timer.
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

    The deleted socket is the documented sign of a restart. A script that cleans the directory, or a kubelet whose old
    process is slow to exit, deletes sockets while the old stream is still open: a plug-in that only waits for the end
    of the stream then serves on a socket that cannot be reached any more.

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

    The API documents this sign: the kubelet deletes all sockets when it starts, and a plug-in that only watches for a
    new kubelet.sock may miss it. Nothing else tells the plug-in that the manager's next connection will fail.

    Fix: watch your own socket as well as kubelet.sock; when it is gone, create a new one, serve, and register.
    """
    if bench.was_discovered:
        raise Skipped("the plug-in was found in plugins_registry, where only the plug-in deletes its socket")
    since = await bench.begin_disruption()
    bench.delete_sockets()
    took = await bench.wait_for_list(since=since, what="after its own socket was deleted")
    return f"registered again, with a list, after {took:.2f} s"


@check("registry-deleted", rule="REG-22, LIM-36", needs=("restart",), whole_plugin=True)
async def registry_deleted(bench: Bench) -> str:
    """Goes on when kubelet.sock alone is deleted and created again.

    It may register again or not: its stream and its own socket are unchanged. A plug-in that exits when a file
    disappears, or that stops its server and then finds its own socket in the way, is lost to a node that has lost
    nothing.

    Fix: register again because of the new kubelet.sock, and not because of the end of the old one.
    """
    since = await bench.begin_disruption()
    bench.layout.registration_socket.unlink(missing_ok=True)
    await bench.wait_until(bench.layout.registration_socket.exists, bench.timing.prompt)
    await trio.sleep(REACTION_TIME)
    again = any(bench.seen(PluginRegistered, since=since, of=resource) for resource in bench.known)
    if again:  # then with all its resources, before the next disruption
        with suppress(Failed):
            await bench.wait_for_list(since=since, what="")
    if not await bench.wait_until(bench.serves, bench.timing.patience):
        raise Failed(f"after kubelet.sock was deleted; {bench.what_happened(since=since)}")
    for resource in bench.resources:
        with bench.of([resource]):
            async with bench.client() as client:
                await client.get_options()
    return f"it still serves, and has {'' if again else 'not '}registered again"


@check("away", rule="REG-22", needs=("restart",), seen_in="kubevirt/kubevirt#2068", whole_plugin=True)
async def away(bench: Bench) -> str:
    """Waits while the kubelet is away, and registers when it is back.

    A kubelet is away for seconds, or for minutes when the node is being updated. A plug-in that tries to register three
    times and gives up, or exits with an error, is in CrashLoopBackOff when the kubelet is ready; its devices come
    minutes late.

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

    Fix: close the connection to kubelet.sock after Register, stop the old server before the new one starts, and keep
    one watch.
    """
    bench.subject.descriptors()
    started, respawns = trio.current_time(), len(bench.lifecycle.respawn_causes)
    await _restart_and_wait(bench, "after one of many restarts of the manager")
    if len(bench.lifecycle.respawn_causes) > respawns:
        return "it ends with its stream, and with it all that is open"
    end = started + bench.timing.restarting
    # What is opened only once is not a leak.
    warm, _ = await _restart_repeatedly(bench, WARM_UP - 1, until=started + bench.timing.restarting / 4)
    before = bench.subject.descriptors()
    most = bench.timing.restarts
    made, gave_up = await _restart_repeatedly(bench, min(most, CONVINCING), until=end, before=warm + 1, least=2)
    if not gave_up and await _fewest_descriptors(bench, before) > before:  # by chance, or at some restarts only
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
    """Restart the manager up to ``most`` times, ``until`` that time; returns how often it was, and why the plug-in did
    not come back any more.

    Raises Failed if it did not come back often enough, those ``before`` included.
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
    """The lowest count within a moment: what is about to be closed is not a leak."""
    found = bench.subject.descriptors()
    with trio.move_on_after(SETTLING):
        while found > before:
            await trio.sleep(SETTLING / 20)
            found = min(found, bench.subject.descriptors())
    return found


async def _restart_and_wait(bench: Bench, what: str) -> float:
    """Restart the manager; returns the seconds until the plug-in was back. Raises Failed, beginning with ``what``."""
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

    Only the next start of the kubelet removes the socket of a dead plug-in. A plug-in that only binds finds "address
    already in use" and exits, at every restart of its pod.

    Fix: remove the socket of your own name before you bind.
    """
    sockets = bench.sockets
    await bench.subject.kill()
    if bench.subject.is_running:
        raise Skipped("the plug-in is not ours to kill (--attach)")
    left = any(socket.is_socket() for socket in sockets)
    await bench.wait_until(lambda: not bench.serving(), bench.timing.prompt)  # before it starts
    await bench.until_another_second()
    since = trio.current_time()
    await bench.lifecycle.start()
    took = await bench.wait_for_list(since=since, what="after kill -9 and a new start")
    return f"with its old socket {'in place' if left else 'gone'}, registered after {took:.2f} s"


@check("sigterm-ends", rule="LW-8", needs=("first-list",), seen_in="odigos-io/odigos#4966", whole_plugin=True)
async def sigterm_ends(bench: Bench) -> str:
    """Ends on SIGTERM, in time and without an error.

    That is how Kubernetes ends a pod. A plug-in that ignores the signal is killed after 30 s: every update of the
    DaemonSet takes half a minute longer on each node, and nothing is cleaned up.

    An exit status other than 0 is a warning: it has no effect on a pod that is being deleted.

    Fix: handle SIGTERM: end the streams, stop the server, remove the socket, exit 0. A program that is process 1 of a
    container does not get the signal at all without a handler.
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
    """How the plug-in reacts to SIGTERM, once for all checks that ask. It is not started again here: a failure to start
    over what it left would not be about the signal."""
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

    A socket without a server looks like a plug-in to whoever looks into the directory, and to the next process of a
    plug-in: it has to guess whether the socket is still served.

    It is a warning: the kubelet deletes what is left when it starts, and until then it does no harm, as long as the
    plug-in can start over its own socket (kill-restart).

    Fix: stop the gRPC server gracefully, or remove the file as the last thing you do.
    """
    termination = await _terminate_once(bench)
    if termination.status is None:
        raise Skipped("it did not end on SIGTERM (sigterm-ends)")
    if termination.left:
        raise Failed(f"{first_few(termination.left)} was still there when the plug-in had ended")
    return f"{first_few(termination.sockets)} was gone when the plug-in had ended"
