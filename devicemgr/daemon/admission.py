"""Admission: may this pod run here, and with which devices? Plan → ask → commit.

Device lists may arrive between any two awaits, so nothing that was computed before an await is used after it: the
plan is made again after the plug-in's advice, and ``commit`` looks again after its answer.

A pod is admitted whole or not at all. What it takes is noted as it takes it, and a refusal gives exactly that back
(ALLOC-5, LIM-26): what an already running pod of the same uid held before is not touched.

# Decision: pods are admitted side by side; only requests about one and the same pod wait for each other. The kubelet
# admits one pod at a time under one lock, so a plug-in that hangs stops the whole node (LIM-1), and a deadline alone
# would make that a minute. Reservations, made in the same breath as the plan, are what keeps two pods apart.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio

from ..core.allocation import Plan, Request, Reusable, plan_allocation
from ..core.store import DeviceStore
from ..errors import AllocationRefused, PluginUnavailable, Refused
from ..events import (
    PodAdmitted,
    PodRefused,
    PodRemoved,
)
from ..model import (
    Admission,
    Container,
    DeviceId,
    Owner,
    Pod,
    PodUid,
    ResourceName,
    RunOptions,
)
from .container_start import ContainerStarts
from .endpoints import Endpoints
from .event_log import EventLog

_Answers = dict[ResourceName, tuple[tuple[DeviceId, ...], RunOptions]]
"""By resource: the devices that were asked for, and the plug-in's answer."""
UNEXPECTED = "UnexpectedAdmissionError"
"""The reason of every refusal that is an allocation error (ALLOC-20)."""


