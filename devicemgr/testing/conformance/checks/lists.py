"""Checks of the lists of devices that a plug-in sends on its ListAndWatch stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise

from ....errors import PluginUnavailable
from ....events import DeviceListReceived, EndpointStopped, PluginRegistered
from ....model import HEALTHY, UNHEALTHY, Device, DeviceId, ResourceName
from ....rpc.deviceplugin.convert import list_size
from ..abbreviation import difference, first_few
from ..bench import Bench
from ..check import check
from ..verdicts import Failed, Skipped, Weight

LARGEST_MESSAGE = 4 * 1024 * 1024
"""Bytes that a kubelet accepts in one message (API-8)."""
HIGHEST_NODE = 63
"""The last NUMA node for which a kubelet's mask has a bit."""
NO_LIST = "the command of --change brings no list, whatever comes before it"
TOLERATED_REPEATS = 1
"""Repeated lists that are tolerated in the quiet period."""


@check("first-list", rule="REG-13, LW-1", needs=("options",))
async def first_list(bench: Bench) -> str:
    """Sends a list of its devices.

    Until the first list the resource has no devices, and every pod that asks for it stays Pending.

    Fix: send the list as the first thing in ListAndWatch; if there is no device, send an empty one.
    """
    await _wait_for_first_list(bench)
    took = bench.seen(DeviceListReceived)[0][0].time - _registration_time(bench)
    await bench.until_devices()  # an empty list is a list, too: the hardware may be missing
    devices = bench.seen(DeviceListReceived)[-1][1].devices
    return f"{len(devices)} devices, the first list after {took * 1000:.1f} ms: {_ids_in(devices) or 'none here'}"


def _ids_in(devices: Sequence[Device]) -> str:
    return first_few([device.id for device in devices])


async def _wait_for_first_list(bench: Bench) -> None:
    """Wait for the first list. Raises Failed."""
    began = bench.quiet.since
    await bench.wait_until(lambda: bool(bench.seen(PluginRegistered, since=began)), bench.timing.prompt)
    if not bench.seen(PluginRegistered, since=began):  # it may have come before the options were asked for
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

    If the first list is late, empty or incomplete, the capacity of the node climbs in steps at every start of a
    kubelet, and pods that were running before are refused because their devices are not there yet.

    Fix: find all devices first; then register; send the whole list as the first thing in ListAndWatch.
    """
    await _wait_for_first_list(bench)  # a resource may be registered only now
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

    Of several devices with one id the kubelet keeps the last, but counts all: the node promises more devices than it
    has, and the pods that get the difference fail at admission.

    Fix: build the id from what distinguishes devices: a serial number or PCI address, with an index for shares of one.
    """
    counts = Counter(device.id for device in bench.devices())
    if twice := [f"{id!r} {count} times" for id, count in counts.items() if count > 1]:
        raise Failed(first_few(twice))
    return f"{len(counts)} different ids"


@check("ids-valid", rule="LIM-16", needs=("first-list",))
async def ids_valid(bench: Bench) -> str:
    """Uses ids that are not empty and have neither spaces, commas nor control characters.

    Ids are passed on in environment variables and annotations, separated by commas, in file names and in the
    checkpoint. A device with an empty id can be allocated and never be found again.

    A space or a comma is a warning: Kubernetes accepts it, and only programs that split such lists stumble.

    Fix: use letters, digits and "-_.:/", which are safe everywhere.
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

    Every other string means unhealthy: with "healthy" or "OK" all devices are there and none can be allocated.

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

    The Topology Manager builds its hints from them. A node that does not exist never satisfies a hint, so under a
    strict policy every pod is refused with TopologyAffinityError; -1, which Linux reports when it does not know, is not
    a node, and one above 63 can crash the kubelet.

    A node that only this machine lacks is a warning: with fake hardware, or in CI, the real node may have it. Say which
    nodes there are with --numa.

    Fix: leave the topology out if /sys/…/numa_node contains -1; never copy it without looking.
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
    """Is each node listed once, and has a bit in a kubelet's mask (TM-8, LIM-18)? That holds on any machine."""
    return len(set(nodes)) == len(nodes) and all(0 <= node <= HIGHEST_NODE for node in nodes)


