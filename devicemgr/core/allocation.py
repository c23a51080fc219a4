"""Which devices a container gets: the kubelet's decision, step by step (ALLOC-6, ALLOC-7).

:func:`plan_allocation` decides and changes nothing. When the plug-in may have an opinion the plan carries a
*question*; ask it, then plan again with the *advice*.

# Decision: the second plan starts from scratch, on the state as it is then. The kubelet goes on with the sets it
# computed before the call, and takes devices that became busy or unhealthy meanwhile (ALLOC-19, LIM-6). Planning
# again costs microseconds, and there is no stale set to guard.

The classes of devices, in the order in which they are taken:

1. *reusable*: held by an init container of the same pod (7a), whatever their health and NUMA node;
2. *aligned*: on a NUMA node of the affinity mask (7d, 7e);
3. what the plug-in prefers among all available ones (7f);
4. *unaligned*, then *no affinity* (7f).

Within a class the order is fixed: natural order of the ids (ALLOC-8).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from ..errors import AllocationRefused
from ..model import Container, ContainerKind, Device, DeviceId, Owner, ResourceName
from .store import DeviceStore, in_order


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One container wants ``count`` devices of one resource. ``affinity`` None means no NUMA preference."""

    owner: Owner
    resource: ResourceName
    count: int
    reusable: AbstractSet[DeviceId] = frozenset()
    affinity: AbstractSet[int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What GetPreferredAllocation is asked: ``size`` counts the must-include ids, ``available`` has them too."""

    available: tuple[DeviceId, ...]
    must_include: tuple[DeviceId, ...]
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The devices to take, in the order taken. Nothing to take: the container holds them already, or wants none."""

    request: Request
    devices: tuple[DeviceId, ...] = ()
    question: Question | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Available devices by affinity; each stands in exactly one class (ALLOC-16)."""

    aligned: tuple[DeviceId, ...] = ()
    unaligned: tuple[DeviceId, ...] = ()
    no_affinity: tuple[DeviceId, ...] = ()


def plan_allocation(store: DeviceStore, request: Request, *, advice: Sequence[DeviceId] = ()) -> Plan:
    """Decide which devices the container would get now.

    ``advice`` is the plug-in's answer to an earlier plan's question; ids that are not available are ignored
    (ALLOC-18). Raises AllocationRefused with the kubelet's text (table 5.7). Source: ALLOC-6a…7f.
    """
    held = _held_by_owner(store, request)
    _check_healthy(store, request, held)
    if request.count == len(held):  # 6f
        return Plan(request=request)
    taken = in_order(request.reusable)[: request.count]  # 7a
    if len(taken) == request.count:
        return Plan(request=request, devices=taken)
    available = store.available(request.resource)
    missing = request.count - len(taken)
    if len(available) < missing:  # 7b
        raise AllocationRefused(
            f"requested number of devices unavailable for {request.resource}. "
            f"Requested: {missing}, Available: {len(available)}",
            rule="ALLOC-E6",
        )
    split = split_by_affinity(store.devices(request.resource), available, request.affinity)
    return _chosen(request, taken, split, advice)


def _chosen(request: Request, taken: tuple[DeviceId, ...], split: Split, advice: Sequence[DeviceId]) -> Plan:
    """Steps 7d to 7f: aligned first; the plug-in is asked only where there is a choice."""
    missing = request.count - len(taken)
    if missing == len(split.aligned):  # 7e, complete: no choice, no question
        return Plan(request=request, devices=taken + split.aligned)
    if missing < len(split.aligned):  # 7d
        candidates = split.aligned
        pools: tuple[tuple[DeviceId, ...], ...] = (split.aligned,)
    else:  # 7f
        candidates = in_order(split.aligned + split.unaligned + split.no_affinity)
        pools = (split.unaligned, split.no_affinity)
        taken += split.aligned
    question = Question(available=in_order({*candidates, *taken}), must_include=in_order(taken), size=request.count)
    wanted = [id for id in advice if id in set(candidates)]
    devices = _first(request.count, taken, wanted, *pools)
    if len(devices) < request.count:
        raise AllocationRefused(
            f"unexpectedly allocated less resources than required for pod {request.owner.pod_uid!r}, "
            f"container {request.owner.container!r}: got {len(devices)}, need {request.count}",
            rule="ALLOC-E7",
        )
    return Plan(request=request, devices=devices, question=question)


def _held_by_owner(store: DeviceStore, request: Request) -> AbstractSet[DeviceId]:
    record = store.assignments(request.owner).get(request.resource)
    if record is None:
        return frozenset()
    if len(record.devices) != request.count:  # 6a
        raise AllocationRefused(
            f'pod "{request.owner.pod_uid}" container "{request.owner.container}" changed request for resource '
            f'"{request.resource}" from {len(record.devices)} to {request.count}',
            rule="ALLOC-E1",
        )
    return record.devices.keys()


def _check_healthy(store: DeviceStore, request: Request, held: AbstractSet[DeviceId]) -> None:
    """Steps 6c to 6e. A count of 0 asks for nothing, so it needs no healthy device (LIM-15)."""
    healthy = store.healthy(request.resource)
    if request.count == 0:
        return
    if healthy is None:
        raise AllocationRefused(f"cannot allocate unregistered device {request.resource}", rule="ALLOC-E3")
    if not healthy:
        raise AllocationRefused(
            f"no healthy devices present; cannot allocate unhealthy devices {request.resource}",
            rule="ALLOC-E4",
        )
    if not held <= healthy:
        raise AllocationRefused(
            f"previously allocated devices are no longer healthy; cannot allocate unhealthy devices {request.resource}",
            rule="ALLOC-E5",
        )


def split_by_affinity(
    devices: Mapping[DeviceId, Device], available: Iterable[DeviceId], affinity: AbstractSet[int] | None
) -> Split:
    """Sort available devices into aligned, unaligned and no affinity (ALLOC-15, ALLOC-16)."""
    if affinity is None or not any(device.numa_nodes for device in devices.values()):
        return Split(no_affinity=in_order(available))
    aligned: list[DeviceId] = []
    unaligned: list[DeviceId] = []
    none: list[DeviceId] = []
    for id in available:
        device = devices.get(id)
        nodes = set(device.numa_nodes or ()) - {-1} if device else set()
        (none if not nodes else aligned if nodes & affinity else unaligned).append(id)
    return Split(aligned=in_order(aligned), unaligned=in_order(unaligned), no_affinity=in_order(none))


def _first(count: int, *pools: Iterable[DeviceId]) -> tuple[DeviceId, ...]:
    """The first ``count`` different ids of the pools, in their order."""
    unique = dict.fromkeys(id for pool in pools for id in pool)
    return tuple(unique)[:count]


@dataclass(slots=True)
class Reusable:
    """Devices that later containers of one pod may take over from its init containers (ALLOC-11…13).

    # Decision: a value of its own per admission. The kubelet keeps one unlocked map for all pods, which crashed
    # under concurrent starts and forgets a pod whose admission interleaves (LIM-23, kubernetes #130050).
    """

    _devices: dict[ResourceName, set[DeviceId]] = field(default_factory=dict)

    def of(self, resource: ResourceName) -> AbstractSet[DeviceId]:
        return self._devices.get(resource, set())

    def after(self, container: Container, resource: ResourceName, devices: Iterable[DeviceId]) -> None:
        """An ordinary init container leaves its devices; a sidecar or main container takes them away (ALLOC-12)."""
        pool = self._devices.setdefault(resource, set())
        if container.kind is ContainerKind.INIT:
            pool.update(devices)
        else:
            pool.difference_update(devices)
