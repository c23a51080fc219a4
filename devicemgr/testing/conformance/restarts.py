"""Checks of what a plug-in does when the kubelet, or the plug-in itself, has ended and begins anew."""

from __future__ import annotations

import trio

from ...events import PluginRegistered
from .bench import Bench
from .check import Failed, Skipped, check, some

WARM_UP = 3
"""Restarts before descriptors are counted."""
FEWEST = 5
"""Restarts that must be affordable for a leak to show."""
SETTLING = 1.0
"""Seconds that a plug-in has to close what it needed to come back."""
TOLERATED = 10
"""In how many restarts one more descriptor is taken for chance."""


@check(
    "restart",
    rule="REG-17, REG-22",
    needs=("first-list",),
    seen_in="k8snetworkplumbingwg/sriov-network-device-plugin#411",
    whole=True,
)
async def restart(bench: Bench) -> str:
    """Registers again, on a fresh socket, when the kubelet has restarted.

    A kubelet that starts deletes every socket in the directory, the plug-in's too, and knows nobody. It is the field's
    most frequent defect not to come back: after an update of the kubelet the node has no devices, and stays so until
    somebody deletes the plug-in's pod.

    Mend it: watch the directory; when kubelet.sock is made anew or your own socket is gone, stop your server, make a
    new socket, serve, and register. The end of ListAndWatch alone is no reliable sign, nor is a timer.
    """
    since = trio.current_time()
    await bench.manager.faults.restart()
    took = await bench.wait_for_list(since=since, what="after a restart of the manager")
    return f"registered again, with a list, after {took:.2f} s"


@check("wiped", rule="REG-17, REG-22", needs=("restart",), seen_in="Mellanox/k8s-rdma-shared-dev-plugin#79", whole=True)
async def wiped(bench: Bench) -> str:
    """Registers again when the sockets in the directory are deleted, even if its stream stays open.

    The deleted socket is the documented sign of a restart. Somebody who cleans the directory, or a kubelet whose old
    process is slow to die, deletes sockets while the old stream is still open: a plug-in that only waits for the
    stream's end serves on a socket that nobody can reach any more.

    Mend it: watch for the removal of your own socket.
    """
    if bench.was_found:
        raise Skipped("the plug-in was found in plugins_registry, where the kubelet deletes nothing")
    since = trio.current_time()
    bench.manager.faults.wipe()
    took = await bench.wait_for_list(since=since, what="after all sockets were deleted")
    return f"registered again, with a list, after {took:.2f} s"


@check("away", rule="REG-22", needs=("restart",), seen_in="kubevirt/kubevirt#2068", whole=True)
async def away(bench: Bench) -> str:
    """Waits while the kubelet is away, and registers when it is back.

    Between two lives of a kubelet lie seconds, and minutes when a node is being updated. A plug-in that tries to
    register three times and gives up, or ends with an error, is in CrashLoopBackOff when the kubelet is ready; its
    devices come minutes late.

    Mend it: keep trying, with a bounded pause between attempts.
    """
    since = trio.current_time()
    await bench.manager.faults.restart(away=bench.timing.away)
    back = trio.current_time()
    await bench.wait_for_list(since=since, what=f"after the manager was away for {bench.timing.away:g} s")
    firsts = [bench.seen(PluginRegistered, since=back, of=resource)[:1] for resource in bench.resources]
    late = max((seen.time - back for first in firsts for seen, _ in first), default=0.0)
    return f"registered again {late:.2f} s after the manager was back"


@check("descriptors", rule="REG-22", needs=("restart",), seen_in="NVIDIA/k8s-device-plugin#152", whole=True)
async def descriptors(bench: Bench) -> str:
    """Does not leak file descriptors when the kubelet restarts.

    Each registration opens a connection, a listener, often a watch of the directory. What is not closed adds up over
    the restarts of months, until "too many open files" ends the plug-in.

    Mend it: close the connection to kubelet.sock after Register, stop the old server before the new one starts, and
    keep one watch.
    """
    bench.subject.descriptors()
    for _ in range(WARM_UP):  # what is opened once and kept is no leak
        took = await _restart_once(bench)
        if took * FEWEST > bench.timing.restarting:
            raise Skipped(
                f"it takes {took:.1f} s to register again, too long for the {FEWEST} restarts that would tell"
            )
    before, made, started = bench.subject.descriptors(), 0, trio.current_time()
    while made < bench.timing.restarts and trio.current_time() - started < bench.timing.restarting:
        await _restart_once(bench)
        made += 1
    more = await _fewest_descriptors(bench, before) - before
    if more > made / TOLERATED:
        raise Failed(f"{before} open descriptors, and {more} more after {made} restarts")
    return f"{before} open descriptors before, {before + more} after {made} restarts"


