"""Admission: may this pod run here, and with which devices?

In this order: is its uid another pod's (GC-3) → wait for plug-ins that are expected back (LIM-32) → align on NUMA nodes
(TM-14) and allocate, container by container → does it fit (ALLOC-1) → is it on disk (ALLOC-5i). A pod is admitted whole
or not at all: a refusal at any of these steps releases exactly what was taken (ALLOC-5, LIM-26).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress

import trio

from ...concurrency.task_descriptions import describes_task
from ...core.allocation.explanation import Explanation
from ...core.devices.pod_devices import pod_request
from ...core.devices.store import DeviceStore
from ...core.topology.policy import Topology
from ...core.views.node_status import Quantities, first_insufficient_resource, sanitize_node_allocatable
from ...errors import (
    AdmissionRefused,
    AllocationRefused,
    CheckpointUnwritable,
    DeviceManagerError,
    PluginUnavailable,
    Refused,
    as_cause,
)
from ...events import (
    PodAdmissionCancelled,
    PodAdmissionRequested,
    PodAdmitted,
    PodRefused,
    PodRemoved,
    PodWaiting,
)
from ...model import Container, ContainerRun, Pod, PodAdmitResult, PodUid, ResourceName
from ..checkpoint.writer import CheckpointWriter
from ..event_log import EventLog
from .container_start import ContainerStarter
from .explanations import Explanations
from .pod_admission import PodAdmission
from .topology_manager import TopologyManager

UNEXPECTED = "UnexpectedAdmissionError"
"""The reason of every refusal that is an allocation error (ALLOC-20)."""


class PodAdmitHandler:
    """Admits, starts and removes pods. New pods wait for plug-ins that are expected back until
    ``plugin_wait_deadline``."""

    # Decision: pods are admitted concurrently; only requests about the same pod wait for each other. The kubelet admits
    # one pod at a time under one lock, so a plug-in that hangs stops the whole node (LIM-1), for a minute even if calls
    # have a deadline. Two pods do not get the same device because each plan is reserved before the next await.

    def __init__(
        self,
        *,
        store: DeviceStore,
        topology_manager: TopologyManager,
        starter: ContainerStarter,
        writer: CheckpointWriter,
        log: EventLog,
        topology: Topology,
        plugin_wait_deadline: float,
    ) -> None:
        self.explanations = Explanations()
        for pod in store.pods:
            self.explanations.record(Explanation.from_before_restart(store, pod))
        self._store = store
        self._topology_manager = topology_manager
        self._starter = starter
        self._writer = writer
        self._log = log
        self._topology = topology
        self._plugin_wait_deadline = plugin_wait_deadline
        self._pod_locks: dict[PodUid, trio.Lock] = {}  # queues in order of arrival, not guards of state

    @describes_task(about="{pod.full_name}", waits_for="an earlier request for this pod")
    async def admit(self, pod: Pod, *, start: bool = True, check: Callable[[], None] | None = None) -> PodAdmitResult:
        """Allocate for every container in start order; with ``start`` also start them. ``check`` may refuse the pod, by
        raising AdmissionRefused, where the fit check would.

        A pod that is already admitted keeps its devices (ALLOC-6f). Source: ALLOC-2, ALLOC-5, ALLOC-20.
        """
        async with self._pod_lock(pod.uid):
            explanation = Explanation.about(pod, time=time.time(), topology=self._topology)
            started = trio.current_time()
            self._log.record([_requested(pod)])
            try:
                self._check_identity(pod)
                await self._allocate_or_roll_back(self._begin(pod, explanation), check)
            except (AllocationRefused, PluginUnavailable) as error:
                return self._refused(pod, error, explanation, trio.current_time() - started)
            explanation.admitted = True
            self.explanations.record(explanation)
            self._log.record([PodAdmitted.of(pod, seconds=trio.current_time() - started)])
            return await self._starter.start_pod(pod) if start else self._starter.without_starting(pod)

    @describes_task(about="{pod.full_name}/{container.name}", waits_for="an earlier request for this pod")
    async def start_container(self, pod: Pod, container: Container) -> ContainerRun:
        """A container of an admitted pod (re)starts. Raises ContainerStartFailed."""
        async with self._pod_lock(pod.uid):
            return await self._starter.start_container(pod, container)

    @describes_task(about="{pod.full_name}", waits_for="an earlier request for this pod")
    async def remove(self, pod: Pod) -> bool:
        """The pod has ended: release its devices, on disk as well. False when there is no such pod."""
        async with self._pod_lock(pod.uid):
            is_here = self._remove(pod)
            if is_here:
                await self._flush_checkpoint()
            return is_here

    def _remove(self, pod: Pod) -> bool:
        if self._store.pod(pod.uid) is None:
            return False  # it was removed while this waited for the lock
        freed = self._store.remove_pod(pod.uid)
        self.explanations.pod_ended(pod.uid)
        self._log.record([PodRemoved(namespace=pod.namespace, name=pod.name, uid=pod.uid, freed=freed)])
        return True

    async def _flush_checkpoint(self) -> None:
        with suppress(CheckpointUnwritable):  # the writer reports it in an event, and retries
            await self._writer.flush()

    async def retain(self, uids: Iterable[PodUid]) -> list[Pod]:
        """Remove all other pods, and return them (GC-1)."""
        known = set(uids)
        gone = [pod for pod in self._store.pods if pod.uid not in known]
        busy = [pod for pod in gone if pod.uid in self._pod_locks]
        # One write for all of them: with a write for each, 10,000 pods would take minutes.
        removed = [pod for pod in gone if pod.uid not in self._pod_locks and self._remove(pod)]
        await self._flush_checkpoint()
        return removed + [pod for pod in busy if await self.remove(pod)]  # after their current requests

    @asynccontextmanager
    async def _pod_lock(self, uid: PodUid) -> AsyncIterator[None]:
        lock = self._pod_locks.setdefault(uid, trio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked() and self._pod_locks.get(uid) is lock:
                del self._pod_locks[uid]

    def _check_identity(self, pod: Pod) -> None:
        """A uid means one pod, and its name, containers and limits do not change (GC-3). Two pods may have one name: a
        pod that was deleted by force may still be ending when its successor comes."""
        known = self._store.pod(pod.uid)
        if known is None:
            return
        if known.name and known.full_name != pod.full_name:
            raise AllocationRefused(
                f"pod {known.full_name} with uid {known.uid} is admitted already; remove it first", rule="GC-3"
            )
        here = {c.name for c in known.containers}
        there = {c.name for c in pod.containers}
        # A kubelet's checkpoint names only the containers that hold something.
        if here != there if known.name else here - there:
            raise AllocationRefused(
                f"pod {pod.full_name} is admitted already with other containers; remove it first", rule="GC-3"
            )
        if known.name:
            asked = {container.name: container for container in pod.containers}
            for before in known.containers:
                _check_same(pod, before, asked[before.name])

    def _begin(self, pod: Pod, explanation: Explanation) -> PodAdmission:
        """A pod that was admitted before is running, unless the machine was rebooted since (ALLOC-10)."""
        known = self._store.pod(pod.uid)
        return PodAdmission(pod, explanation, is_running=known is not None and pod.uid not in self._store.unconfirmed)

    async def _allocate_or_roll_back(self, admission: PodAdmission, check: Callable[[], None] | None) -> None:
        """All or nothing: any exception, cancellation included, releases what was taken."""
        pod, before = admission.pod, self._store.pod(admission.pod.uid)
        try:
            await self._wait_for_plugins(admission)
            await self._topology_manager.allocate_pod(admission)
            if check is not None:
                check()
            self._check_fit(admission)
            self._store.add_pod(pod)
            await self._writer.flush()
        except BaseException as error:
            admission.roll_back()
            refused = isinstance(error, DeviceManagerError)
            if before is None:
                self._store.remove_pod(pod.uid)
            elif refused and not admission.is_running:
                self._remove(before)
            else:  # also a pod from before a reboot, when its admission was cancelled
                self._store.add_pod(before, confirmed=admission.is_running)
            if not refused:
                self._log.record([PodAdmissionCancelled(namespace=pod.namespace, name=pod.name, uid=pod.uid)])
            if isinstance(error, CheckpointUnwritable):
                raise AllocationRefused(f"failed to write checkpoint file: {error}", rule="ALLOC-E12") from error
            raise

    @describes_task(waits_for="plug-ins that are expected back")
    async def _wait_for_plugins(self, admission: PodAdmission) -> None:
        """After a restart, wait until the deadline for plug-ins that are expected back (LIM-32)."""
        pod, left = admission.pod, self._plugin_wait_deadline - trio.current_time()

        def missing() -> tuple[ResourceName, ...]:
            wanted = {resource for c in pod.containers for resource, count in c.limits.items() if count}
            return tuple(sorted(filter(self._store.is_expected_back, wanted)))

        if admission.is_running or left <= 0 or not missing():
            return
        admission.explanation.waited_for = missing()
        self._log.record(
            [
                PodWaiting(
                    namespace=pod.namespace,
                    name=pod.name,
                    uid=pod.uid,
                    resources=missing(),
                    seconds=round(left, 3),
                )
            ]
        )
        with trio.move_on_after(left):
            await self._log.wait_until(lambda: not missing())

    def _check_fit(self, admission: PodAdmission) -> None:
        """The kubelet's fit check, on what the node publishes (CAP-7…CAP-9). It comes after allocation (ALLOC-1)."""
        store, pod, requested = self._store, admission.pod, pod_request(admission.pod.containers)
        # LIM-6: a plug-in that registered meanwhile would have to be asked for a device.
        if registered := sorted(filter(store.is_known, admission.node_resources)):
            raise AllocationRefused(
                f"a device plug-in registered {registered[0]} while the pod was admitted without one", rule="LIM-6"
            )
        allocatable: Quantities = {
            name: store.counts(name).allocatable for name in requested if store.is_published(name)
        }
        own = store.request_of(pod.uid)
        used = {name: store.requested[name] - own.get(name, 0) for name in requested}
        if store.owners_of(pod.uid):
            allocatable = sanitize_node_allocatable(allocatable, {name: len(store.held(name)) for name in requested})
        if insufficient := first_insufficient_resource(dict(requested.items()), dict(used.items()), allocatable):
            raise AdmissionRefused(str(insufficient), rule="CAP-9", reason=insufficient.reason)

    def _refused(
        self, pod: Pod, error: Refused | PluginUnavailable, explanation: Explanation, seconds: float
    ) -> PodAdmitResult:
        """The kubelet's wording (ALLOC-20, TM-15)."""
        if isinstance(error, AdmissionRefused):
            reason, text = error.reason, str(error)
        else:
            reason, text = UNEXPECTED, f"Allocate failed due to {as_cause(error)}, which is unexpected"
        rule = error.rule if isinstance(error, Refused) else "ALLOC-E9"
        explanation.refuse(reason, f"Pod was rejected: {text}", rule)
        self.explanations.record(explanation)
        self._log.record(
            [
                PodRefused(
                    namespace=pod.namespace,
                    name=pod.name,
                    uid=pod.uid,
                    reason=reason,
                    message=explanation.message,
                    rule=explanation.rule,
                    seconds=round(seconds, 6),
                )
            ]
        )
        return PodAdmitResult(admitted=False, reason=reason, message=explanation.message)


def _requested(pod: Pod) -> PodAdmissionRequested:
    limits = pod_request(pod.containers)
    return PodAdmissionRequested(namespace=pod.namespace, name=pod.name, uid=pod.uid, limits=limits)


def _check_same(pod: Pod, before: Container, now: Container) -> None:
    """The API server allows no change of a container's kind, or of its limits of extended resources (ALLOC-4)."""
    if now.kind is not before.kind:
        raise AllocationRefused(
            f'pod {pod.full_name} is admitted already, and its container "{now.name}" is {before.kind.value}, '
            f"not {now.kind.value}; remove it first",
            rule="GC-3",
        )
    for resource in sorted(before.limits.keys() | now.limits.keys()):
        was, wanted = before.limits.get(resource, 0), now.limits.get(resource, 0)
        if was != wanted:
            raise AllocationRefused(
                f'pod "{pod.uid}" container "{now.name}" changed request for resource "{resource}" '
                f"from {was} to {wanted}",
                rule="ALLOC-E1",
            )
