"""The Topology Manager's part of an admission: hints → one affinity → allocation by it (TM-14).

Scope *container* decides container by container, each after the one before has its devices; scope *pod* decides once.
With the policy *none* nothing is decided and every device is as good as another.

Affinities live as long as the admission: nothing is left behind when a pod is refused (LIM-19). In pod scope too the
devices are allocated here, at admission (LIM-21).
"""

from __future__ import annotations

from collections.abc import Sequence

from ...core.allocation.explanation import AlignmentExplanation
from ...core.devices.store import DeviceStore
from ...core.topology.hints import Hints, absent_nodes, container_hints, pod_hints
from ...core.topology.numa import nodes_of
from ...core.topology.policy import Alignment, Policy, Scope, Topology, align
from ...errors import AdmissionRefused
from ...events import PodAligned
from ...model import Container, Owner
from ...turns import run_in_turns
from ..event_log import EventLog
from .allocator import Allocator
from .pod_admission import PodAdmission

AFFINITY_ERROR = "TopologyAffinityError"
NOT_ALIGNED = "Resources cannot be allocated with Topology locality"


class TopologyManager:
    """Allocates whole pods by one topology policy."""

    def __init__(self, store: DeviceStore, allocator: Allocator, log: EventLog, topology: Topology) -> None:
        self._store = store
        self._allocator = allocator
        self._log = log
        self._topology = topology

    async def allocate_pod(self, admission: PodAdmission) -> None:
        """Every container in start order. Raises AllocationRefused, with reason TopologyAffinityError for a refusal
        of the policy, or PluginUnavailable."""
        pod = admission.pod
        await self._sort(pod.containers)
        if once := self._topology.scope is Scope.POD and not admission.is_running:
            hints = pod_hints(self._store, pod, self._topology.numa)
            alignment = align(self._topology, [hints])
            self._explain_absent_nodes(admission, hints)
            admission.explanation.alignment = AlignmentExplanation.of(alignment, hints)
            self._accept(admission, alignment, pod.containers)
        for container in pod.containers:
            await self.allocate_container(admission, container)
        if once:
            self._record_aligned(admission, aligned=True)

    async def allocate_container(self, admission: PodAdmission, container: Container) -> None:
        """One container, aligned by itself where the scope says so. Raises as :meth:`allocate_pod` does."""
        await self._sort((container,))
        if each := self._topology.scope is Scope.CONTAINER and not admission.is_running:
            self._align_container(admission, container)
        await self._allocator.allocate(admission, container)
        if each:
            self._record_aligned(admission, aligned=True)

    async def _sort(self, containers: Sequence[Container]) -> None:
        """Put what they may choose from in order: of a long list, everybody else would have to wait for that."""
        await run_in_turns(self._store.sorting({name for container in containers for name in container.limits}))

    def _align_container(self, admission: PodAdmission, container: Container) -> None:
        owner = Owner(admission.pod.uid, container.name)
        reusable = {resource: frozenset(admission.reusable.of(resource)) for resource in container.limits}
        hints = container_hints(self._store, owner, container, reusable, self._topology.numa)
        alignment = align(self._topology, [hints])
        self._explain_absent_nodes(admission, hints)
        admission.explanation_of(container).alignment = AlignmentExplanation.of(alignment, hints)
        self._accept(admission, alignment, (container,))

    def _explain_absent_nodes(self, admission: PodAdmission, hints: Hints) -> None:
        admission.explanation.absent_nodes.update(absent_nodes(self._store, hints, self._topology.numa))

    def _accept(self, admission: PodAdmission, alignment: Alignment, containers: Sequence[Container]) -> None:
        """The affinity counts for these containers; a result that is not good enough refuses the pod (TM-15)."""
        if not alignment.is_decided:
            raise AdmissionRefused(f"{NOT_ALIGNED}: {alignment.because}", rule="TM-4", reason=AFFINITY_ERROR)
        if not alignment.admit:
            self._record_aligned(admission, aligned=False)
            raise AdmissionRefused(NOT_ALIGNED, rule="TM-13", reason=AFFINITY_ERROR)
        mask = alignment.hint.affinity
        for container in containers:
            admission.affinities[container.name] = None if mask is None else frozenset(nodes_of(mask))

    def _record_aligned(self, admission: PodAdmission, *, aligned: bool) -> None:
        """Only this policy promises one node. A success counts when the devices are there, not when planned."""
        if self._topology.policy is Policy.SINGLE_NUMA_NODE:
            scope = self._topology.scope.value
            self._log.record([PodAligned(pod_uid=admission.pod.uid, scope=scope, aligned=aligned)])
