"""The Topology Manager: the hints of all providers → one affinity → allocation by every provider (TM-14).

Scope *container* decides container by container, each after the one before has its resources; scope *pod* decides
once. With the policy *none* nothing is decided, and one NUMA node is as good as another.

Affinities are kept in the :class:`PodAdmission`, so a refused pod leaves nothing behind (LIM-19). In pod scope, too,
resources are allocated at admission (LIM-21).
"""

from __future__ import annotations

from collections.abc import Sequence

from ...core.allocation.explanation import AlignmentExplanation, ContainerExplanation, Explanation
from ...core.topology.alignment import align
from ...core.topology.hints import Hints
from ...core.topology.numa import nodes_of
from ...core.topology.policy import Policy, Scope, Topology
from ...errors import AdmissionRefused
from ...events import PodAligned
from ...model import Container
from ..event_log import EventLog
from .hint_provider import HintProvider
from .pod_admission import PodAdmission

AFFINITY_ERROR = "TopologyAffinityError"
NOT_ALIGNED = "Resources cannot be allocated with Topology locality"


class TopologyManager:
    """Allocates whole pods by one topology policy. ``providers`` are asked in this order (ALLOC-3)."""

    def __init__(self, providers: Sequence[HintProvider], log: EventLog, topology: Topology) -> None:
        self._providers = tuple(providers)
        self._log = log
        self._topology = topology

    async def allocate_pod(self, admission: PodAdmission) -> None:
        """Every container in start order. Raises AllocationRefused, with reason TopologyAffinityError for a refusal
        of the policy, or PluginUnavailable."""
        containers = admission.pod.containers
        if once := self._topology.scope is Scope.POD and not admission.is_running:
            await self._prepare(containers)
            hints = [provider.get_pod_topology_hints(admission) for provider in self._providers]
            self._align(admission, hints, containers, admission.explanation)
        for container in containers:
            await self.allocate_container(admission, container)
        if once:
            self._record_aligned(admission, aligned=True)

    async def allocate_container(self, admission: PodAdmission, container: Container) -> None:
        """One container; with the scope *container* it is aligned by itself. Raises as :meth:`allocate_pod` does."""
        await self._prepare((container,))
        if each := self._topology.scope is Scope.CONTAINER and not admission.is_running:
            hints = [provider.get_topology_hints(admission, container) for provider in self._providers]
            self._align(admission, hints, (container,), admission.explanation_of(container))
        for provider in self._providers:
            await provider.allocate(admission, container)
        if each:
            self._record_aligned(admission, aligned=True)

    async def _prepare(self, containers: Sequence[Container]) -> None:
        for provider in self._providers:
            await provider.prepare(containers)

    def _align(
        self,
        admission: PodAdmission,
        hints: Sequence[Hints],
        containers: Sequence[Container],
        explanation: Explanation | ContainerExplanation,
    ) -> None:
        """Set the affinity of these containers, or refuse the pod if the result is not good enough (TM-15)."""
        alignment = align(self._topology, hints)
        explanation.alignment = AlignmentExplanation.of(alignment, {k: v for one in hints for k, v in one.items()})
        if not alignment.is_decided:
            raise AdmissionRefused(f"{NOT_ALIGNED}: {alignment.because}", rule="TM-4", reason=AFFINITY_ERROR)
        if not alignment.admit:
            self._record_aligned(admission, aligned=False)
            raise AdmissionRefused(NOT_ALIGNED, rule="TM-13", reason=AFFINITY_ERROR)
        mask = alignment.hint.affinity
        for container in containers:
            admission.affinities[container.name] = None if mask is None else frozenset(nodes_of(mask))
            if alignment.hint.preferred:
                admission.aligned.add(container.name)

    def _record_aligned(self, admission: PodAdmission, *, aligned: bool) -> None:
        """Only this policy promises one node. A success is recorded once the devices are allocated."""
        if self._topology.policy is Policy.SINGLE_NUMA_NODE:
            scope = self._topology.scope.value
            self._log.record([PodAligned(pod_uid=admission.pod.uid, scope=scope, aligned=aligned)])