class Admissions:
    """Admits and removes pods, on one store and the plug-ins of ``endpoints``; ``starts`` starts what is admitted."""

    def __init__(self, *, store: DeviceStore, endpoints: Endpoints, starts: ContainerStarts, log: EventLog) -> None:
        self._starts = starts
        self._store = store
        self._endpoints = endpoints
        self._log = log
        self._pods: dict[PodUid, Pod] = {}
        self._asking: dict[PodUid, Pod] = {}  # being admitted now
        self._turns: dict[PodUid, trio.Lock] = {}  # queues in order of arrival, not guards of state

    @property
    def pods(self) -> tuple[Pod, ...]:
        return tuple(self._pods.values())

    def find(self, namespace: str, name: str) -> Pod | None:
        return next((p for p in self._pods.values() if (p.namespace, p.name) == (namespace, name)), None)

    async def admit(self, pod: Pod, *, start: bool = True) -> Admission:
        """Allocate for every container in start order; with ``start`` also start them.

        A pod that is already admitted keeps its devices (ALLOC-6f). Source: ALLOC-2, ALLOC-5, ALLOC-20.
        """
        async with self._turn_of(pod.uid):
            try:
                self._check_identity(pod)
                self._asking[pod.uid] = pod
                await self._allocate_pod(pod)
            except (AllocationRefused, PluginUnavailable) as error:
                return self._refused(pod, error)
            finally:
                self._asking.pop(pod.uid, None)
            self._pods[pod.uid] = pod
            self._log.record([PodAdmitted.of(pod)])
            return await self._starts.start_pod(pod) if start else self._starts.without_starting(pod)

    async def remove(self, namespace: str, name: str) -> bool:
        """The pod has ended; its devices are free when this returns. False when there is no such pod."""
        pod = self.find(namespace, name)
        if pod is None:
            return False
        async with self._turn_of(pod.uid):
            if self._pods.pop(pod.uid, None) is None:
                return False  # somebody else was faster
            freed = self._store.remove_pod(pod.uid)
            self._log.record([PodRemoved(namespace=pod.namespace, name=pod.name, uid=pod.uid, freed=freed)])
            return True

    # --- allocation of one container ------------------------------------------------------------

    @asynccontextmanager
    async def _turn_of(self, uid: PodUid) -> AsyncIterator[None]:
        lock = self._turns.setdefault(uid, trio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked() and self._turns.get(uid) is lock:
                del self._turns[uid]

    def _check_identity(self, pod: Pod) -> None:
        """A name means one pod, and a uid too; the containers of a pod do not change."""
        known = self._pods.get(pod.uid)
        if known is not None and {c.name for c in known.containers} != {c.name for c in pod.containers}:
            raise AllocationRefused(
                f"pod {pod.full_name} is here already with other containers; remove it first", rule="GC-3"
            )
        for other in (*self._pods.values(), *self._asking.values()):
            if (other.full_name == pod.full_name) != (other.uid == pod.uid):
                raise AllocationRefused(
                    f"pod {other.full_name} with uid {other.uid} is here already; remove it first", rule="GC-3"
                )

    async def _allocate_pod(self, pod: Pod) -> None:
        """All containers in start order, or nothing: whatever ends this early gives back what was taken."""
        taken: list[tuple[Owner, ResourceName]] = []
        reusable = Reusable()
        try:
            for container in pod.containers:
                await self._allocate_container(pod, container, reusable, taken)
        except BaseException:
            self._give_back(taken)
            raise

    async def _allocate_container(
        self, pod: Pod, container: Container, reusable: Reusable, taken: list[tuple[Owner, ResourceName]]
    ) -> None:
        """All resources of one container (ALLOC-5): plan, ask side by side, commit in the order of their names."""
        owner = Owner(pod.uid, container.name)
        requests = [
            Request(owner=owner, resource=resource, count=count, reusable=frozenset(reusable.of(resource)))
            for resource, count in sorted(container.limits.items())
            if count
        ]
        for request in requests:  # all must be possible before anybody is asked
            self._plan(request)
        answers = await self._ask_all(requests, taken)
        for request in requests:
            if answer := answers.get(request.resource):
                self._log.record(self._store.commit(owner, request.resource, *answer))
        for resource, assignment in self._store.assignments(owner).items():
            reusable.after(container, resource, assignment.devices)

    async def _ask_all(self, requests: list[Request], taken: list[tuple[Owner, ResourceName]]) -> _Answers:
        """Choose, reserve and ask the plug-ins, side by side. The first failure cancels the others and is raised."""
        answers: _Answers = {}
        failures: list[AllocationRefused | PluginUnavailable] = []

        async def ask(request: Request) -> None:
            try:
                devices = (await self._advised_plan(request)).devices
                if not devices:
                    return
                self._store.reserve(request.owner, request.resource, devices)
                taken.append((request.owner, request.resource))
                answers[request.resource] = devices, await self._ask_allocate(request.resource, devices)
            except (AllocationRefused, PluginUnavailable) as error:
                failures.append(error)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for request in requests:
                nursery.start_soon(ask, request)
        if failures:
            raise failures[0]
        return answers

    async def _ask_allocate(self, resource: ResourceName, devices: tuple[DeviceId, ...]) -> RunOptions:
        answer = await self._endpoints.client_of(resource).allocate(devices)
        if answer is None:
            raise AllocationRefused(f"no containers return in allocation response of {resource}", rule="ALLOC-E10")
        return answer

    def _plan(self, request: Request, advice: Sequence[DeviceId] = ()) -> Plan:
        """The devices the container would get now. A resource nobody ever reported is refused (LIM-31)."""
        if not self._store.is_known(request.resource):
            raise AllocationRefused(
                f"resource {request.resource} is not known to this node: no device plug-in has reported devices of it",
                rule="LIM-31",
            )
        return plan_allocation(self._store, request, advice=advice)

    async def _advised_plan(self, request: Request) -> Plan:
        plan = self._plan(request)
        endpoint = self._store.endpoint(request.resource)
        if plan.question is None or endpoint is None or not endpoint.options.get_preferred_allocation_available:
            return plan
        question = plan.question
        try:
            advice = await self._endpoints.client_of(request.resource).get_preferred_allocation(
                question.available, question.must_include, question.size
            )
        except PluginUnavailable as error:
            raise AllocationRefused(
                f"device plugin GetPreferredAllocation rpc failed with err: {error}", rule="ALLOC-E11"
            ) from error
        return self._plan(request, advice)

    def _give_back(self, taken: list[tuple[Owner, ResourceName]]) -> None:
        for owner, resource in taken:
            self._store.release(owner, resource)

    def _refused(self, pod: Pod, error: Refused | PluginUnavailable) -> Admission:
        """The kubelet's wording (ALLOC-20)."""
        message = f"Pod was rejected: Allocate failed due to {error}, which is unexpected"
        rule = error.rule if isinstance(error, Refused) else "ALLOC-E9"
        self._log.record(
            [
                PodRefused(
                    namespace=pod.namespace,
                    name=pod.name,
                    uid=pod.uid,
                    reason=UNEXPECTED,
                    message=message,
                    rule=rule,
                )
            ]
        )
        return Admission(admitted=False, reason=UNEXPECTED, message=message)
