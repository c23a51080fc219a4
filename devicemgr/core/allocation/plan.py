"""Which devices a container gets: the kubelet's decision, step by step (ALLOC-6, ALLOC-7).

:func:`plan_allocation` decides and changes nothing. When there is a choice the plan carries a request for
GetPreferredAllocation; make it, then plan again with the devices that the plug-in prefers.

The classes of devices, in the order in which they are taken:

1. *reusable*: held by an init container of the same pod (7a), whatever their health and NUMA node;
2. *aligned*: on a NUMA node of the affinity mask (7d, 7e);
3. what the plug-in prefers among all available ones (7f);
4. *unaligned*, then *no affinity* (7f); only the latter where the hint counted on them (LIM-13).

Within a class the order is fixed: natural order of the ids (ALLOC-8).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import islice

from ...errors import AllocationRefused
from ...model import Container, ContainerKind, DeviceId, Owner, ResourceName
from ..devices.free_devices import FreeDevices, Ids
from ..devices.pod_devices import in_order
from ..devices.store import DeviceStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One container requests ``count`` devices of one resource. ``affinity`` None means no NUMA preference.

    ``is_aligned`` says that it was found to fit on ``affinity`` as well as it could on any nodes of this machine.

    ``is_running`` says that the pod was admitted and has not ended, so the devices it holds are not checked again
    (ALLOC-6b). The kubelet trusts a record only until its sources are ready, and only for containers that run at that
    moment (LIM-30); and up to v1.36 it refuses a resize because of an unrelated device (LIM-34).
    """

    owner: Owner
    resource: ResourceName
    count: int
    reusable: AbstractSet[DeviceId] = frozenset()
    affinity: AbstractSet[int] | None = None
    is_aligned: bool = False
    is_running: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferredAllocationRequest:
    """A request for GetPreferredAllocation. ``available`` contains the must-include ids, and ``size`` counts them.

    ``available`` is a view of what is free: read it before the store changes.
    """

    available: Collection[DeviceId]
    must_include: tuple[DeviceId, ...]
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Available devices by affinity, in order; each is in exactly one class (ALLOC-16). These are views, too."""

    aligned: Ids
    unaligned: Ids
    no_affinity: Ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Devices taken by one rule, and why, in a few words about them."""

    rule: str
    because: str
    devices: tuple[DeviceId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The devices to take, step by step; none when the container holds them already, or requests none."""

    request: Request
    held: tuple[DeviceId, ...] = ()
    reusable: tuple[DeviceId, ...] = ()
    split: Split | None = None
    steps: tuple[Step, ...] = ()
    preferred_request: PreferredAllocationRequest | None = None

    @property
    def devices(self) -> tuple[DeviceId, ...]:
        return tuple(id for step in self.steps for id in step.devices)


def plan_allocation(store: DeviceStore, request: Request, *, preferred: Sequence[DeviceId] = ()) -> Plan:
    """Decide which devices the container would get now.

    ``preferred`` is the plug-in's answer to an earlier plan's request; ids that are not available are ignored
    (ALLOC-18). Raises AllocationRefused with the kubelet's text (ALLOC-E1…E7). Source: ALLOC-6a…7f.
    """
    # Decision: the plan after that answer is made from scratch. The kubelet goes on with the sets that it computed
    # before the call, and takes devices that became busy or unhealthy meanwhile (ALLOC-19, LIM-6).
    held = _held_by_owner(store, request)
    if request.is_running:  # 6b
        return Plan(request=request, held=in_order(held))
    _check_healthy(store, request, held)
    if request.count == len(held):  # 6f
        return Plan(request=request, held=in_order(held))
    reusable = in_order(request.reusable)
    steps = _step((), "ALLOC-7a", "left by an init container of the same pod", reusable, request.count)
    missing = request.count - _count(steps)
    if not missing:
        return Plan(request=request, reusable=reusable, steps=steps)
    free = store.free_devices(request.resource)
    available = free.all(without=request.reusable)
    if len(available) < missing:  # 7b
        raise AllocationRefused(
            f"requested number of devices unavailable for {request.resource}. "
            f"Requested: {missing}, Available: {len(available)}",
            rule="ALLOC-E6",
        )
    aligned, unaligned, no_affinity = free.split(request.affinity, without=request.reusable)
    split = Split(aligned=aligned, unaligned=unaligned, no_affinity=no_affinity)
    steps, asked = _choose(request, steps, split, preferred, free)
    return Plan(request=request, reusable=reusable, split=split, steps=steps, preferred_request=asked)


def _choose(
    request: Request, steps: tuple[Step, ...], split: Split, preferred: Sequence[DeviceId], free: FreeDevices
) -> tuple[tuple[Step, ...], PreferredAllocationRequest | None]:
    """Steps 7d to 7f: aligned first; the plug-in is asked only where there is a choice.

    There are enough devices (7b), so the kubelet's error ALLOC-E7 cannot happen.
    """
    count, missing = request.count, request.count - _count(steps)
    on_nodes = "on the NUMA nodes that were chosen"
    if missing < len(split.aligned):  # 7d
        rule, candidates = "ALLOC-7d", split.aligned
        pools = [(on_nodes, split.aligned)]
    else:  # 7e, and 7f unless that was enough
        steps = _step(steps, "ALLOC-7e", on_nodes, split.aligned, count)
        if _count(steps) == count:
            return steps, None
        rule, candidates = "ALLOC-7f", free.all(without=request.reusable)
        pools = [
            ("on other NUMA nodes, since the chosen ones have no more", split.unaligned),
            ("free, and first in order", split.no_affinity),
        ]
        # Decision (LIM-13): the hint counted devices without NUMA data, and one of another node would prove it wrong.
        if request.is_aligned and len(split.no_affinity) >= count - _count(steps):
            candidates, pools = split.no_affinity, pools[1:]
    taken = [id for step in steps for id in step.devices]
    asked = PreferredAllocationRequest(available=candidates.also(taken), must_include=in_order(taken), size=count)
    wanted = [id for id in preferred if id in candidates]
    for because, pool in [("preferred by the plug-in", wanted), *pools]:
        steps = _step(steps, rule, because, pool, count)
    return steps, asked


def _step(steps: tuple[Step, ...], rule: str, because: str, pool: Iterable[DeviceId], count: int) -> tuple[Step, ...]:
    """The steps, and one more that takes from ``pool`` what is missing to ``count``, if there is any."""
    taken = {id for step in steps for id in step.devices}
    found = tuple(islice((id for id in _once(pool) if id not in taken), count - len(taken)))
    return (*steps, Step(rule=rule, because=because, devices=found)) if found else steps


def _once(ids: Iterable[DeviceId]) -> Iterator[DeviceId]:
    """Each id once, in order: a plug-in's preferred allocation may name one twice."""
    seen: set[DeviceId] = set()
    for id in ids:
        if id not in seen:
            seen.add(id)
            yield id


def _count(steps: Iterable[Step]) -> int:
    return sum(len(step.devices) for step in steps)


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


@dataclass(slots=True)
class DevicesToReuse:
    """Devices that later containers of one pod may take over from its init containers (ALLOC-11…13)."""

    # Decision: each admission has one of its own. The kubelet keeps one unlocked map for all pods, which crashed when
    # containers started concurrently, and forgets a pod whose admission interleaves (LIM-23, kubernetes #130050).
    _devices: dict[ResourceName, set[DeviceId]] = field(default_factory=dict)

    def of(self, resource: ResourceName) -> AbstractSet[DeviceId]:
        return self._devices.get(resource, set())

    def update_after(self, container: Container, resource: ResourceName, devices: Iterable[DeviceId]) -> None:
        """An ordinary init container leaves its devices; a sidecar or main container takes them away (ALLOC-12)."""
        pool = self._devices.setdefault(resource, set())
        if container.kind is ContainerKind.INIT:
            pool.update(devices)
        else:
            pool.difference_update(devices)
