"""One resource: the endpoint that serves it, and the last list, split into healthy and unhealthy ids."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..events import ReportApplied
from ..model import HEALTHY, UNHEALTHY, UNKNOWN, Device, DeviceId
from .endpoint import RESTORED, Endpoint, State
from .holdings import in_order


@dataclass(slots=True)
class Resource:
    """``healthy`` is None until the first list: such a resource is published, but not *known* (LW-9).

    ``is_current`` says that ``devices`` came from the plug-in that serves now.
    """

    endpoint: Endpoint
    devices: dict[DeviceId, Device] = field(default_factory=dict)
    healthy: set[DeviceId] | None = None
    unhealthy: set[DeviceId] | None = None
    is_current: bool = False

    @property
    def is_serving(self) -> bool:
        return self.endpoint.state is State.SERVING

    @property
    def is_published(self) -> bool:
        """From the first list, or the end of the stream, on (REG-13)."""
        return self.unhealthy is not None

    @property
    def is_expected_back(self) -> bool:
        """Known from before a restart, and its plug-in has not reported its devices in this life yet."""
        waits_for_list = self.is_serving and not self.is_current and self.healthy is not None
        return self.endpoint.generation == RESTORED or waits_for_list

    def connect(self, endpoint: Endpoint) -> None:
        """Another registration takes over; the old list stays until its first own one (REG-9)."""
        self.endpoint, self.is_current = endpoint, False

    def apply(self, devices: dict[DeviceId, Device]) -> ReportApplied:
        """Take over a complete list; the answer tells it from the list before (LW-3)."""
        before, was_healthy = self.devices, self.healthy or set()
        self.devices, self.is_current = devices, True
        self.healthy = {id for id, device in devices.items() if device.is_healthy}
        self.unhealthy = devices.keys() - self.healthy
        changed = [
            id
            for id in devices.keys() & before.keys()
            if (id in was_healthy) != (id in self.healthy) or devices[id] != before[id]
        ]
        return ReportApplied(
            resource=self.endpoint.resource,
            capacity=len(devices),
            allocatable=len(self.healthy),
            added=in_order(devices.keys() - before.keys()),
            removed=in_order(before.keys() - devices.keys()),
            changed=in_order(changed),
        )

    def stop(self, *, now: float) -> None:
        """The plug-in is gone: its devices count as unhealthy (LW-8)."""
        self.endpoint = self.endpoint.stopped(now=now)
        self.unhealthy = (self.unhealthy or set()) | (self.healthy or set())
        if self.healthy is not None:
            self.healthy = set()

    def health_of(self, device: DeviceId) -> str:
        """``Unknown`` when the plug-in is gone or no longer lists the device; the kubelet says Healthy (LIM-7)."""
        found = self.devices.get(device) if self.is_serving and self.is_current else None
        return UNKNOWN if found is None else HEALTHY if found.is_healthy else UNHEALTHY
