"""Normalises a plug-in's list, so that the rest of the core can rely on it (LIM-16).

The kubelet takes every list as it comes: a duplicate id counts twice in capacity, an empty id is a device.
Here each id counts once, and every correction is reported:

1. an entry without an id, or with one longer than the peer limit ``id_length``, is left out;
2. of several entries with one id the last counts, but if any of them is unhealthy, so is the device: no pod should get
   a device about which its plug-in contradicts itself;
3. a health other than Healthy and Unhealthy counts as unhealthy (the kubelet's rule, LW-3) and is reported;
4. a NUMA node below 0 or above ``MAX_NUMA_NODE`` is dropped from the device's topology (-1 says "none": not reported).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ...concurrency.steps import SMALL_CHUNK, Steps, in_chunks
from ...events import DeviceListNormalised
from ...model import HEALTHY, UNHEALTHY, Device, DeviceId, DeviceList, ResourceName

MAX_NUMA_NODE = 1023
"""Linux's own limit on node numbers (MAX_NUMNODES is at most 1024)."""
MAX_ID_LENGTH = 16 * 1024
MAX_DIFFERENCE = 4096
"""Entries. A difference is applied in one step, because it changes the list in place."""
_EXAMPLES = 10
_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Report:
    """A list in which each id occurs once, and what was corrected in it."""

    devices: dict[DeviceId, Device]
    problems: tuple[DeviceListNormalised, ...]


def normalising(resource: ResourceName, entries: Sequence[Device], *, id_length: int = MAX_ID_LENGTH) -> Steps[Report]:
    """Turn one ListAndWatch message into devices by id, in steps."""
    devices: dict[DeviceId, Device] = {}
    for some in in_chunks(entries):
        found = {entry.id: entry for entry in some}
        if not _are_usable(found, id_length) or _has_odd_values(some):
            break
        devices.update(found)
        yield
    if len(devices) == len(entries):
        return Report(devices, ())
    return (yield from _corrected(resource, entries, id_length))


def _corrected(resource: ResourceName, entries: Sequence[Device], id_length: int) -> Steps[Report]:
    devices: dict[DeviceId, Device] = {}
    found: dict[str, list[DeviceId]] = {}
    for some in in_chunks(entries, SMALL_CHUNK):
        for entry in some:
            for problem in _problems_of(entry, devices, id_length):
                found.setdefault(problem, []).append(entry.id[:_SHOWN])
            if 0 < len(entry.id) <= id_length:
                devices[entry.id] = _merged(_without_absurd_nodes(entry), devices.get(entry.id))
        yield
    problems = tuple(
        DeviceListNormalised(resource=resource, problem=problem, count=len(ids), devices=tuple(ids[:_EXAMPLES]))
        for problem, ids in found.items()
    )
    return Report(devices, problems)


@dataclass(frozen=True, slots=True)
class Difference:
    """How two lists without problems differ: the ids removed, and the devices that were added or changed."""

    removed: tuple[DeviceId, ...]
    updated: tuple[Device, ...]


def difference(
    report: DeviceList, known: Mapping[DeviceId, Device], *, id_length: int = MAX_ID_LENGTH
) -> Difference | None:
    """How ``report`` differs from ``known``, the list before it, which had no problems. None when the new list has
    problems or differs in more than MAX_DIFFERENCE entries: then all of it must be normalised."""
    if len(report.added) + len(report.removed) > MAX_DIFFERENCE:
        return None
    updated = {device.id: device for device in report.added}
    removed = {device.id for device in report.removed}
    if len(updated) < len(report.added) or any(id in known and id not in removed for id in updated):
        return None
    if not _are_usable(updated, id_length) or _has_odd_values(report.added):
        return None
    return Difference(tuple(removed - updated.keys()), tuple(d for d in updated.values() if known.get(d.id) != d))


def _are_usable(ids: Collection[DeviceId], id_length: int) -> bool:
    return "" not in ids and max(map(len, ids), default=0) <= id_length


def _has_odd_values(entries: Iterable[Device]) -> bool:
    """Checks the different healths and topologies only: 10,000 devices have a handful of them."""
    healths = {entry.health for entry in entries}
    nodes = {entry.numa_nodes for entry in entries}
    return bool(healths - {HEALTHY, UNHEALTHY}) or not all(_are_real(some) for some in nodes)


def _are_real(nodes: tuple[int, ...] | None) -> bool:
    return all(0 <= node <= MAX_NUMA_NODE for node in nodes or ())


def _problems_of(entry: Device, seen: dict[DeviceId, Device], id_length: int) -> Iterable[str]:
    if not entry.id:
        yield "empty device id: left out"
    elif len(entry.id) > id_length:
        yield f"device id of more than {id_length} characters: left out"
    elif entry.id in seen:
        yield "duplicate device id: counted once"
    if entry.health not in (HEALTHY, UNHEALTHY):
        yield f"unknown health {entry.health[:40]!r}: counted as unhealthy"
    if not _are_real(tuple(node for node in entry.numa_nodes or () if node != -1)):
        yield f"NUMA node outside 0…{MAX_NUMA_NODE}: dropped from the topology"


def _without_absurd_nodes(entry: Device) -> Device:
    nodes = entry.numa_nodes
    if nodes is None or _are_real(nodes):
        return entry
    return replace(entry, numa_nodes=tuple(node for node in nodes if 0 <= node <= MAX_NUMA_NODE))


def _merged(entry: Device, earlier: Device | None) -> Device:
    if earlier is None or earlier.is_healthy:
        return entry
    return replace(entry, health=earlier.health)
