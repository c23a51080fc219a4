"""Device health in a pod's status: ``status.containerStatuses[].allocatedResourcesStatus`` (RHS-1…RHS-3).

Of every container, init containers and sidecars included; a device is Unknown when its plug-in is gone or no longer
lists it (LIM-7). Resources and ids are sorted, so that the same state reads the same (LIM-20).
"""

from __future__ import annotations

from ..model import ContainerStatus, Owner, Pod, PodStatus
from .holdings import in_order
from .store import DeviceStore


def pod_status(store: DeviceStore, pod: Pod) -> PodStatus:
    containers = tuple(_container(store, Owner(pod.uid, container.name)) for container in pod.containers)
    return PodStatus(namespace=pod.namespace, name=pod.name, uid=pod.uid, containers=containers)


def _container(store: DeviceStore, owner: Owner) -> ContainerStatus:
    return ContainerStatus(
        name=owner.container,
        health={
            resource: store.health_of(resource, in_order(assignment.devices))
            for resource, assignment in sorted(store.assignments(owner).items())
        },
    )