async def _fewest_descriptors(bench: Bench, before: int) -> int:
    """What is about to be closed is no leak: look again for a moment, as long as there are more than before."""
    found = bench.subject.descriptors()
    with trio.move_on_after(SETTLING):
        while found > before:
            await trio.sleep(SETTLING / 20)
            found = min(found, bench.subject.descriptors())
    return found


async def _restart_once(bench: Bench) -> float:
    """Returns the seconds until the plug-in was back."""
    since = trio.current_time()
    await bench.manager.faults.restart()
    return await bench.wait_for_list(since=since, what="after one of many restarts of the manager")


@check(
    "kill-restart",
    rule="REG-17",
    needs=("first-list",),
    seen_in="intel/intel-device-plugins-for-kubernetes#1370",
    whole=True,
)
async def kill_restart(bench: Bench) -> str:
    """Starts again after kill -9, though its old socket is still there.

    Nobody removes a dead plug-in's socket but the next start of the kubelet. A plug-in that only binds finds "address
    already in use", ends, and does so at every restart of its pod.

    Mend it: remove the socket of your own name before you bind.
    """
    since = trio.current_time()
    sockets = bench.sockets
    await bench.subject.kill()
    if bench.subject.is_running:
        raise Skipped("the plug-in is not ours to kill (--attach)")
    left = any(socket.is_socket() for socket in sockets)
    await bench.subject.start(bench.directory)
    took = await bench.wait_for_list(since=since, what="after kill -9 and a new start")
    return f"with its old socket {'in place' if left else 'gone'}, registered after {took:.2f} s"


@check("sigterm-ends", rule="REG-22", needs=("first-list",), seen_in="odigos-io/odigos#4966", whole=True)
async def sigterm_ends(bench: Bench) -> str:
    """Ends on SIGTERM, in time and without an error.

    That is how Kubernetes ends a pod. One that does not listen is killed after 30 s: every update of the DaemonSet
    takes half a minute longer on each node, and nothing is cleaned up.

    Mend it: handle SIGTERM: end the streams, stop the server, remove the socket, exit 0. As process 1 of a container a
    program without a handler does not get the signal at all.
    """
    started = trio.current_time()
    with trio.move_on_after(bench.timing.ending) as scope:
        status = await bench.subject.terminate()
    if scope.cancelled_caught:
        await bench.subject.kill()
        raise Failed(f"it was still running {bench.timing.ending:g} s after SIGTERM")
    took = trio.current_time() - started
    bench.sockets_left = [socket.name for socket in bench.sockets if socket.is_socket()]
    if status not in (0, -15, 143):
        raise Failed(f"it ended with exit status {status} after {took:.2f} s")
    await _start_again(bench)
    return f"it ended with {'exit status' if status >= 0 else 'signal'} {abs(status)} after {took:.2f} s"


async def _start_again(bench: Bench) -> None:
    since = trio.current_time()
    await bench.subject.start(bench.directory)
    await bench.wait_for_list(since=since, what="after it was ended and started again")


@check("sigterm-removes-socket", rule="REG-22", needs=("sigterm-ends",), seen_in="project-akri/akri#551", whole=True)
async def sigterm_removes_socket(bench: Bench) -> str:
    """Removes its socket when it ends on SIGTERM.

    A socket without a server looks like a plug-in to whoever looks into the directory, and to a plug-in's own next
    life: it has to guess whether somebody still serves it.

    Mend it: stop the gRPC server gracefully, or remove the file as the last thing you do.
    """
    if bench.sockets_left is None:
        raise Skipped("sigterm-ends was not made")
    if bench.sockets_left:
        raise Failed(f"{some(bench.sockets_left)} was still there when the plug-in had ended")
    return f"{some([socket.name for socket in bench.sockets])} was gone when the plug-in had ended"
