"""A manager for callers outside of its Trio program: the same methods, typed alike, without ``await``.

Made by ``portal.manager(…)``; any thread may call. A test compares every signature with the original's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from ...arguments import Count, FiniteSeconds, Seconds, checked
from ...core.views.pod_resources import DeviceOnNode, PodResourcesEntry
from ...core.views.task_tree import TaskTree
from ...model import (
    INJECTED_ERROR,
    Container,
    ContainerRun,
    EffectiveSettings,
    Fault,
    NodeStatus,
    Pod,
    PodAdmitResult,
    PodStatus,
    Registration,
    ResourceCounts,
    ResourceName,
    Times,
)
from ...resource_names import ExtendedResource
from ..event_log import RecordedEvent
from ..faults.actions import Faults
from ..layout import Layout
from ..manager import DeviceManager
from ..pods.pod_resources import PodResources

P = ParamSpec("P")
T = TypeVar("T")


class Program(Protocol):
    """The Trio program in which a manager runs, as a portal gives access to it from other threads."""

    @overload
    def call(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    def submit(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...
    @overload
    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...
    def enter(self, manager: AbstractAsyncContextManager[T]) -> AbstractContextManager[T]: ...


class BlockingManager:
    """A :class:`~devicemgr.DeviceManager`, in whose class each method is documented."""

    def __init__(self, portal: Program, target: DeviceManager) -> None:
        self._portal = portal
        self._target = target
        self.layout: Layout = target.layout
        self.faults = BlockingFaults(portal, target.faults)

    def __repr__(self) -> str:
        return f"<blocking {self._target!r}>"

    @property
    def pod_resources(self) -> BlockingPodResources:
        return BlockingPodResources(self._portal, self._portal.call(lambda: self._target.pod_resources))

    def capacity(self) -> dict[ResourceName, ResourceCounts]:
        return self._portal.call(self._target.capacity)

    def pods(self) -> list[PodStatus]:
        return self._portal.call(self._target.pods)

    def node_status(self, node: NodeStatus | None = None) -> NodeStatus:
        return self._portal.call(self._target.node_status, node)

    def settings(self) -> EffectiveSettings:
        return self._portal.call(self._target.settings)

    def explain(self, namespace: str, name: str) -> dict[str, Any] | None:
        return self._portal.call(self._target.explain, namespace, name)

    def task_tree(self) -> TaskTree:
        return self._portal.call(self._target.task_tree)

    def events(self) -> list[RecordedEvent]:
        return self._portal.call(self._target.events)

    def register(self, registration: Registration) -> None:
        self._portal.call(self._target.register, registration)

    def admit(self, pod: Pod | Mapping[str, Any] | str, *, start: bool = True) -> PodAdmitResult:
        admission: PodAdmitResult = self._portal.call(self._target.admit, pod, start=start)
        return admission

    def start_container(self, pod: Pod, container: Container) -> ContainerRun:
        return self._portal.call(self._target.start_container, pod, container)

    def remove(self, namespace: str, name: str) -> bool:
        return self._portal.call(self._target.remove, namespace, name)

    @checked
    def retain(self, uids: Iterable[str]) -> list[Pod]:
        return self._portal.call(self._target.retain, list(uids))

    def acknowledge_removed(self, resource: str) -> None:
        self._portal.call(self._target.acknowledge_removed, resource)

    def acknowledge_reset(self) -> None:
        self._portal.call(self._target.acknowledge_reset)

    def flush(self) -> None:
        self._portal.call(self._target.flush)

    def wait_for_resource(
        self,
        resource: ExtendedResource,
        *,
        capacity: Count | None = None,
        allocatable: Count | None = None,
        timeout: Seconds = 10.0,
    ) -> ResourceCounts:
        wait = partial(self._target.wait_for_resource, capacity=capacity, allocatable=allocatable, timeout=timeout)
        return self._portal.call(wait, resource)

    def events_after(self, sequence: Count, *, wait: bool) -> Sequence[tuple[int, Mapping[str, Any]]]:
        return self._portal.call(self._target.events_after, sequence, wait=wait)


class BlockingFaults:
    """``manager.faults``."""

    def __init__(self, portal: Program, target: Faults) -> None:
        self._portal = portal
        self._target = target

    def restart(self, *, delay: FiniteSeconds = 0.0) -> None:
        self._portal.call(self._target.restart, delay=delay)

    def wipe(self) -> None:
        self._portal.call(self._target.wipe)

    def drop_connection(self, resource: str) -> None:
        self._portal.call(self._target.drop_connection, resource)

    def stop_reading(self, resource: str) -> None:
        self._portal.call(self._target.stop_reading, resource)

    def resume_reading(self, resource: str) -> None:
        self._portal.call(self._target.resume_reading, resource)

    def refuse_registrations(self, *, times: Times = 1, resource: str | None = None) -> None:
        self._portal.call(self._target.refuse_registrations, times=times, resource=resource)

    def accept_registrations(self) -> None:
        self._portal.call(self._target.accept_registrations)

    def refuse_same_socket(self) -> None:
        self._portal.call(self._target.refuse_same_socket)

    def accept_same_socket(self) -> None:
        self._portal.call(self._target.accept_same_socket)

    def delay_calls(self, call: str, seconds: Seconds, *, times: Times = 1, resource: str | None = None) -> None:
        self._portal.call(self._target.delay_calls, call, seconds, times=times, resource=resource)

    def fail_calls(
        self, call: str, *, error: str = INJECTED_ERROR, times: Times = 1, resource: str | None = None
    ) -> None:
        self._portal.call(self._target.fail_calls, call, error=error, times=times, resource=resource)

    def expire_grace(self) -> None:
        self._portal.call(self._target.expire_grace)

    def corrupt_checkpoint(self) -> None:
        self._portal.call(self._target.corrupt_checkpoint)

    def freeze_clock(self) -> None:
        self._portal.call(self._target.freeze_clock)

    def resume_clock(self) -> None:
        self._portal.call(self._target.resume_clock)

    def advance_clock(self, seconds: FiniteSeconds) -> None:
        self._portal.call(self._target.advance_clock, seconds)

    def inject(self, fault: Fault) -> None:
        self._portal.call(self._target.inject, fault)


class BlockingPodResources:
    """``manager.pod_resources``."""

    def __init__(self, portal: Program, target: PodResources) -> None:
        self._portal = portal
        self._target = target

    def list_pods(self) -> tuple[PodResourcesEntry, ...]:
        return self._portal.call(self._target.list_pods)

    def list_pods_v1alpha1(self) -> tuple[PodResourcesEntry, ...]:
        return self._portal.call(self._target.list_pods_v1alpha1)

    def allocatable(self) -> tuple[DeviceOnNode, ...]:
        return self._portal.call(self._target.allocatable)

    def get_pod(self, namespace: str, name: str) -> PodResourcesEntry:
        return self._portal.call(self._target.get_pod, namespace, name)
