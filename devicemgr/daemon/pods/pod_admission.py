"""One pod during its admission: what it was given so far, why, and how to undo it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from ...core.allocation.explanation import ContainerExplanation, Explanation
from ...core.allocation.plan import DevicesToReuse
from ...model import Container, Pod, ResourceName


@dataclass(slots=True)
class PodAdmission:
    """``is_running`` says that the pod was admitted before, so that its records are not checked again (LIM-30).

    ``affinities`` are the NUMA nodes that the Topology Manager chose for each container; None is any node. ``aligned``
    are the containers that fit on these as well as they could on any. ``undo`` takes a callback for everything that
    must be released when the admission fails. ``node_resources`` are the requested resources that the node has without
    a plug-in.
    """

    pod: Pod
    explanation: Explanation
    is_running: bool = False
    undo: ExitStack = field(default_factory=ExitStack)
    affinities: dict[str, frozenset[int] | None] = field(default_factory=dict)
    aligned: set[str] = field(default_factory=set)
    reusable: DevicesToReuse = field(default_factory=DevicesToReuse)
    node_resources: set[ResourceName] = field(default_factory=set)

    @classmethod
    def without_explanation(cls, pod: Pod, container: Container) -> PodAdmission:
        """For an allocation at the start of a container, whose explanation is not kept."""
        return cls(pod, Explanation.about(replace(pod, containers=(container,)), time=0.0))

    def explanation_of(self, container: Container) -> ContainerExplanation:
        return self.explanation.containers[container.name]

    def roll_back(self) -> None:
        """Release everything that was allocated, the last first."""
        self.undo.close()
