"""A check of what becomes of the new process when an old one that it has replaced ends after it."""

from __future__ import annotations

from .bench import Bench
from .check import Failed, Weight, check
from .shown import some


@check(
    "rolling-update",
    rule="REG-22, D37-4",
    needs=("kill-restart",),
    seen_in="NVIDIA/k8s-device-plugin#1792",
    whole=True,
)
async def rolling_update(bench: Bench) -> str:
    """Is still served when its old process ends after its new one has begun.

    With ``maxSurge`` in its DaemonSet the new pod runs, and has registered, before the old one is asked to end. One
    that at its end deletes whatever has its socket's name deletes the new one's: nobody can reach that any more, and
    nothing tells it so, until somebody restarts it by hand. One that ends meanwhile is started again here, as every pod
    of a DaemonSet is.

    Where the two take the socket from each other before, how that ends is chance, so then it is a warning.

    A kubelet of v1.37 also refuses a name on which the old one's stream is still open, for ever; before v1.37 the end
    of any one stream takes all devices away. So leave ``maxSurge`` alone unless each process has a name of its own.

    Mend it: a name that no other process has, such as one with the time in it; at the end delete your own socket only,
    if it still is the one that you made; and watch it (socket-deleted).
    """
    since = await bench.disturb()
    before = {socket.name for socket in bench.sockets}

    async def until_it_has_come() -> None:
        """Or has ended, or patience has: the first one is asked to end all the same."""
        await bench.wait_until(lambda: bench.subject.ending is not None or bench.are_back(since), bench.timing.patience)

    async with bench.respawning():
        await bench.surge(until_it_has_come)
        fight = _fight(bench, since)
        if not await bench.wait_until(lambda: _is_reached(bench), bench.timing.patience):
            why = f"when the first of two processes had ended, {_what_is_left(bench, since)}{fight}"
            raise Failed(why, Weight.WARNING if fight else Weight.ERROR)
    for resource in bench.resources:
        with bench.of([resource]):
            async with bench.client() as client:
                await client.get_options()
    return f"the second of two processes is reached after the first one's end{fight}; {_names(bench, before)}"


def _is_reached(bench: Bench) -> bool:
    return bench.serves() and bench.accepts()


def _fight(bench: Bench, since: float) -> str:
    """How often somebody registered while both ran, if that was more than once."""
    most = 0
    for resource in bench.resources:
        with bench.of([resource]):
            most = max(most, sum(seen.time >= since for seen, _ in bench.registrations()))
    return f"; before, they took the socket from each other, with {most} registrations" if most > 1 else ""


def _what_is_left(bench: Bench, since: float) -> str:
    gone = [socket.name for socket in bench.sockets if not socket.exists()]
    if gone and bench.subject.is_running and bench.are_back(since):
        return f"{some(gone)} was gone, which was the second one's by then, and nobody made it again"
    return bench.what_happened(since=since)


def _names(bench: Bench, before: set[str]) -> str:
    """Before the update, and since."""
    if same := before & {socket.name for socket in bench.sockets}:
        return f"both had {some(sorted(same))}, which a kubelet of v1.37 refuses: no maxSurge there"
    return "each had a name of its own"