@check(
    "message-size",
    rule="API-8, LIM-38",
    needs=("first-list",),
    seen_in="AliyunContainerService/gpushare-device-plugin#57",
)
async def message_size(bench: Bench) -> str:
    """Sends lists of less than 4 MiB.

    The kubelet's gRPC server accepts no longer message. A longer list ends the stream with ResourceExhausted, every
    time: with one device too many, the resource drops from thousands to zero.

    Fix: shorter ids, fewer shares of a device, or several resources.
    """
    sizes = [list_size(event.devices) for _, event in bench.seen(DeviceListReceived)]
    if max(sizes) >= LARGEST_MESSAGE:
        raise Failed(f"a list of {max(sizes):,} bytes")
    return f"the longest list has {max(sizes):,} bytes"


@check("stream-stays-open", rule="LW-1, LW-8", needs=("first-list",), seen_in="TencentBlueKing/bk-bcs#925")
async def stream_stays_open(bench: Bench) -> str:
    """Keeps ListAndWatch open while nothing changes.

    To the kubelet the end of the stream is the end of the plug-in: all its devices are unhealthy at once, and the call
    is never repeated. A ListAndWatch that returns after its first list leaves a node with a capacity and nothing
    allocatable.

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

    Fix: compare with the list that you sent last, sorted: a list built from a Go map has another order each time.
    """
    _, end = await bench.quiet_period()
    lists = [event for seen, event in bench.seen(DeviceListReceived, since=bench.quiet.since) if seen.time <= end]
    again = sum(1 for one, next in pairwise(lists) if _is_repetition(one, next))
    if again > TOLERATED_REPEATS:
        raise Failed(f"{again} lists in {bench.timing.quiet_period:g} s had the same devices as the one before")
    return f"{again} repeated lists in {bench.timing.quiet_period:g} s{new_lists_note(bench, lists)}"


def new_lists_note(bench: Bench, lists: Sequence[DeviceListReceived]) -> str:
    """How many of them were not repetitions and, if that is known, what they were about."""
    new = sum(1 for one, next in pairwise(lists) if not _is_repetition(one, next))
    if not new:
        return ""
    why = " (--change was run for another instance meanwhile, which may share what it changes)"
    return f", {new} with something new" + why * bench.runs_change_in_parallel


def _is_repetition(one: DeviceListReceived, next: DeviceListReceived) -> bool:
    """On the same stream, in any order, since the kubelet makes sets of it."""
    return one.generation == next.generation and _as_sets(one.devices) == _as_sets(next.devices)


def _as_sets(devices: Sequence[Device]) -> Counter[tuple[str, str, frozenset[int] | None]]:
    return Counter((d.id, d.health, None if d.numa_nodes is None else frozenset(d.numa_nodes)) for d in devices)


@check("lists-complete", rule="API-2, LW-2", needs=("first-list",), whole_plugin=True)
async def lists_complete(bench: Bench) -> str:
    """Sends the complete list at every change, and not only what changed.

    Each list replaces the one before: a device that is not in it no longer exists. A plug-in that sends only the device
    that broke removes all others from the node. A plug-in that sends no list at a change hands out devices that are
    broken. The same goes for a plug-in that forgets the others for good, and sends them to no new stream either: that
    shows when the command of --change has changed everything else back.

    Fix: keep one list, change it, and send all of it. If no list comes at all, try the command of --change by hand: it
    may change nothing that the plug-in looks at.
    """
    second, fresh, gone = await _ids_after_change(bench)
    if fresh - second:
        raise Failed(
            f"after a change the list had {len(second)} devices; a new stream then had {len(fresh)}: "
            f"{difference(second, fresh)}"
        )
    if gone - fresh:
        raise Failed(
            "after a change and a change back, which left all others as they were, the list had lost "
            f"{first_few(sorted(gone))}, and so had a new stream"
        )
    return f"the list after a change has all {len(fresh)} devices of a new stream"


