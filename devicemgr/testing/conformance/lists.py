"""Checks of the lists of devices that a plug-in sends on its ListAndWatch stream."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise

import trio

from ...errors import PluginUnavailable
from ...events import DeviceListReceived, EndpointStopped, PluginRegistered
from ...model import HEALTHY, UNHEALTHY, Device
from ...rpc.deviceplugin.convert import list_size
from .abbreviation import difference, first_few
from .bench import Bench
from .check import check
from .verdicts import ConclusiveFailure, Failed, Skipped, Weight

LARGEST_MESSAGE = 4 * 1024 * 1024
"""Bytes that a kubelet takes in one message (API-8)."""
HIGHEST_NODE = 63
"""The last one that a kubelet's mask has a bit for."""
NO_LIST = "the command of --change brings no list, whatever comes before it"
TOLERATED_REPEATS = 1
"""Lists that say nothing new, and are tolerated while we watch that nothing happens."""


@check("first-list", rule="REG-13, LW-1", needs=("options",))
async def first_list(bench: Bench) -> str:
    """Sends a list of its devices.

    Until the first list the resource has no devices, whatever the plug-in knows, and every pod that asks for it stays
    Pending.

    Fix: send the list as the first thing in ListAndWatch; where there is no device, an empty one.
    """
    await _wait_for_first_list(bench)
    took = bench.seen(DeviceListReceived)[0][0].time - _registration_time(bench)
    await bench.until_devices()  # none is a list, too: where the hardware is missing
    devices = bench.seen(DeviceListReceived)[-1][1].devices
    return f"{len(devices)} devices, the first list after {took * 1000:.1f} ms: {_ids_in(devices) or 'none here'}"


def _ids_in(devices: Sequence[Device]) -> str:
    return first_few([device.id for device in devices])


async def _wait_for_first_list(bench: Bench) -> None:
    """The first list. Raises Failed."""
    began = bench.quiet.since
    await bench.wait_until(lambda: bool(bench.seen(PluginRegistered, since=began)), bench.timing.prompt)
    if not bench.seen(PluginRegistered, since=began):  # one that came when the options were asked for already
        raise Failed(bench.what_happened(since=bench.started))
    since = _registration_time(bench)
    await bench.wait_until(
        lambda: bool(bench.seen(DeviceListReceived, since=began) or bench.seen(EndpointStopped, since=since)),
        bench.timing.patience,
    )
    if not bench.seen(DeviceListReceived, since=began):
        raise Failed(
            f"within {bench.timing.patience:g} s of the opening of the stream: {bench.what_happened(since=since)}"
        )


def _registration_time(bench: Bench) -> float:
    return bench.seen(PluginRegistered, since=bench.quiet.since)[0][0].time


@check(
    "first-list-complete", rule="REG-11, LW-2", needs=("first-list",), seen_in="Mellanox/k8s-rdma-shared-dev-plugin#46"
)
async def first_list_complete(bench: Bench) -> str:
    """Sends its first list at once and completely.

    A list that comes late, that is empty at first, or that is completed bit by bit makes the node's capacity climb in
    steps at every start of a kubelet: pods that were running before are refused because their devices are "not there"
    yet.

    Fix: find all devices first; then register; send the whole list as the first thing in ListAndWatch.
    """
    await _wait_for_first_list(bench)  # that of a resource which is registered only now, too
    seen, first = bench.seen(DeviceListReceived, since=bench.quiet.since)[0]
    if (took := seen.time - _registration_time(bench)) > bench.timing.prompt:
        raise Failed(f"the first list came {took:.1f} s after the opening of the stream")
    _, end = await bench.quiet_period()
    known = {device.id for device in first.devices}
    lists = [event for seen, event in bench.seen(DeviceListReceived, since=bench.quiet.since) if seen.time <= end]
    later = {device.id for event in lists for device in event.devices} - known
    if later:
        raise Failed(f"the first list had {len(known)} devices; later ones added {first_few(sorted(later))}")
    return f"all {len(known)} devices after {took * 1000:.1f} ms"


