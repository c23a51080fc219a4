"""Device health in a pod's status: ``status.containerStatuses[].allocatedResourcesStatus`` (RHS-1…RHS-3).

Of every container, init containers and sidecars included; a device is Unknown when its plug-in is gone or no longer
lists it (LIM-7). Resources and ids are sorted, so that the same state reads the same (LIM-20).
"""

from __future__ import annotations

from ...model import ContainerStatus, DeviceId, Owner, PodStatus
from ...steps import Steps, in_chunks
from ..devices.pod_devices import Assignment, ordering
from ..devices.resource import Reported, health_of
from ..devices.store import DeviceStore


def pod_statuses(store: DeviceStore) -> Steps[list[PodStatus]]:
    """Of the admitted pods, oldest first, as they are now: what is looked up is looked up in the first step."""
    held = [
        (pod, [(one.name, sorted(store.assignments(Owner(pod.uid, one.name)).items())) for one in pod.containers])
        for pod in store.pods
    ]
    names = {name for _, containers in held for _, assignments in containers for name, _ in assignments}
    reported = {name: store.reported(name) for name in names}
    yield
    statuses = []
    for pod, containers in held:
        found = []
        for name, assignments in containers:
            health = {}
            for resource, assignment in assignments:
                health[resource] = yield from _health(assignment, reported[resource])
            found.append(ContainerStatus(name=name, health=health))
        statuses.append(PodStatus(namespace=pod.namespace, name=pod.name, uid=pod.uid, containers=tuple(found)))
    return statuses


def _health(assignment: Assignment, reported: Reported) -> Steps[dict[DeviceId, str]]:
    found: dict[DeviceId, str] = {}
    for ids in in_chunks((yield from ordering(assignment.devices))):
        found |= health_of(ids, reported)
        yield
    return found
