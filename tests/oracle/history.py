"""What has happened on the node of a story, for whoever wants to know why the sides differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .plugin import Plugin
from .story import Device, Pod, Story, resource_name

RECOVERING = ("LIM-2", "LIM-41")
"""After these the sides know the same of a resource again when its newest plug-in sends a list."""


@dataclass
class History:
    story: Story
    plugins: dict[str, Plugin] = field(default_factory=dict)
    pods: dict[str, Pod] = field(default_factory=dict)
    """Admitted on both sides and not deleted."""
    met: dict[str, Pod] = field(default_factory=dict)
    """All there have been."""
    live: list[str] = field(default_factory=list)
    """Plug-ins that have registered on both sides and have a stream, in the order of their registrations."""
    crossed: set[str] = field(default_factory=set)
    """Plug-ins that have registered while their old stream was ending."""
    failed: set[str] = field(default_factory=set)
    """Plug-ins that both sides have refused while they had a stream."""
    again: bool = False
    """Were pods admitted once more, while they ran?"""
    handed_over: bool = False
    """Has ours started with the kubelet's checkpoint, which says nothing of plug-ins' options?"""
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
    written: set[str] = field(default_factory=set)
    """Those that are spoilt because the sides have started with what they had written before. Until the next list."""

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

    def registered(self, plugin: str, *, crossing: bool = False) -> None:
        """On both sides; it is the newest of its resource, and its list is in force."""
        if crossing and plugin in self.live:
            self.crossed.add(plugin)
        self.ended(plugin)
        self.live.append(plugin)
        self._recover(plugin)

    def refused_registration(self, plugin: str) -> None:
        if plugin in self.live:
            self.failed.add(plugin)

    def listed(self, plugin: str) -> None:
        """It sent a list. In the kubelet that counts even if a newer one has sent one."""
        if plugin not in self.live:
            return
        resource = self.plugins[plugin].resource
        serving = self.serving(resource)
        newer = serving[serving.index(plugin) + 1 :]
        if all(self.plugins[one].devices is None for one in newer):
            self._recover(plugin)
        else:
            self.spoilt.setdefault(resource, "LIM-2")

    def restarted(self, unlike: set[str], *, handed_over: bool) -> None:
        """What the kubelet had forgotten or kept is forgotten, unless the checkpoints are unlike in a resource."""
        self.handed_over = handed_over
        self.live.clear()
        self.again |= bool(self.pods)
        self.spoilt = {resource: item for resource, item in self.spoilt.items() if resource in unlike}
        self.written = set(self.spoilt)

    def ended(self, plugin: str) -> None:
        """Its stream. In the kubelet its list stays, and any of the others goes on."""
        if plugin not in self.live:
            return
        resource = self.plugins[plugin].resource
        was_newest = self.serving(resource)[-1] == plugin
        self.live.remove(plugin)
        others = self.serving(resource)
        lists = [self.plugins[one].devices for one in (plugin, *others[-1:])]
        if len(others) > 1:
            self.spoilt.setdefault(resource, "LIM-40")
        elif others and was_newest and None not in lists and lists[0] != lists[1]:
            self.spoilt.setdefault(resource, "LIM-41")

    def admitted(self, pod: str) -> None:
        """What it holds may be recorded by other lists on both sides, which would be seen after they have recovered."""
        for resource in self.wanted(pod):
            if self.spoilt.get(resource) in RECOVERING:
                self.unequal.setdefault(pod, self.spoilt[resource])

    def _recover(self, plugin: str) -> None:
        """The list of the newest plug-in is in force on both sides."""
        resource = self.plugins[plugin].resource
        recovers = self.spoilt.get(resource) in RECOVERING or resource in self.written
        if recovers and self.plugins[plugin].devices is not None:
            self.spoilt.pop(resource, None)
            self.written.discard(resource)

    def serving(self, resource: str) -> list[str]:
        """Its live plug-ins, the newest last."""
        return [plugin for plugin in self.live if self.plugins[plugin].resource == resource]

    def is_listed(self, resource: str) -> bool:
        """Has a plug-in that serves it sent a list?"""
        return any(self.plugins[plugin].devices is not None for plugin in self.serving(resource))
