"""Everything at a glance: each resource with its devices by NUMA nodes, free or held, and the pods that hold them.

This is what the page shows. A resource may have many thousands of devices, so their states are one letter each, in the
order of the ids: what changes often is short.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ...concurrency.steps import SMALL_CHUNK, Steps, in_chunks
from ...model import Device, DeviceId, Owner, Pod, PodUid, ResourceCounts, ResourceName
from ..devices.pod_devices import ordering
from ..devices.resource import Reported
from ..devices.store import DeviceStore

FREE, UNHEALTHY, HELD, HELD_UNHEALTHY, HELD_UNKNOWN = "fuhx?"
NumaNodes = tuple[int, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceGroup:
    """The devices of the same NUMA nodes, None without topology. ``states`` has a letter for each: free, unhealthy,
    held, held though unhealthy, or held and of unknown health, because no plug-in reports the device any more."""

    numa_nodes: NumaNodes
    devices: tuple[DeviceId, ...]
    states: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceOverview:
    """``socket`` is that of the plug-in that serves, or did last. ``held`` has the devices by container, also of pods
    whose admission is not complete.

    A trace may begin in the middle. Until one of its events lists the devices, ``knows_devices`` is False, and of the
    counts only ``allocated`` says something; ``endpoint`` is "unknown" if no event names the plug-in. While
    ``knows_holders`` is False, devices may be held that look free.
    """

    name: ResourceName
    counts: ResourceCounts
    socket: str
    groups: tuple[DeviceGroup, ...]
    held: Mapping[Owner, tuple[DeviceId, ...]]
    knows_devices: bool = True
    knows_holders: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PodOverview:
    """``containers`` has the name and the kind of each."""

    namespace: str
    name: str
    uid: PodUid
    containers: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, pod: Pod) -> PodOverview:
        kinds = tuple((container.name, container.kind.value) for container in pod.containers)
        return cls(namespace=pod.namespace, name=pod.name, uid=pod.uid, containers=kinds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The resources by name, and the admitted pods, oldest first."""

    resources: tuple[ResourceOverview, ...] = ()
    pods: tuple[PodOverview, ...] = ()


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is known of a resource at one moment."""

    name: ResourceName
    counts: ResourceCounts
    socket: str
    devices: list[Device]
    reported: Reported
    holders: dict[DeviceId, tuple[Owner, ...]]
    lost: dict[DeviceId, NumaNodes]
    """Held devices that are on no list, with the NUMA nodes that they had."""


def overview(store: DeviceStore) -> Steps[Overview]:
    """The state as it is now: pods and resources are looked up in the first step. Where resources are very many, more
    steps are needed, and each resource is true of one moment by itself: what changes meanwhile is for the next look."""
    names = sorted(store.published | store.held_counts().keys())
    pods = tuple(map(PodOverview.of, store.pods))
    seen: list[_Seen] = []
    for some in in_chunks(names, SMALL_CHUNK):
        seen += [_look_at(store, name) for name in some]
        yield
    resources = []
    for one in seen:
        resources.append((yield from _arranged(one)))
    return Overview(resources=tuple(resources), pods=pods)


def _look_at(store: DeviceStore, name: ResourceName) -> _Seen:
    listed, endpoint = store.devices(name), store.endpoint(name)
    holders = {id: tuple(owners) for id, owners in store.held(name).items()}
    lost: dict[DeviceId, NumaNodes] = {}
    for id in holders.keys() - listed.keys():
        assigned = [store.assignments(owner).get(name) for owner in holders[id]]
        lost[id] = next((one.devices[id] for one in assigned if one is not None and id in one.devices), None)
    return _Seen(
        name=name,
        counts=store.counts(name),
        socket=endpoint.socket if endpoint else "",
        devices=list(listed.values()),
        reported=store.reported(name),
        holders=holders,
        lost=lost,
    )


def _arranged(seen: _Seen) -> Steps[ResourceOverview]:
    healthy, unhealthy = seen.reported
    nodes: dict[NumaNodes, list[DeviceId]] = {}
    for some in in_chunks(seen.devices):
        for device in some:
            nodes.setdefault(device.numa_nodes or None, []).append(device.id)
        yield
    for id, numa_nodes in seen.lost.items():
        nodes.setdefault(numa_nodes or None, []).append(id)

    def states(ids: Iterable[DeviceId]) -> str:
        held = seen.holders
        return "".join(
            (HELD if id in healthy else HELD_UNHEALTHY if id in unhealthy else HELD_UNKNOWN)
            if id in held
            else (FREE if id in healthy else UNHEALTHY)
            for id in ids
        )

    groups = []
    for numa_nodes in sorted(nodes, key=lambda numa_nodes: (numa_nodes is None, numa_nodes or ())):
        ids = yield from ordering(nodes[numa_nodes])
        letters = []
        for some_ids in in_chunks(ids):
            letters.append(states(some_ids))
            yield
        groups.append(DeviceGroup(numa_nodes=numa_nodes, devices=ids, states="".join(letters)))
    held: dict[Owner, list[DeviceId]] = {}
    for some_held in in_chunks(seen.holders.items()):
        for id, owners in some_held:
            for owner in owners:
                held.setdefault(owner, []).append(id)
        yield
    by_owner = {}
    for owner in sorted(held):
        by_owner[owner] = yield from ordering(held[owner])
    return ResourceOverview(name=seen.name, counts=seen.counts, socket=seen.socket, groups=tuple(groups), held=by_owner)