@check("ids-unique", rule="LW-5, LIM-16", needs=("first-list",))
async def ids_unique(bench: Bench) -> str:
    """Gives every device an id of its own.

    The kubelet keeps the last device of an id and still counts the others: the node promises more devices than it
    has, and the pods that get the difference fail at admission.

    Fix: build the id from what tells devices apart: a serial number or PCI address, with an index for shares of it.
    """
    counts = Counter(device.id for device in bench.devices())
    if twice := [f"{id!r} {count} times" for id, count in counts.items() if count > 1]:
        raise Failed(first_few(twice))
    return f"{len(counts)} different ids"


@check("ids-valid", rule="LIM-16", needs=("first-list",))
async def ids_valid(bench: Bench) -> str:
    """Uses ids that are not empty and have neither spaces, commas nor control characters.

    Ids are handed on: in environment variables and annotations with commas between, in file names, in the checkpoint.
    An empty id is a device that can be allocated and never be found again.

    A space or a comma is a warning: Kubernetes takes it as it is, and only those who split such lists stumble.

    Fix: letters, digits and "-_.:/" are safe everywhere.
    """
    devices = bench.devices()
    if bad := [repr(device.id) for device in devices if not device.id or not device.id.isprintable()]:
        raise Failed(first_few(bad))
    if bad := [repr(device.id) for device in devices if set(device.id) & set(" ,")]:
        raise Failed(first_few(bad), Weight.WARNING)
    return _ids_in(devices)


@check("health-valid", rule="LW-3, API-3", needs=("first-list",))
async def health_valid(bench: Bench) -> str:
    """Says "Healthy" or "Unhealthy" of a device, exactly so.

    Every string but "Healthy" is taken for unhealthy, in whatever case and language: with "healthy" or "OK" all
    devices are there and none can be allocated.

    Fix: use the constants of the API package.
    """
    counts = Counter(device.health for device in bench.devices())
    if bad := [repr(health) for health in counts if health not in (HEALTHY, UNHEALTHY)]:
        raise Failed(f"{first_few(bad)} instead")
    return ", ".join(f"{count} {health}" for health, count in sorted(counts.items()))


@check(
    "numa-plausible", rule="TM-8, LIM-18", needs=("first-list",), seen_in="kubernetes-sigs/node-feature-discovery#791"
)
async def numa_plausible(bench: Bench) -> str:
    """Names NUMA nodes that this machine has, each once.

    The Topology Manager builds its hints from them. A node that does not exist never satisfies one, so under a strict
    policy every pod is refused with TopologyAffinityError; -1, which Linux says when it does not know, is no node, and
    one above 63 can end the kubelet.

    A node that only this machine lacks is a warning: with fake hardware, or in CI, the next one may have it. Tell which
    nodes there are with --numa.

    Fix: leave the topology out when /sys/…/numa_node says -1; never copy it unseen.
    """
    devices = bench.devices()
    placed = [(device, device.numa_nodes) for device in devices if device.numa_nodes]
    machine = f"this machine has {list(bench.numa.nodes)}"
    if bad := [f"{device.id} on {list(nodes)}" for device, nodes in placed if not _are_nodes(nodes)]:
        raise Failed(f"{machine}; {first_few(bad)}")
    if bad := [f"{device.id} on {list(nodes)}" for device, nodes in placed if set(nodes) - set(bench.numa.nodes)]:
        raise Failed(f"{machine}; {first_few(bad)}", Weight.WARNING)
    return f"{len(placed)} of {len(devices)} devices have a node; {machine}"


def _are_nodes(nodes: Sequence[int]) -> bool:
    """On any machine: each once, and such as a kubelet's mask has a bit for (TM-8, LIM-18)."""
    return len(set(nodes)) == len(nodes) and all(0 <= node <= HIGHEST_NODE for node in nodes)


@check(
    "message-size",
    rule="API-8, LIM-38",
    needs=("first-list",),
    seen_in="AliyunContainerService/gpushare-device-plugin#57",
)
async def message_size(bench: Bench) -> str:
    """Sends lists of less than 4 MiB.

    That is what the kubelet's gRPC takes. A longer list ends the stream with ResourceExhausted, at every attempt: with
    the one device too many, the resource goes from thousands to zero.

    Fix: shorter ids; fewer shares of a device; or several resources.
    """
    sizes = [list_size(event.devices) for _, event in bench.seen(DeviceListReceived)]
    if max(sizes) >= LARGEST_MESSAGE:
        raise Failed(f"a list of {max(sizes):,} bytes")
    return f"the longest list has {max(sizes):,} bytes"


