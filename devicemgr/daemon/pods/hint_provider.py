"""What the Topology Manager needs from every manager of resources.

The kubelet has three hint providers: the Device Manager, the CPU Manager and the Memory Manager. Here the Device
Manager is the only one (``allocator``). Another one implements these methods, and is passed to the Topology Manager
after it.

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
        """Do what takes long before hints for these containers. Called each time before hints are requested."""

    def get_topology_hints(self, admission: PodAdmission, container: Container) -> Hints:
        """By resource, on which NUMA nodes one container could be served now. For the scope *container*."""

    def get_pod_topology_hints(self, admission: PodAdmission) -> Hints:
        """By resource, on which NUMA nodes all containers together could be served now. For the scope *pod*."""

    async def allocate(self, admission: PodAdmission, container: Container) -> None:
        """Give the container its resources, on the nodes ``admission.affinities[container.name]`` if possible.

        What is free may have changed since the hints, because the providers before it may have awaited. Adds to
        ``admission.undo`` how to release what it takes. Raises AllocationRefused or PluginUnavailable.
        """
