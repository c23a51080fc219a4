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

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import trio

from ..core.allocation import Plan, Request, Reusable, plan_allocation
from ..core.run_options import merge_run_options
from ..core.store import DeviceStore, in_order
from ..errors import AllocationRefused, ContainerStartFailed, PluginUnavailable, Refused
from ..events import (
    AnswersConflicted,
    ContainerNotStarted,
    ContainerStarted,
    PodAdmitted,
    PodRefused,
    PodRemoved,
)
from ..model import (
    Admission,
    Container,
    ContainerRun,
    DeviceId,
    Owner,
    Pod,
    PodUid,
    ResourceName,
    RunOptions,
)
from ..rpc.plugin_client import PluginClient
from .endpoints import Endpoints
from .event_log import EventLog

_Answers = dict[ResourceName, tuple[tuple[DeviceId, ...], RunOptions]]
"""By resource: the devices that were asked for, and the plug-in's answer."""
UNEXPECTED = "UnexpectedAdmissionError"
"""The reason of every refusal that is an allocation error (ALLOC-20)."""


class Admissions:
    """Admits, starts and removes pods, on one store and the plug-ins of ``endpoints``."""

    def __init__(self, *, store: DeviceStore, endpoints: Endpoints, log: EventLog) -> None:
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
            return await self.start(pod) if start else self._not_started(pod)

    async def start(self, pod: Pod) -> Admission:
        """Start the containers of an admitted pod in order; the first that cannot start ends it (RUN-1, RUN-2)."""
        runs: list[ContainerRun] = []
        for container in pod.containers:
            try:
                runs.append(await self.start_container(pod, container))
            except (ContainerStartFailed, PluginUnavailable) as error:
                return Admission(
                    admitted=True,
                    containers=tuple(runs),
                    failed_container=container.name,
                    message=str(error),
                )
        return Admission(admitted=True, containers=tuple(runs))

    async def start_container(self, pod: Pod, container: Container) -> ContainerRun:
        """What the runtime adds to a container that (re)starts, after PreStartContainer where it is wanted.

        Allocate is not called again (RUN-8), and health is not looked at (RUN-4).
        Raises ContainerStartFailed (RUN-E1…E3).
        """
        owner = Owner(pod.uid, container.name)
        try:
            for resource in sorted(container.limits):
                if container.limits[resource] and self._store.is_known(resource):
                    await self._pre_start(owner, resource)
        except ContainerStartFailed as failure:
            event = ContainerNotStarted(
                pod_uid=pod.uid, container=container.name, rule=failure.rule, message=str(failure)
            )
            self._log.record([event])
            raise
        run = self._run_of(owner, record_conflicts=True)
        self._log.record([ContainerStarted(pod_uid=pod.uid, container=container.name)])
        return run

    async def remove(self, namespace: str, name: str) -> bool:
        """The pod has ended; its devices are free when this returns. False when there is no such pod."""
        pod = self.find(namespace, name)
        if pod is None:
            return False
        async with self._turn_of(pod.uid):
            if self._pods.pop(pod.uid, None) is None:
                return False  # somebody else was faster
            freed = self._store.release_pod(pod.uid)
            self._log.record([PodRemoved(namespace=pod.namespace, name=pod.name, uid=pod.uid, freed=freed)])
            return True

    def holdings_of(self, pod: Pod) -> dict[str, Mapping[ResourceName, tuple[DeviceId, ...]]]:
        """By container name: the devices it holds."""
        return {c.name: self._run_of(Owner(pod.uid, c.name)).devices for c in pod.containers}

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
        answer = await self._client_of(resource).allocate(devices)
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
            advice = await self._client_of(request.resource).get_preferred_allocation(
                question.available, question.must_include, question.size
            )
        except PluginUnavailable as error:
            raise AllocationRefused(
                f"device plugin GetPreferredAllocation rpc failed with err: {error}", rule="ALLOC-E11"
            ) from error
        return self._plan(request, advice)

    def _client_of(self, resource: ResourceName) -> PluginClient:
        client = self._endpoints.client(resource)
        if client is not None:
            return client
        endpoint = self._store.endpoint(resource)
        if endpoint is None:
            raise AllocationRefused(f"unknown Device Plugin {resource}", rule="ALLOC-E8")
        raise AllocationRefused(f"endpoint {endpoint.socket} of {resource} has been stopped", rule="ALLOC-E9")

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

    # --- start of one container ------------------------------------------------------------------

    async def _pre_start(self, owner: Owner, resource: ResourceName) -> None:
        endpoint = self._store.endpoint(resource)
        if endpoint is None:
            raise ContainerStartFailed(
                f"endpoint not found in cache for a registered resource: {resource}", rule="RUN-E3"
            )
        if not endpoint.options.pre_start_required:
            return
        record = self._store.assignments(owner).get(resource)
        if record is None:
            raise ContainerStartFailed(
                f"no devices found allocated in local cache for pod {owner.pod_uid}, "
                f"container {owner.container}, resource {resource}",
                rule="RUN-E2",
            )
        try:
            await self._client_of(resource).pre_start_container(in_order(record.devices))
        except (PluginUnavailable, AllocationRefused) as error:
            raise ContainerStartFailed(
                f"device plugin PreStartContainer rpc failed with err: {error}", rule="RUN-E1"
            ) from error

    def _not_started(self, pod: Pod) -> Admission:
        runs = tuple(self._run_of(Owner(pod.uid, c.name)) for c in pod.containers)
        return Admission(admitted=True, containers=runs)

    def _run_of(self, owner: Owner, *, record_conflicts: bool = False) -> ContainerRun:
        assignments = self._store.assignments(owner)
        answers: dict[ResourceName, RunOptions] = {name: a.answer for name, a in assignments.items()}
        options, conflicts = merge_run_options(answers)
        if record_conflicts:
            self._log.record(
                AnswersConflicted(
                    pod_uid=owner.pod_uid,
                    container=owner.container,
                    part=conflict.part,
                    key=conflict.key,
                    kept=conflict.kept,
                    ignored=conflict.ignored,
                )
                for conflict in conflicts
            )
        devices = {name: in_order(assignments[name].devices) for name in sorted(assignments)}
        return ContainerRun(name=owner.container, devices=devices, options=options)
