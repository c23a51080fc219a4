"""One resource: the endpoint that serves it and those that stand by, and the list of devices that is in force."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from ...concurrency.steps import CHUNK, SharedSteps, Steps, run_steps
from ...events import DeviceListApplied
from ...model import HEALTHY, UNHEALTHY, UNKNOWN, Device, DeviceId
from .endpoint import RESTORED, Endpoint, State, Trigger
from .free_devices import FreeDevices
from .last_list import Comparison, LastList, comparing
from .pod_devices import in_order
from .report import Difference

MAX_NAMED = 20
MAX_NAME_LENGTH = 200
"""Limits for an event about a list, since events are kept in memory: devices of each kind, and characters of an id."""

MAX_SORTING_ATTEMPTS = 10
"""How often one admission begins to sort a resource's list, when each is replaced before it is sorted."""


MAX_COMPARED = CHUNK
"""Devices of a list that is compared in one step, when a plug-in that stood by serves again."""


@dataclass(slots=True)
class Resource:
    """``primary`` is the endpoint that is asked. ``standbys`` have an open stream but are not asked, the newest last.

    ``in_force`` is the list that counts: the primary's own. Until that has come, it is the list before it (REG-9), and
    what the newest of the others has sent since, so that a device that breaks meanwhile is not handed out. It is None
    until the first list: such a resource may be published, but is not *known* (LW-9).
    """

    primary: Endpoint
    standbys: list[Endpoint] = field(default_factory=list)
    in_force: LastList | None = None
    is_published: bool = False
    """True from the first list, or the end of the stream, on (REG-13)."""
    registrations: int = 0
    """Grows whenever ``registered`` changes."""
    _free: FreeDevices | None = None  # made on first use, and kept up to date from then on
    _sorting: SharedSteps[FreeDevices] | None = None  # of this list; held devices are removed at the end
    _registered: tuple[DeviceId, ...] | None = None

    # --- the plug-ins ---------------------------------------------------------------------------

    @property
    def is_serving(self) -> bool:
        return self.primary.state is State.SERVING

    @property
    def live(self) -> list[Endpoint]:
        """The endpoints with an open stream, the primary last."""
        return [*self.standbys, self.primary] if self.is_serving else []

    @property
    def is_expected_back(self) -> bool:
        """Was it known before a restart, and has its plug-in not reported its devices since?"""
        waits_for_list = self.is_serving and self.in_force is not None and self.in_force.is_stale
        return self.primary.generation == RESTORED or waits_for_list

    def connect(self, new: Endpoint, *, max_standbys: int) -> Endpoint | None:
        """``new`` serves from now on; the list in force stays until it sends its own (REG-9). Returns the endpoint
        that served before, if it stands by now.

        What was on the same socket drains: a plug-in that registers again may support one stream only.
        """
        old = self.primary
        for one in self.live:
            if one.is_on_same_socket(new):
                one.advance(Trigger.REGISTERED_AGAIN)
        if old.state is not State.DRAINING:
            old.advance(Trigger.REPLACED)
        standbys = [one for one in (*self.standbys, old) if one.state is State.STANDBY]
        for oldest in standbys[:-max_standbys]:
            oldest.advance(Trigger.CROWDED_OUT)
        self.primary, self.standbys = new, standbys[-max_standbys:]
        return old if old.state is State.STANDBY else None

    def end_standby(self, endpoint: Endpoint) -> None:
        """Its stream has ended, which changes nothing else."""
        endpoint.advance(Trigger.STREAM_ENDED)
        self.standbys.remove(endpoint)

    def stop(self, *, now: float) -> None:
        """The primary's stream has ended, and none stands by: the devices count as unhealthy (LW-8)."""
        self.primary.stop(now=now)
        self.is_published = True
        if self.in_force is not None:
            self._put_in_force(self.in_force.when_lost())
        self._now_registered()

    def promote(self, *, now: float) -> DeviceListApplied | None:
        """The primary's stream has ended: the newest endpoint that stood by serves from now on, with its own last list.

        It may have none yet. It is promoted nevertheless, since the newest is the one that is to serve, and the list in
        force stays until its own comes, as after a registration.
        """
        self.primary.stop(now=now)
        self.primary.advance(Trigger.REPLACED)
        self.primary = self.standbys.pop()
        self.primary.advance(Trigger.PROMOTED)
        if (promoted := self.primary.last_list) is None:
            return None
        before = self.in_force
        if max(len(promoted.devices), len(self.devices)) <= MAX_COMPARED:
            comparison = run_steps(comparing(promoted, before))
        else:
            comparison = Comparison(not_compared=len(promoted.devices))
        return self.apply_list(self.primary, promoted, comparison)

    # --- the list in force ----------------------------------------------------------------------

    @property
    def devices(self) -> Mapping[DeviceId, Device]:
        return {} if self.in_force is None else self.in_force.devices

    @property
    def healthy(self) -> set[DeviceId] | None:
        """None until the first list."""
        return None if self.in_force is None else self.in_force.healthy

    @property
    def registered(self) -> tuple[DeviceId, ...] | None:
        """The healthy ids in the order of the list; the same object until they change (CKPT-4).

        None until the first list: a resource without healthy devices is registered, one without a list is not.
        """
        if self._registered is None and (healthy := self.healthy) is not None:
            self._registered = tuple(id for id in self.devices if id in healthy)
        return self._registered

    def takes_lists_of(self, endpoint: Endpoint) -> bool:
        """Does a list from it come into force? The primary's does; another one's until a newer one has sent any."""
        for one in reversed(self.live):
            if one is endpoint:
                return True
            if one.last_list is not None:
                return False
        return False

    def apply_list(self, endpoint: Endpoint, new: LastList, comparison: Comparison) -> DeviceListApplied:
        """The list of an endpoint that counts takes the place of the one in force, with which it was compared."""
        if not comparison.is_same_health:
            self._now_registered()
        endpoint.last_list, self.is_published = new, True
        self._put_in_force(new)
        return self._applied(comparison)

    def apply_difference(self, difference: Difference, held: Mapping[DeviceId, object]) -> DeviceListApplied:
        """The same as :meth:`apply_list` with the whole new list, in time proportional to the difference."""
        if self.in_force is None:
            raise RuntimeError("a difference from no list at all")
        comparison = self.in_force.apply(difference)
        self._sorting = None
        if comparison.added or comparison.removed:
            self._free = None
        elif self._free is not None:
            for device in difference.updated:
                self._free.update(device, free=device.is_healthy and device.id not in held)
        if not comparison.is_same_health:
            self._now_registered()
        return self._applied(comparison)

    def may_change(self, endpoint: Endpoint) -> bool:
        """May its last list be changed in place? Only if that is the list in force, or does not count."""
        return self.takes_lists_of(endpoint) is (endpoint.last_list is self.in_force)

    def _put_in_force(self, new: LastList) -> None:
        self.in_force, self._free, self._sorting = new, None, None

    def _now_registered(self) -> None:
        self._registered = None
        self.registrations += 1

    def _applied(self, comparison: Comparison) -> DeviceListApplied:
        kinds = [comparison.added, comparison.removed, comparison.changed]
        named = added, removed, changed = [ids[:MAX_NAMED] for ids in kinds]
        healthy = self.healthy or set()
        return DeviceListApplied(
            resource=self.primary.resource,
            generation=self.primary.generation,
            capacity=len(self.devices),
            allocatable=len(healthy),
            added=_in_short(added),
            removed=_in_short(removed),
            changed=_in_short(changed),
            unhealthy=_in_short(id for id in (*added, *changed) if id not in healthy),
            omitted=comparison.not_compared + sum(map(len, kinds)) - sum(map(len, named)),
        )

    # --- memory ---------------------------------------------------------------------------------

    def listed_size(self, *, without: Endpoint | None = None) -> int:
        """Bytes of memory that its lists take, each counted once. A list that is being examined counts instead of the
        one that it replaces; that of ``without`` is left out, as if it were being replaced."""
        replacing = [one for one in self.live if one.arriving or one is without]
        lists = [one.last_list for one in self.live if one not in replacing]
        if not any(map(self.takes_lists_of, replacing)):
            lists.append(self.in_force)
        kept = {id(one): one.memory for one in lists if one is not None}
        return sum(kept.values()) + sum(one.arriving for one in replacing if one is not without)

    # --- its free devices -----------------------------------------------------------------------

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
        if self.in_force is None or self.in_force.is_stale:
            return NOTHING_REPORTED
        return self.in_force.healthy, self.in_force.unhealthy


def _in_short(ids: Iterable[DeviceId]) -> tuple[DeviceId, ...]:
    return in_order(id[:MAX_NAME_LENGTH] for id in ids)


Reported = tuple[AbstractSet[DeviceId], AbstractSet[DeviceId]]
NOTHING_REPORTED: Reported = frozenset(), frozenset()


def health_of(ids: Iterable[DeviceId], reported: Reported) -> dict[DeviceId, str]:
    """The health of each id: ``Unknown`` if no plug-in reports the device, where the kubelet says Healthy (LIM-7)."""
    healthy, unhealthy = reported
    return {id: HEALTHY if id in healthy else UNHEALTHY if id in unhealthy else UNKNOWN for id in ids}
