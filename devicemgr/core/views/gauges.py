"""Sizes, for the metrics: looked up at a scrape, where everything else is counted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ...model import ResourceCounts, ResourceName


@dataclass(frozen=True, slots=True)
class Gauge:
    """``samples`` has a value for each combination of values of the ``labels``."""

    name: str
    help: str
    labels: tuple[str, ...]
    samples: Mapping[tuple[str, ...], int]


def gauges(
    counts: Mapping[ResourceName, ResourceCounts], sockets: Mapping[str, Collection[object]], *, pods: int, tasks: int
) -> list[Gauge]:
    """``sockets`` are those of the watched directory, by the kubelet's names of what is known of them."""
    devices: dict[tuple[str, ...], int] = {
        (name, state): getattr(one, state)
        for name, one in counts.items()
        for state in ("capacity", "allocatable", "allocated", "available")
    }
    watched: dict[tuple[str, ...], int] = {(str(path), state): 1 for state, paths in sockets.items() for path in paths}
    return [
        Gauge(
            "plugin_manager_total_plugins",
            "Plug-in sockets the watcher sees and has registered.",
            ("socket_path", "state"),
            watched,
        ),
        Gauge("devicemgr_devices", "Devices by resource and state.", ("resource_name", "state"), devices),
        Gauge("devicemgr_pods", "Admitted pods.", (), {(): pods}),
        Gauge("devicemgr_tasks", "Trio tasks of the program.", (), {(): tasks}),
    ]
