"""What the manager and the plug-in have said, and which of the plug-in's resources are under test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from ....events import DeviceListReceived, Event, PluginDiscovered, PluginRegistered, RegistrationRequested
from ....model import Device, DeviceId, ResourceName
from ..verdicts import Failed, Skipped
from .evidence import Seen

E = TypeVar("E", bound=Event)
ANNOUNCEMENTS = RegistrationRequested, PluginDiscovered, PluginRegistered
"""The events that make a resource known."""


class History:
    """The manager's events and the checks' own calls, oldest first; ``resource`` is the one to be tested, None for all.

    It only grows, and no method waits. All times are those of Trio's clock.
    """

    def __init__(self, resource: ResourceName | None) -> None:
        self.entries: list[Seen] = []
        self.requested = resource
        self._selected: Sequence[ResourceName] | None = None

    def is_about(self, event: Event) -> bool:
        """Is the event about the resource to be tested?"""
        return self.requested in (None, getattr(event, "resource", None))

    @property
    def known(self) -> list[ResourceName]:
        """All resources that were registered, under test or not, in that order."""
        return list(
            dict.fromkeys(seen.event.resource for seen in self.entries if isinstance(seen.event, ANNOUNCEMENTS))
        )

    @property
    def resources(self) -> Sequence[ResourceName]:
        """The resources under test: within :meth:`of` those, otherwise the requested one, otherwise all."""
        if self._selected is not None:
            return self._selected
        return self.known if self.requested is None else [self.requested]

    @property
    def resource(self) -> ResourceName:
        """The resource under test, or the first of several. Raises Failed."""
        if not self.resources:
            raise Failed("no plug-in has called Register, and none was found in plugins_registry")
        return self.resources[0]

    @contextmanager
    def of(self, resources: Sequence[ResourceName]) -> Iterator[None]:
        """Within the block, only these are under test."""
        before, self._selected = self._selected, resources
        try:
            yield
        finally:
            self._selected = before

    def registrations(self, *, since: float = 0.0) -> list[tuple[Seen, RegistrationRequested | PluginDiscovered]]:
        """What the plug-in announced, oldest first: by calling Register, or as the answer to GetInfo."""
        return sorted(
            [*self.seen(RegistrationRequested, since=since), *self.seen(PluginDiscovered, since=since)],
            key=lambda one: one[0].time,
        )

    @property
    def was_discovered(self) -> bool:
        """Was the plug-in found in plugins_registry, so that it need not call Register?"""
        return bool(self.seen(PluginDiscovered))

    def seen(self, kind: type[E], *, since: float = 0.0, of: ResourceName | None = None) -> list[tuple[Seen, E]]:
        """The events of one kind about a resource, by default the one under test, oldest first."""
        if of is None and not self.resources:
            return []
        resource = self.resource if of is None else of
        return [
            (seen, seen.event)
            for seen in self.entries
            if isinstance(seen.event, kind) and seen.time >= since and getattr(seen.event, "resource", None) == resource
        ]

    def devices(self) -> tuple[Device, ...]:
        """The latest list. Raises Skipped if it is empty, so that there is nothing to check."""
        lists = self.seen(DeviceListReceived)
        if not lists:
            raise Failed("no list of devices has come")
        if not lists[-1][1].devices:
            raise Skipped("the plug-in has no devices here")
        return lists[-1][1].devices

    def healthy(self) -> list[DeviceId]:
        """Ids that can be allocated, in the order of the list, each once."""
        found = list(dict.fromkeys(device.id for device in self.devices() if device.is_healthy))
        if not found:
            raise Skipped("no device is healthy")
        return found

    def are_back(self, since: float) -> bool:
        """Have all resources under test been registered since then, and their lists come?"""
        return not self.not_back(since)

    def not_back(self, since: float) -> list[ResourceName]:
        """The resources under test for which that is not so."""
        return [resource for resource in self.resources if not self.is_back(resource, since)]

    def is_back(self, resource: ResourceName, since: float) -> bool:
        had_devices = any(event.devices for _, event in self.seen(DeviceListReceived, of=resource))
        lists = self.seen(DeviceListReceived, since=since, of=resource)
        has_devices = bool(lists and (lists[-1][1].devices or not had_devices))
        return bool(self.seen(PluginRegistered, since=since, of=resource) and has_devices)

    def served(self) -> list[ResourceName]:
        """The resources under test that once had a list."""
        return [resource for resource in self.resources if self.seen(DeviceListReceived, of=resource)]