@check("stream-stays-open", rule="LW-1, LW-8", needs=("first-list",), seen_in="TencentBlueKing/bk-bcs#925")
async def stream_stays_open(bench: Bench) -> str:
    """Keeps ListAndWatch open while nothing changes.

    The end of the stream is the end of the plug-in, as the kubelet sees it: all its devices are unhealthy at once, and
    the call is never repeated. A ListAndWatch that returns after its first list leaves a node with a capacity and
    nothing allocatable.

    Fix: after the first list, wait for a change or for the end of the call's context, in a loop.
    """
    begin, end = await bench.quiet_period()
    ends = bench.seen(EndpointStopped, since=begin)
    if stops := [event.reason for seen, event in ends if seen.time <= end]:
        raise Failed(f"it ended within {end - begin:.1f} s: {stops[0]}")
    return f"open for {end - begin:.1f} s"


@check("stream-silent", rule="LW-2", needs=("first-list",), seen_in="squat/generic-device-plugin#81")
async def stream_silent(bench: Bench) -> str:
    """Says nothing while nothing changes.

    For every message the kubelet rebuilds its sets of devices and writes its checkpoint to disk, changed or not. A
    plug-in that polls its hardware and sends every result costs processor time and disk writes on every node.

    Fix: compare with the list you sent last, sorted: what is built from a Go map has another order each time.
    """
    _, end = await bench.quiet_period()
    lists = [event for seen, event in bench.seen(DeviceListReceived, since=bench.quiet.since) if seen.time <= end]
    again = sum(1 for one, next in pairwise(lists) if _is_repetition(one, next))
    if again > TOLERATED_REPEATS:
        raise Failed(f"{again} lists in {bench.timing.quiet_period:g} s had the same devices as the one before")
    return f"{again} repeated lists in {bench.timing.quiet_period:g} s{new_lists_note(bench, lists)}"


def new_lists_note(bench: Bench, lists: Sequence[DeviceListReceived]) -> str:
    """How many of them were no repetition and, where that is known, why there was something to say."""
    new = sum(1 for one, next in pairwise(lists) if not _is_repetition(one, next))
    if not new:
        return ""
    why = " (--change was run for another instance meanwhile, which may share what it changes)"
    return f", {new} with something new" + why * bench.runs_change_in_parallel


def _is_repetition(one: DeviceListReceived, next: DeviceListReceived) -> bool:
    """On the same stream, in whatever order: the kubelet makes sets of it."""
    return one.generation == next.generation and Counter(one.devices) == Counter(next.devices)


@check("ids-stable", rule="LW-7, REG-19", needs=("first-list",), seen_in="NVIDIA/k8s-device-plugin#98")
async def ids_stable(bench: Bench) -> str:
    """Gives a device the same id after every restart, its own and the kubelet's.

    The kubelet knows a pod's devices by id only. When they change, the devices of running pods are gone for it (their
    health is Unknown), and the hardware they still use is handed out a second time under its new id.

    Fix: ids from what stays (serial number, UUID, PCI address), not from a process id, a counter, a random number
    or the time.
    """
    await _ensure_several_registrations(bench)
    found = [(time, ids) for time, ids in _ids_by_registration(bench) if ids]
    if not found:
        raise Skipped("the plug-in has no devices here")
    if len(found) < 2:
        raise Skipped("the plug-in has not registered a second time")
    _, reference = found[0]
    same = sum(not _were_replaced(ids, reference) for _, ids in found)
    for (before, _), (time, ids) in pairwise(found):
        if _were_replaced(ids, reference):
            begun_anew = any(before < start <= time for start in bench.lifecycle.start_times)
            what = "a new start of its process" if begun_anew else "a registration of the same process"
            raise ConclusiveFailure(
                f"{same} of {len(found)} registrations had the same ids; with {what} they became others: "
                f"{difference(reference, ids)}"
            )
    starts = len(bench.lifecycle.start_times)
    return f"the same {len(reference)} ids in {len(found)} registrations, {starts} starts of the plug-in"


async def _ensure_several_registrations(bench: Bench) -> None:
    """Of the manager and of the plug-in, whether other checks have seen to that or not."""
    if not bench.lifecycle.disruptions:
        since = await bench.begin_disruption()
        await bench.manager.faults.restart()
        with suppress(Failed):  # which is what restart is about
            await bench.wait_for_list(since=since, what="")
    if len(bench.lifecycle.start_times) < 2:
        with suppress(Skipped):
            await bench.restart_plugin()


