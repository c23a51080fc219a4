"""A check that a plug-in registers again when its stream is lost though the kubelet is still there."""

from __future__ import annotations

import trio

from ..bench import Bench
from ..check import check
from ..verdicts import ConclusiveFailure, Failed, Skipped, Weight

BEYOND = 3.0
"""Seconds more than for what comes at once: a pause before another attempt, or the start of another process."""


@check(
    "stream-lost",
    rule="REG-22, LW-8",
    needs=("restart",),
    whole_plugin=True,
    weight=Weight.WARNING,
)
async def stream_lost(bench: Bench) -> str:
    """Registers again when its stream is lost, though the kubelet has not restarted.

    The kubelet drops a plug-in when a message is too long or when the connection breaks. Then all devices are
    unhealthy, and ListAndWatch is not called again: kubelet.sock and the plug-in's own socket are unchanged, so the
    plug-in has no other sign of it.

    It is a warning, since a kubelet that goes on rarely loses a stream. A plug-in that exits then, and is started again
    as every pod of a DaemonSet is, passes.

    Fix: when the last open call of ListAndWatch has been cancelled and no other has come within a second, register
    again, as long as your socket still is the one that you made; or exit with an error. Do not do so when one stream of
    several ends (returns-once), nor when another process has taken the name of your socket, as in a rolling update
    with one name for both: they would take it from each other.
    """
    if bench.was_discovered:
        raise Skipped("the plug-in was found in plugins_registry, and has no need to call Register")
    if not bench.serves():
        raise Skipped("no stream is open that could be cut (stream-stays-open)")
    since, exits = await bench.begin_disruption(), len(bench.lifecycle.respawn_causes)

    def has_exited() -> bool:
        return bench.lifecycle.has_exited or len(bench.lifecycle.respawn_causes) > exits

    within = bench.timing.prompt + BEYOND
    async with bench.lifecycle.respawning():
        with bench.of(bench.known):  # a plug-in that registers one of them again may register all
            for resource in bench.serving():
                bench.manager.faults.drop_connection(resource)
            await bench.wait_until(lambda: bench.are_back(since), within)
            if has_exited():  # then it is given time to start
                await bench.wait_until(lambda: bench.are_back(since), bench.timing.patience)
        took = trio.current_time() - since
    if late := bench.not_back(since):
        which = f"{late[0]}: " if len(bench.resources) > 1 else ""
        what = f"{which}no list came within {took:.0f} s of the end of the stream"
        with bench.of(late[:1]):
            if bench.subject.is_running and not has_exited() and not bench.registrations(since=since):
                raise ConclusiveFailure(f"{what}: it did not call Register")
            raise Failed(f"{what}: {bench.what_happened(since=since, of=late[0])}")
    return f"registered again, with a list, after {took:.2f} s"
