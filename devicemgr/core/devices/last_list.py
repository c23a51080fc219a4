"""The last list of one plug-in, split by health, and in what it differs from another list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...concurrency.steps import Steps, in_chunks
from ...model import HEALTHY, Device, DeviceId
from .report import Difference

DEVICE_SIZE = 128
"""Bytes that a device takes in memory, approximately, even if its id is short."""


def memory_of(size: int, devices: int) -> int:
    """Bytes that a list of ``devices`` takes in memory, when its message has ``size`` bytes."""
    return max(size, DEVICE_SIZE * devices)


@dataclass(slots=True, kw_only=True, eq=False)
class LastList:
    """Devices by id, and which of them are healthy.

    ``token`` identifies the message that they came in, if it had no problems: the next one may be given as a difference
    from it. ``size`` is that of the message in bytes. A list is *stale* when no plug-in stands for it any more.
    """

    devices: dict[DeviceId, Device] = field(default_factory=dict)
    healthy: set[DeviceId] = field(default_factory=set)
    unhealthy: set[DeviceId] = field(default_factory=set)
    token: object = None
    size: int = 0
    is_stale: bool = False

    @classmethod
    def splitting(cls, devices: dict[DeviceId, Device]) -> Steps[LastList]:
        """Split a complete list by health (LW-3), in steps."""
        found = cls(devices=devices)
        for some in in_chunks(devices.values()):
            healthy = {device.id for device in some if device.health == HEALTHY}
            found.healthy |= healthy
            if len(healthy) < len(some):
                found.unhealthy.update(device.id for device in some if device.id not in healthy)
            yield
        return found

    @property
    def memory(self) -> int:
        """Bytes that it takes in memory."""
        return memory_of(self.size, len(self.devices))

    def when_lost(self) -> LastList:
        """What it means when its plug-in has ended and no other one serves: all devices are unhealthy (LW-8)."""
        unhealthy = self.unhealthy | self.healthy
        return LastList(devices=self.devices, unhealthy=unhealthy, size=self.size, is_stale=True)

    def apply(self, difference: Difference) -> Comparison:
        """Become the next list, in time proportional to the difference; returns in what that differs from this one."""
        devices = self.devices
        added = [device.id for device in difference.updated if device.id not in devices]
        changed = [device.id for device in difference.updated if device.id in devices]
        for id in difference.removed:
            del devices[id]
        devices.update((device.id, device) for device in difference.updated)
        now_healthy = {device.id for device in difference.updated if device.is_healthy}
        now_unhealthy = {device.id for device in difference.updated} - now_healthy
        gone = now_unhealthy.union(difference.removed)
        is_same_health = gone.isdisjoint(self.healthy) and now_healthy <= self.healthy
        self.healthy -= gone
        self.healthy |= now_healthy
        self.unhealthy -= now_healthy.union(difference.removed)
        self.unhealthy |= now_unhealthy
        return Comparison(added, list(difference.removed), changed, is_same_health=is_same_health)


@dataclass(slots=True)
class Comparison:
    """The ids in which a list differs from the one before, in list order, and whether both have the same healthy ids.

    ``not_compared`` is the number of devices in a list that was too long to compare it in one step.
    """

    added: list[DeviceId] = field(default_factory=list)
    removed: list[DeviceId] = field(default_factory=list)
    changed: list[DeviceId] = field(default_factory=list)
    not_compared: int = 0
    is_same_health: bool = False


def comparing(new: LastList, before: LastList | None) -> Steps[Comparison]:
    """Compare two lists, in steps during which neither may change."""
    if before is None:
        return Comparison(added=list(new.devices))
    was_healthy, healthy = before.healthy, new.healthy
    found = Comparison(is_same_health=healthy == was_healthy)
    if not before.devices:
        found.added = list(new.devices)
        return found
    known: Mapping[DeviceId, Device] = before.devices
    for some in in_chunks(new.devices.values()):
        found.added += [device.id for device in some if device.id not in known]
        found.changed += [
            device.id
            for device in some
            if (was := known.get(device.id)) is not None
            and ((device.id in was_healthy) is not (device.id in healthy) or (device is not was and device != was))
        ]
        yield
    for ids in in_chunks(list(known)):
        found.removed += [id for id in ids if id not in new.devices]
        yield
    return found