def _were_replaced(ids: frozenset[str], reference: frozenset[str]) -> bool:
    """One that is only missing, or only new, may have been unplugged."""
    return bool(ids - reference and reference - ids)


def _ids_by_registration(bench: Bench) -> list[tuple[float, frozenset[str]]]:
    """When it was, and the devices that were listed until the next one."""
    begins = [seen.time for seen, _ in bench.seen(PluginRegistered)]
    found: list[set[str]] = [set() for _ in begins]
    for seen, event in bench.seen(DeviceListReceived):
        if at := bisect_right(begins, seen.time):
            found[at - 1] |= {device.id for device in event.devices}
    return list(zip(begins, map(frozenset, found), strict=True))


@check("lists-complete", rule="API-2, LW-2", needs=("first-list",), whole_plugin=True)
async def lists_complete(bench: Bench) -> str:
    """Sends the complete list at every change, and not only what changed.

    Each list replaces the one before: a device that is not in it no longer exists. A plug-in that sends the one device
    which broke takes all others from the node. One that sends no list at a change hands out devices that are broken.

    Fix: keep one list, change it, send all of it. Where no list comes at all, try the command of --change by hand:
    it may change nothing that the plug-in looks at.
    """
    second, fresh = await _ids_after_change(bench)
    if fresh - second:
        raise Failed(
            f"after a change the list had {len(second)} devices; a new stream then had {len(fresh)}: "
            f"{difference(second, fresh)}"
        )
    return f"the list after a change has all {len(fresh)} devices of a new stream"


async def _ids_after_change(bench: Bench) -> tuple[frozenset[str], frozenset[str]]:
    """The ids of a list that followed another one, and those a new stream began with then."""
    since = trio.current_time()
    try:
        await bench.subject.change()
    except Skipped:
        for resource in bench.resources:
            with bench.of([resource]):
                await bench.quiet_period()
        if not bench.findings.changed_lists:
            raise
        return next(iter(bench.findings.changed_lists.values()))  # it changed by itself while we watched
    changed = await _resource_with_new_list(bench, since)
    if changed is None:
        raise Failed(f"{NO_LIST}: it changes nothing, or the plug-in does not report what it changes")
    with bench.of([changed]):
        second = frozenset(device.id for device in bench.devices())
        bench.manager.faults.drop_connection(bench.resource)
        await bench.until_respawned()
        return second, frozenset(device.id for device in await bench.list_of_new_stream())


async def _resource_with_new_list(bench: Bench, since: float) -> str | None:
    """The resource of which a new list has come, if one has in time."""

    def changed() -> list[str]:
        return [resource for resource in bench.resources if bench.seen(DeviceListReceived, since=since, of=resource)]

    await bench.wait_until(lambda: bool(changed()), bench.timing.prompt)
    return next(iter(changed()), None)


@check("stream-cancel", rule="LW-1, REG-22", needs=("first-list",), seen_in="Mellanox/k8s-rdma-shared-dev-plugin#51")
async def stream_cancel(bench: Bench) -> str:
    """Lives on when its stream is cancelled, and serves a new one from the start.

    The kubelet cancels the stream when it restarts and when the plug-in registers again. A plug-in that writes to the
    ended stream, closes a channel twice or hands its updates to the old stream's goroutine then crashes or goes silent.

    Fix: give each call of ListAndWatch a channel of its own, and end when the call's context ends.
    """
    respawns = len(bench.lifecycle.respawn_causes)
    first = {device.id for device in await bench.list_of_new_stream()}
    if len(bench.lifecycle.respawn_causes) > respawns:
        return "it ends with its stream"
    for _ in range(3):
        again = {device.id for device in await bench.list_of_new_stream()}
        if again != first:
            begun = f"with another list: {difference(first, again)}" if again else "without devices"
            raise Failed(f"a stream opened after a cancelled one began {begun}")
    if not bench.subject.is_running:
        raise Failed(bench.what_happened(since=0.0))
    try:
        async with bench.client() as client:
            await client.get_options()
    except PluginUnavailable as error:
        raise Failed(f"it does not answer after its streams were cancelled: {error}") from error
    return "4 streams opened and cancelled; each began with the whole list"
