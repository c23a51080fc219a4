"""One resource: the endpoint that serves it, and the last list, split into healthy and unhealthy ids."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from ...events import DeviceListApplied
from ...model import HEALTHY, UNHEALTHY, UNKNOWN, Device, DeviceId
from ...steps import SharedSteps, Steps, in_chunks, run_steps
from .endpoint import RESTORED, Endpoint, State, Trigger
from .free_devices import FreeDevices
from .pod_devices import in_order
from .report import Difference

MAX_NAMED = 20
MAX_NAME_LENGTH = 200
"""Limits for an event about a list, since events are kept in memory: devices of each kind, and characters of an id."""

MAX_SORTING_ATTEMPTS = 10
"""How often one admission begins to sort a resource's list, when each is replaced before it is sorted."""


@dataclass(slots=True)
class ComparedList:
    """A complete list, split by health, and the ids in which it differs from the one before, in list order."""

    devices: dict[DeviceId, Device]
    healthy: set[DeviceId] = field(default_factory=set)
    unhealthy: set[DeviceId] = field(default_factory=set)
    added: list[DeviceId] = field(default_factory=list)
    removed: list[DeviceId] = field(default_factory=list)
    changed: list[DeviceId] = field(default_factory=list)


@dataclass(slots=True)
class Resource:
    """``healthy`` is None until the first list: such a resource is published, but not *known* (LW-9).

    ``is_current`` says that ``devices`` came from the plug-in that serves now. ``token`` identifies that list if it had
    no problems: the next one may be given as a difference from it.
    """

    endpoint: Endpoint
    devices: dict[DeviceId, Device] = field(default_factory=dict)
    healthy: set[DeviceId] | None = None
    unhealthy: set[DeviceId] | None = None
    is_current: bool = False
    token: object = None
    registrations: int = 0
    """Grows whenever ``registered`` changes."""
    _free: FreeDevices | None = None  # made on first use, and kept up to date from then on
    _sorting: SharedSteps[FreeDevices] | None = None  # of this list; held devices are removed at the end
    _registered: tuple[DeviceId, ...] | None = None

    @property
    def is_serving(self) -> bool:
        return self.endpoint.state is State.SERVING

    @property
    def is_published(self) -> bool:
        """True from the first list, or the end of the stream, on (REG-13)."""
        return self.unhealthy is not None

    @property
    def is_expected_back(self) -> bool:
        """Was it known before a restart, and has its plug-in not reported its devices since?"""
        waits_for_list = self.is_serving and not self.is_current and self.healthy is not None
        return self.endpoint.generation == RESTORED or waits_for_list

    @property
    def registered(self) -> tuple[DeviceId, ...] | None:
        """The healthy ids in the order of the list; the same object until they change (CKPT-4).

        None until the first list: a resource without healthy devices is registered, one without a list is not.
        """
        if self._registered is None and (healthy := self.healthy) is not None:
            self._registered = tuple(id for id in self.devices if id in healthy)
        return self._registered

    def _now_registered(self) -> None:
        self._registered = None
        self.registrations += 1

    def connect(self, endpoint: Endpoint) -> None:
        """Another registration replaces this one; the list stays until the new plug-in sends its own (REG-9)."""
        self.endpoint.advance(Trigger.REPLACED)
        self.endpoint, self.is_current, self.token = endpoint, False, None

    def comparing(self, devices: dict[DeviceId, Device]) -> Steps[ComparedList]:
        """Compare a complete list with the one before (LW-3), in steps. Nothing is changed yet."""
        before, was_healthy = self.devices, self.healthy or set()
        found = ComparedList(devices)
        for some in in_chunks(devices.values()):
            healthy = {device.id for device in some if device.health == HEALTHY}
            found.healthy |= healthy
            if len(healthy) < len(some):
                found.unhealthy.update(device.id for device in some if device.id not in healthy)
            if before:
                found.added += [device.id for device in some if device.id not in before]
                found.changed += [
                    device.id
                    for device in some
                    if (was := before.get(device.id)) is not None
                    and (
                        (device.id in was_healthy) is not (device.id in healthy)
                        or (device is not was and device != was)
                    )
                ]
            yield
        if not before:
            found.added = list(devices)
        for ids in in_chunks(list(before)):
            found.removed += [id for id in ids if id not in devices]
            yield
        return found

    def apply_list(self, new: ComparedList) -> DeviceListApplied:
        """Replace the list by a complete one that was compared with it."""
        if self.healthy is None or new.healthy != self.healthy:
            self._now_registered()
        self.devices, self.healthy, self.unhealthy, self.is_current = new.devices, new.healthy, new.unhealthy, True
        self._free = self._sorting = None
        return self._applied(new.added, new.removed, new.changed)

    def apply_difference(self, difference: Difference, held: Mapping[DeviceId, object]) -> DeviceListApplied:
        """The same as :meth:`apply_list` with the whole new list, in time proportional to the difference."""
        devices = self.devices
        added = [device.id for device in difference.updated if device.id not in devices]
        changed = [device.id for device in difference.updated if device.id in devices]
        self._sorting = None
        if added or difference.removed:
            self._free = None
        for id in difference.removed:
            del devices[id]
        for device in difference.updated:
            devices[device.id] = device
            if self._free is not None:
                self._free.update(device, free=device.is_healthy and device.id not in held)
        ids = {*difference.removed, *(device.id for device in difference.updated)}
        now_healthy = {device.id for device in difference.updated if device.is_healthy}
        if self.healthy is None or self.unhealthy is None:
            raise RuntimeError("a difference from no list at all")
        if ids & self.healthy != now_healthy:
            self._now_registered()
        self.healthy -= ids - now_healthy
        self.healthy |= now_healthy
        self.unhealthy -= now_healthy | set(difference.removed)
        self.unhealthy |= {device.id for device in difference.updated} - now_healthy
        return self._applied(added, difference.removed, changed)

    def _applied(
        self, added: Iterable[DeviceId], removed: Iterable[DeviceId], changed: Iterable[DeviceId]
    ) -> DeviceListApplied:
        kinds = [list(added), list(removed), list(changed)]
        named = [in_order(id[:MAX_NAME_LENGTH] for id in ids[:MAX_NAMED]) for ids in kinds]
        return DeviceListApplied(
            resource=self.endpoint.resource,
            capacity=len(self.devices),
            allocatable=len(self.healthy or ()),
            added=named[0],
            removed=named[1],
            changed=named[2],
            omitted=sum(map(len, kinds)) - sum(map(len, named)),
        )

    def stop(self, *, now: float) -> None:
        """The stream has ended: the devices count as unhealthy (LW-8)."""
        self.endpoint.stop(now=now)
        self.unhealthy = (self.unhealthy or set()) | (self.healthy or set())
        self.token = self._free = self._sorting = None
        self._now_registered()
        if self.healthy is not None:
            self.healthy = set()

    def free_devices(self, held: Mapping[DeviceId, object]) -> FreeDevices:
        """The healthy devices that are not ``held``."""
        if self._free is None:
            self._free = FreeDevices(self.devices, (self.healthy or set()) - held.keys())
        return self._free

    def count_free(self, held: Mapping[DeviceId, object]) -> int:
        """Their number, without sorting them."""
        if self._free is not None:
            return len(self._free)
        healthy = self.healthy or set()
        return len(healthy) - sum(map(healthy.__contains__, held))

    def sorting(self, held: Callable[[], Mapping[DeviceId, object]]) -> Steps[None]:
        """In steps, what :meth:`free_devices` would do at once. When another list is applied meanwhile it begins again,
        a limited number of times: the caller must not wait for a plug-in that keeps sending lists."""
        for _ in range(MAX_SORTING_ATTEMPTS):
            if self._free is not None:
                return
            if self._sorting is None:
                self._sorting = SharedSteps(FreeDevices.making(self.devices, self.healthy or set()))
            work = self._sorting
            for _ in work.steps():
                yield
                if self._sorting is not work:
                    break
            else:
                self._free, self._sorting = run_steps(work.steps()), None
                self._free.discard(held())

    def mark_held(self, ids: Collection[DeviceId]) -> None:
        """These are held from now on."""
        if self._free is not None:
            self._free.discard(ids)

    def mark_free(self, ids: Collection[DeviceId]) -> None:
        """These are not held any more."""
        if self._free is not None:
            self._free.add([id for id in ids if id in (self.healthy or ())])

    @property
    def reported(self) -> Reported:
        """The healthy and the unhealthy ids that a plug-in reports now: none if its stream has ended."""
        if not (self.is_serving and self.is_current):
            return NOTHING_REPORTED
        return self.healthy or set(), self.unhealthy or set()


Reported = tuple[AbstractSet[DeviceId], AbstractSet[DeviceId]]
NOTHING_REPORTED: Reported = frozenset(), frozenset()


def health_of(ids: Iterable[DeviceId], reported: Reported) -> dict[DeviceId, str]:
    """The health of each id: ``Unknown`` if no plug-in reports the device, where the kubelet says Healthy (LIM-7)."""
    healthy, unhealthy = reported
    return {id: HEALTHY if id in healthy else UNHEALTHY if id in unhealthy else UNKNOWN for id in ids}
