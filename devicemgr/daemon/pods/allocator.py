"""The Device Manager as a hint provider: where its devices are, and their allocation: plan → reserve → ask → commit.

Device lists may arrive between any two awaits, so nothing computed before an await is used after it: the plan is made
again after GetPreferredAllocation, and ``commit`` checks again after Allocate. No other pod can take what is reserved,
so the devices on the nodes of the affinity stay available.

Every reservation adds its release to ``admission.undo``, for the case that the admission fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import trio

from ...concurrency.task_descriptions import describes_task
from ...concurrency.turns import run_in_turns
from ...core.allocation.container_options import suspicious_texts
from ...core.allocation.explanation import LISTED, ResourceExplanation
from ...core.allocation.plan import Plan, PreferredAllocationRequest, Request, plan_allocation
from ...core.devices.store import DeviceStore
from ...core.topology.hints import Hints, absent_nodes, container_hints, pod_hints
from ...core.topology.numa import Numa
from ...errors import AllocationRefused, PluginUnavailable
from ...events import AllocateAnswerFlagged
from ...model import Answer, Container, DeviceId, Owner, ResourceName
from ..access.control import AccessControl
from ..event_log import EventLog
from ..plugins.endpoints import Endpoints
from .hint_provider import HintProvider
from .pod_admission import PodAdmission

_Reserved = tuple[Plan, PreferredAllocationRequest | None]
"""What is reserved, and the request for GetPreferredAllocation, if the plug-in offers it."""
_Answers = dict[ResourceName, tuple[tuple[DeviceId, ...], Answer]]
"""By resource: the devices that were asked for, and the plug-in's answer."""


