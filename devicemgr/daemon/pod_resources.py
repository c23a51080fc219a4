"""The PodResources API's questions, answered from the store and counted (section 8).

All methods of both versions share one rate limit; what it turns away is not counted as a request (PR-2).
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from ..core.pod_resources import LASTING, MAIN_ONLY, DeviceOnNode, PodDevices, allocatable_devices, devices_of_pod
from ..core.rate_limit import TokenBucket
from ..core.store import DeviceStore
from ..errors import NoSuchPod, RateLimited
from ..events import PodResourcesCalled
from ..model import ContainerKind
from .event_log import EventLog

RATE = 100.0
"""Calls a second, over all clients."""
BURST = 10


class PodResources:
    """Implements :class:`~devicemgr.rpc.pod_resources.PodResourcesApi`. Raises RateLimited above ``RATE``."""

    def __init__(self, current: Callable[[], DeviceStore], log: EventLog) -> None:
        self._current = current
        self._log = log
        self._bucket = TokenBucket(RATE, BURST)

    async def list_pods(self) -> list[PodDevices]:
        """Every pod that is here, with its sidecars and main containers (PR-3)."""
        self._count("list", "v1")
        return self._pods(LASTING)

    async def list_pods_v1alpha1(self) -> list[PodDevices]:
        """Every pod that is here, with its main containers (PR-7)."""
        self._count("list", "v1alpha1")
        return self._pods(MAIN_ONLY)

    async def allocatable(self) -> list[DeviceOnNode]:
        """Every healthy device (PR-5)."""
        self._count("get_allocatable", "v1")
        return allocatable_devices(self._current())

    async def get_pod(self, namespace: str, name: str) -> PodDevices:
        """One pod. Raises NoSuchPod (PR-6)."""
        store = self._current()
        pod = store.find_pod(namespace, name) if name else None
        self._count("get", "v1", failed=pod is None)
        if pod is None:
            raise NoSuchPod(f"pod {name} in namespace {namespace} not found")
        return devices_of_pod(store, pod, LASTING)

    def _pods(self, kinds: tuple[ContainerKind, ...]) -> list[PodDevices]:
        store = self._current()
        return [devices_of_pod(store, pod, kinds) for pod in store.pods if pod.name]

    def _count(self, method: str, version: str, *, failed: bool = False) -> None:
        self._current()  # raises when the manager has ended
        if not self._bucket.take(now=trio.current_time()):
            raise RateLimited("rejected by rate limit")
        self._log.record([PodResourcesCalled(method=method, version=version, failed=failed)])
