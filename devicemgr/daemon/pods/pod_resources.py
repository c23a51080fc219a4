"""The answers of the PodResources API, from the store (PR-1…PR-7).

All methods of both versions share one rate limit; calls above it are not counted as requests (PR-2). The lists of
everything are computed once for each state of the store, and shared by all callers until it changes.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from ...arguments import checked
from ...concurrency.turns import run_in_turns
from ...core.devices.store import DeviceStore
from ...core.views.pod_resources import (
    V1_KINDS,
    V1ALPHA1_KINDS,
    DeviceOnNode,
    PodResourcesEntry,
    allocatable_devices,
    devices_of_pod,
    named_pods,
)
from ...errors import NoSuchPod, RateLimited
from ...events import PodResourcesCalled
from ..access.rate_limit import TokenBucket
from ..cached_view import CachedView
from ..event_log import EventLog

RATE = 100.0
"""Calls a second, over all clients."""
BURST = 10


class PodResources:
    """Implements :class:`~devicemgr.rpc.pod_resources.service.PodResourcesApi`. Raises RateLimited above ``RATE``."""

    def __init__(self, current: Callable[[], DeviceStore], log: EventLog) -> None:
        self._current = current
        self._log = log
        self._bucket = TokenBucket(RATE, BURST)
        self._pods: CachedView[tuple[PodResourcesEntry, ...]] = CachedView(lambda store: named_pods(store, V1_KINDS))
        self._pods_v1alpha1: CachedView[tuple[PodResourcesEntry, ...]] = CachedView(
            lambda store: named_pods(store, V1ALPHA1_KINDS)
        )
        self._allocatable: CachedView[tuple[DeviceOnNode, ...]] = CachedView(allocatable_devices)

    async def list_pods(self) -> tuple[PodResourcesEntry, ...]:
        """Every admitted pod, with its sidecars and main containers (PR-3)."""
        self._count("list", "v1")
        return await run_in_turns(self._pods.steps(self._current()))

    async def list_pods_v1alpha1(self) -> tuple[PodResourcesEntry, ...]:
        """Every admitted pod, with its main containers (PR-7)."""
        self._count("list", "v1alpha1")
        return await run_in_turns(self._pods_v1alpha1.steps(self._current()))

    async def allocatable(self) -> tuple[DeviceOnNode, ...]:
        """Every healthy device (PR-5)."""
        self._count("get_allocatable", "v1")
        return await run_in_turns(self._allocatable.steps(self._current()))

    @checked
    async def get_pod(self, namespace: str, name: str) -> PodResourcesEntry:
        """One pod. Raises NoSuchPod (PR-6)."""
        store = self._current()
        pod = store.find_pod(namespace, name) if name else None
        self._count("get", "v1", failed=pod is None)
        if pod is None:
            raise NoSuchPod(f"pod {name} in namespace {namespace} not found")
        return await run_in_turns(devices_of_pod(store, pod, V1_KINDS))

    def _count(self, method: str, version: str, *, failed: bool = False) -> None:
        self._current()  # raises when the manager has ended
        if not self._bucket.take(now=trio.current_time()):
            raise RateLimited("rejected by rate limit")
        self._log.record([PodResourcesCalled(method=method, version=version, failed=failed)])