class Allocator(HintProvider):
    """Allocates containers' devices on one store, with the plug-ins of ``endpoints``, on a machine with ``numa``."""

    def __init__(
        self, *, store: DeviceStore, endpoints: Endpoints, access: AccessControl, log: EventLog, numa: Numa
    ) -> None:
        self._store = store
        self._endpoints = endpoints
        self._log = log
        self._access = access
        self._numa = numa

    async def prepare(self, containers: Sequence[Container]) -> None:
        """Sort the devices to choose from, in turns with other tasks, which a long list would keep waiting."""
        await run_in_turns(self._store.sorting({name for container in containers for name in container.limits}))

    def get_topology_hints(self, admission: PodAdmission, container: Container) -> Hints:
        owner = Owner(admission.pod.uid, container.name)
        reusable = {resource: frozenset(admission.reusable.of(resource)) for resource in container.limits}
        return self._explained(admission, container_hints(self._store, owner, container, reusable, self._numa))

    def get_pod_topology_hints(self, admission: PodAdmission) -> Hints:
        return self._explained(admission, pod_hints(self._store, admission.pod, self._numa))

    def _explained(self, admission: PodAdmission, hints: Hints) -> Hints:
        admission.explanation.absent_nodes.update(absent_nodes(self._store, hints, self._numa))
        return hints

    async def allocate(self, admission: PodAdmission, container: Container) -> None:
        """All resources of one container (ALLOC-5): plan, ask side by side, commit in the order of their names.

        Raises AllocationRefused or PluginUnavailable; ``admission`` can then roll back what was reserved until then.
        """
        owner = Owner(admission.pod.uid, container.name)
        requests = self._requests(admission, container, owner)
        # All are reserved before any plug-in is asked: no other pod can take meanwhile what the hints counted on.
        reserved = [self._reserve(admission, container, request) for request in requests]
        answers = await self._ask_all(admission, container, reserved)
        for request in requests:
            if request.resource in answers:
                devices, answer = answers[request.resource]
                self._access.check_answers(request.resource, len(answer.raw), self._store.answers_size)
                self._log.record(self._store.commit(owner, request.resource, devices, answer.options, raw=answer.raw))
        for resource, assignment in self._store.assignments(owner).items():
            admission.reusable.update_after(container, resource, assignment.devices)

    def _requests(self, admission: PodAdmission, container: Container, owner: Owner) -> list[Request]:
        """The requests to plug-ins. A resource that the node lists without having any, or has without a plug-in, is
        left to the fit check (ALLOC-5b). One that was never reported is refused here; the kubelet would start the pod
        without it (LIM-31)."""
        requests = []
        for resource, count in sorted(container.limits.items()):
            if not count:
                continue
            if self._store.is_known(resource):
                requests.append(
                    Request(
                        owner=owner,
                        resource=resource,
                        count=count,
                        reusable=frozenset(admission.reusable.of(resource)),
                        affinity=admission.affinities.get(container.name),
                        is_aligned=container.name in admission.aligned,
                        is_running=admission.is_running,
                    )
                )
            elif (there := self._store.node_has(resource)) is not None:
                admission.explanation_of(container).resources[resource].node_resource = there
                admission.node_resources.add(resource)
            elif not self._store.is_published(resource):
                raise AllocationRefused(
                    f"resource {resource} is not known to this node: no device plug-in has reported devices of it "
                    f"(if the node has it without one, declare it: --node-resource {resource}=COUNT or, in a cluster, "
                    "in the status of the Node)",
                    rule="LIM-31",
                )
        return requests

    @describes_task(waits_for="the other plug-ins' answers")
    async def _ask_all(self, admission: PodAdmission, container: Container, reserved: list[_Reserved]) -> _Answers:
        """Ask the plug-ins, side by side. The first failure cancels the others and is raised."""
        answers: _Answers = {}
        failures: list[AllocationRefused | PluginUnavailable] = []

        async def ask(plan: Plan, question: PreferredAllocationRequest | None) -> None:
            try:
                if question is not None:
                    plan = await self._plan_as_preferred(admission, container, plan.request, question)
                if not plan.devices:
                    return
                resource = plan.request.resource
                answer = await self._ask_allocate(resource, plan.devices)
                _explanation_of(admission, container, plan.request).answered(answer.options)
                answers[resource] = plan.devices, answer
            except (AllocationRefused, PluginUnavailable) as error:
                failures.append(error)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for plan, question in reserved[1:]:
                nursery.start_soon(ask, plan, question, name=f"ask for {plan.request.resource}")
            for plan, question in reserved[:1]:  # most containers have one, and need no task for it
                await ask(plan, question)
        if failures:
            raise failures[0]
        return answers

    async def _ask_allocate(self, resource: ResourceName, devices: tuple[DeviceId, ...]) -> Answer:
        answer = await self._endpoints.client_of(resource).allocate(devices)
        if answer is None:
            raise AllocationRefused(f"no containers return in allocation response of {resource}", rule="ALLOC-E10")
        if suspicious := suspicious_texts(answer.options):  # reported, and passed on as in the kubelet
            self._log.record([AllocateAnswerFlagged(resource=resource, texts=suspicious)])
        return answer

    def _plan(
        self, admission: PodAdmission, container: Container, request: Request, preferred: Sequence[DeviceId] = ()
    ) -> Plan:
        """The devices the container would get now."""
        explanation = _explanation_of(admission, container, request)
        try:
            plan = plan_allocation(self._store, request, preferred=preferred)
        except AllocationRefused:
            explanation.refused(self._store, request.resource)
            raise
        explanation.planned(plan)
        return plan

    def _reserve(self, admission: PodAdmission, container: Container, request: Request) -> _Reserved:
        plan = self._plan(admission, container, request)
        endpoint, question = self._store.endpoint(request.resource), plan.preferred_request
        if endpoint is None or not endpoint.options.get_preferred_allocation_available:
            question = None
        if question is not None:
            question = replace(question, available=tuple(question.available))  # as it is before the reservation
        if plan.devices:
            self._store.reserve(request.owner, request.resource, plan.devices)
            admission.undo.callback(self._store.release, request.owner, request.resource)
        return plan, question

    async def _plan_as_preferred(
        self,
        admission: PodAdmission,
        container: Container,
        request: Request,
        question: PreferredAllocationRequest,
    ) -> Plan:
        """Call GetPreferredAllocation; then plan again, and reserve that instead."""
        try:
            preferred = await self._endpoints.client_of(request.resource).get_preferred_allocation(
                tuple(question.available), question.must_include, question.size
            )
        except PluginUnavailable as error:
            raise AllocationRefused(
                f"device plugin GetPreferredAllocation rpc failed with err: {error.rpc_error}", rule="ALLOC-E11"
            ) from error
        _explanation_of(admission, container, request).preferred_allocation = preferred[:LISTED]
        self._store.release(request.owner, request.resource)
        plan = self._plan(admission, container, request, preferred)
        self._store.reserve(request.owner, request.resource, plan.devices)
        return plan


def _explanation_of(admission: PodAdmission, container: Container, request: Request) -> ResourceExplanation:
    return admission.explanation_of(container).resources[request.resource]
