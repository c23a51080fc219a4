"""What has happened on the node of a story, for whoever wants to know why the sides differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .plugin import Plugin
from .story import Device, Pod, Story, resource_name


@dataclass
class History:
    story: Story
    plugins: dict[str, Plugin] = field(default_factory=dict)
    pods: dict[str, Pod] = field(default_factory=dict)
    """Admitted on both sides and not deleted."""
    met: dict[str, Pod] = field(default_factory=dict)
    """All there have been."""
    expired: set[str] = field(default_factory=set)
    """Resources whose grace period has ended once."""
    refused: set[str] = field(default_factory=set)
    """Pods that were refused on both sides in the step that is looked at."""
    unequal: dict[str, str | None] = field(default_factory=dict)
    """Pods that were not treated alike in the step that is looked at, and the item that explains it."""
    uneven: str | None = None
    """The first item by which a pod was not treated alike, up to now."""
    spoilt: dict[str, str] = field(default_factory=dict)
    """Resources of which the sides know different things, and the item that explains it."""

    @property
    def resources(self) -> set[str]:
        return {plugin.resource for plugin in self.plugins.values()}

    def wanted(self, pod: str) -> set[str]:
        """The resources that a pod asks for."""
        return {resource_name(short) for one in self.met[pod].containers for short in one.limits}

    def devices(self, resource: str) -> Iterator[Device]:
        """All that plug-ins of the resource list now."""
        for plugin in self.plugins.values():
            if plugin.resource == resource:
                yield from plugin.devices or ()

    def is_served(self, resource: str) -> bool:
        """Has any plug-in of the resource a stream?"""
        return any(
            serving.open
            for plugin in self.plugins.values()
            if plugin.resource == resource
            for serving in plugin.serving.values()
        )