async def _ids_after_change(bench: Bench) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """The ids of a list that followed another one, those of the first list of a new stream, and those that a change and
    a change back have lost."""
    before = {resource: _healths(bench, resource) for resource in bench.resources}
    try:
        since = await bench.change()
    except Skipped:
        for resource in bench.resources:
            with bench.of([resource]):
                await bench.quiet_period()
        if not bench.findings.changed_lists:
            raise
        return *next(iter(bench.findings.changed_lists.values())), frozenset()  # it changed by itself meanwhile
    changed = await _resource_with_new_list(bench, since)
    if changed is None:
        raise Failed(f"{NO_LIST}: it changes nothing, or the plug-in does not report what it changes")
    with bench.of([changed]):
        gone = await _lost_when_changed_back(bench, before[changed])
        second = bench.latest_ids()
        bench.manager.faults.drop_connection(bench.resource)
        await bench.until_respawned()
        return second, frozenset(device.id for device in await bench.list_of_new_stream()), gone


async def _lost_when_changed_back(bench: Bench, before: Mapping[DeviceId, str]) -> frozenset[str]:
    """After a change: change it back, and once more. The ids that were there ``before`` it, and are not when it has
    been changed back. None if there is no telling whether it has: the command may remove devices."""
    between = _healths(bench, bench.resource)
    if not await _brings_list(bench):
        return frozenset()
    after = _healths(bench, bench.resource)
    await _brings_list(bench)
    return frozenset(before.keys() - after.keys()) if _is_changed_back(before, between, after) else frozenset()


async def _brings_list(bench: Bench) -> bool:
    """Make another change; does it bring a list?"""
    with suppress(Failed, Skipped):
        return await _resource_with_new_list(bench, await bench.change()) is not None
    return False


def _healths(bench: Bench, resource: ResourceName) -> dict[DeviceId, str]:
    """Those of the latest list."""
    lists = bench.seen(DeviceListReceived, of=resource)
    return {device.id: device.health for device in lists[-1][1].devices} if lists else {}


def _is_changed_back(
    before: Mapping[DeviceId, str], between: Mapping[DeviceId, str], after: Mapping[DeviceId, str]
) -> bool:
    """Has each device that is left the health that it had before, and one of them another one in between?"""
    is_as_before = all(before.get(id) == health for id, health in after.items())
    return is_as_before and any(id in between and between[id] != health for id, health in after.items())


async def _resource_with_new_list(bench: Bench, since: float) -> str | None:
    """The first resource with a new list, if one comes in time."""

    def changed() -> list[str]:
        return [resource for resource in bench.resources if bench.seen(DeviceListReceived, since=since, of=resource)]

    await bench.wait_until(lambda: bool(changed()), bench.timing.prompt)
    return next(iter(changed()), None)


@check("stream-cancel", rule="LW-1, REG-22", needs=("first-list",), seen_in="Mellanox/k8s-rdma-shared-dev-plugin#51")
async def stream_cancel(bench: Bench) -> str:
    """Lives on when its stream is cancelled, and serves a new one from the start.

    The kubelet cancels the stream when it restarts and when the plug-in registers again. A plug-in that writes to the
    old stream, closes a channel twice or sends its updates to the goroutine of the old stream then crashes or falls
    silent.

    Fix: give each call of ListAndWatch a channel of its own, and return when the call's context ends.
    """
    respawns = len(bench.lifecycle.respawn_causes)
    known = bench.latest_ids()  # a stream may begin with a part of them, which first-list-complete judges
    first = frozenset(device.id for device in await bench.list_of_new_stream(expected=known))
    if len(bench.lifecycle.respawn_causes) > respawns:
        return "it ends with its stream"
    for _ in range(3):
        again = frozenset(device.id for device in await bench.list_of_new_stream(expected=first))
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
    return "4 streams opened and cancelled; each had the whole list"
