"""A check that changes still arrive after a disruption."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import trio

from ....concurrency.exception_groups import collapse_exception_group
from ....errors import PluginUnavailable
from ....events import DeviceListReceived, PluginRegistered
from ....model import ResourceName
from ..bench import Bench
from ..check import check
from ..observation.recording_client import CheckCallFinished
from ..verdicts import Failed, Skipped
from .lists import NO_LIST

_RESTART, _WIPE, _AWAY = "a restart of the manager", "the deletion of its socket", "a time without a manager"
_CANCEL = "the end of its stream and a new one"
_ONLY_BEFORE = (
    "the command of --change brought a list before, and none, twice, after a new start of the plug-in: does it report "
    "nothing when it starts with what the command has broken?"
)


@check("changes-arrive", rule="LW-2, REG-22", needs=("restart",), whole_plugin=True)
async def changes_arrive(bench: Bench) -> str:
    """Reports a change also when the kubelet has restarted, or its stream was cancelled.

    Every restart of a kubelet is a new call of ListAndWatch. A plug-in whose updates still go to the one before works
    until the first device breaks after the first update of the kubelet, perhaps months later: then the device stays
    allocatable, or the plug-in panics, sending on a closed channel, and all devices of the node are gone.

    Fix: give each call of ListAndWatch a channel of its own, let go of it when the call's context ends, and make
    updates and calls meet under one lock.
    """
    await _require_changes(bench)
    arrived: dict[str, bool] = {}
    for what in (_RESTART, _AWAY) if bench.was_discovered else (_RESTART, _WIPE, _AWAY):
        if bench.lifecycle.is_disrupted:  # some plug-ins give up after several disruptions in a short time
            await bench.restart_plugin()
        try:
            await _disrupt(bench, what)
        except Failed:  # another check is about that
            continue
        arrived[what] = await _change_arrives(bench, what)
    await bench.restart_plugin()
    async with _own_streams(bench):
        arrived[_CANCEL] = await _change_arrives(bench, _CANCEL)
    if lost := [what for what, came in arrived.items() if not came]:
        raise Failed(f"no list came within {bench.timing.prompt:g} s of a change after {', and after '.join(lost)}")
    return f"a list came each time, after {', '.join(arrived)}"


async def _require_changes(bench: Bench) -> None:
    """A process that was not disrupted must report two changes. Raises Skipped."""
    try:
        if bench.lifecycle.is_disrupted:
            await bench.restart_plugin()
        came = [await _change_arrives(bench, "") for _ in range(2)]
    except Skipped as skipped:
        after = f"{_RESTART}, {_WIPE}, {_AWAY}, or {_CANCEL}"
        raise Skipped(f"{skipped}, so it was not seen whether a change still arrives after {after}") from skipped
    if any(came) and not all(came):
        raise Skipped(
            "the command of --change brought a list once, and none the other time: make it one that changes something "
            "each time, back and forth"
        )
    if not any(came):
        raise Skipped(_ONLY_BEFORE if _has_reported_a_change(bench) else f"{NO_LIST} (lists-complete)")


def _has_reported_a_change(bench: Bench) -> bool:
    return any(_is_followed_by_list(bench, one, at) for one in bench.resources for at in bench.lifecycle.changes)


def _is_followed_by_list(bench: Bench, resource: ResourceName, change: float) -> bool:
    """By one that is not the first of a registration."""
    lists = [seen.time for seen, _ in bench.seen(DeviceListReceived, since=change, of=resource)]
    registered = [seen.time for seen, _ in bench.seen(PluginRegistered, since=change, of=resource)]
    return bool(lists) and lists[0] < min([*registered, change + bench.timing.prompt])


async def _disrupt(bench: Bench, what: str) -> None:
    """Raises Failed if the plug-in does not come back."""
    since = await bench.begin_disruption()
    if what == _WIPE:
        bench.manager.faults.wipe()
    else:
        await bench.manager.faults.restart(delay=bench.timing.restart_delay if what == _AWAY else 0.0)
    await bench.wait_for_list(since=since, what=f"after {what}")


async def _change_arrives(bench: Bench, after: str) -> bool:
    """Does a change bring a list? If the plug-in exits because of it, the evidence names the step."""
    starts = len(bench.lifecycle.start_times)
    bench.running.step = f"at a change after {after}: " if after else "at a change: "
    since = await bench.change()

    def has_come() -> bool:
        return any(_has_list(bench, resource, since) for resource in bench.resources)

    came = await bench.wait_until(has_come, bench.timing.prompt)
    bench.running.step = ""
    return came and len(bench.lifecycle.start_times) == starts


def _has_list(bench: Bench, resource: ResourceName, since: float) -> bool:
    """On the manager's stream or on one of the check."""
    own = (call for _, call in bench.seen(CheckCallFinished, since=since, of=resource))
    return bool(bench.seen(DeviceListReceived, since=since, of=resource)) or any(
        c.method == "ListAndWatch" for c in own
    )


@asynccontextmanager
async def _own_streams(bench: Bench) -> AsyncIterator[None]:
    """Cut the manager's streams. Within the block, streams of the check are open and have a first list; or the
    manager's, if the plug-in exited with its streams and was started again."""
    await bench.begin_disruption()
    respawns = len(bench.lifecycle.respawn_causes)
    for resource in bench.serving():
        bench.manager.faults.drop_connection(resource)
    await bench.until_respawned()
    if len(bench.lifecycle.respawn_causes) > respawns:
        yield
        return
    with collapse_exception_group():
        async with trio.open_nursery() as nursery:
            for resource in bench.resources:
                since = trio.current_time()
                with bench.of([resource]):
                    await nursery.start(_listen, bench)
                    await bench.wait_until(lambda: _has_list(bench, bench.resource, since), bench.timing.prompt)  # noqa: B023
            yield
            nursery.cancel_scope.cancel()


async def _listen(bench: Bench, *, task_status: trio.TaskStatus[None]) -> None:
    """Lists are recorded; a stream that ends brings no more."""
    async with bench.client() as client:
        task_status.started()
        with suppress(PluginUnavailable):
            await client.list_and_watch(lambda report: None)
