"""What the Topology Manager asks of every manager that gives resources to containers.

The kubelet has three: the Device Manager, the CPU Manager and the Memory Manager. Here the Device Manager is the only
one (``allocator``), and another can stand beside it: it implements these methods, and is passed to the Topology
Manager after the first.

    hints of all providers ──merge──▶ one affinity ──policy──▶ allocation by every provider, in their order
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ...core.topology.hints import Hints
from ...model import Container
from .pod_admission import PodAdmission


class HintProvider(Protocol):
    """One manager of resources. Source: the kubelet's ``cm/topologymanager/topology_manager.go``."""

    # Decision: one method more than the kubelet's interface has. The kubelet holds a lock while it admits a pod; here
    # other pods are admitted meanwhile, and what a provider knows may change wherever it awaits. So the hints of all
    # providers are collected without awaiting, and what takes long is done before.
    async def prepare(self, containers: Sequence[Container]) -> None:
        """Make it cheap to have hints for these containers. Called each time before hints are asked for."""

    def get_topology_hints(self, admission: PodAdmission, container: Container) -> Hints:
        """By resource, on which NUMA nodes one container could be served now. For the scope *container*."""

    def get_pod_topology_hints(self, admission: PodAdmission) -> Hints:
        """By resource, on which NUMA nodes all containers together could be served now. For the scope *pod*."""

    async def allocate(self, admission: PodAdmission, container: Container) -> None:
        """Give the container its resources, on the nodes ``admission.affinities[container.name]`` if possible.

        It looks again at what is free: other providers may have awaited since they gave their hints. For whatever it
        takes it adds a release to ``admission.undo``. Raises AllocationRefused or PluginUnavailable.
        """
