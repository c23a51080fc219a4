"""Device health in a pod's status: ``status.containerStatuses[].allocatedResourcesStatus`` (RHS-1…RHS-3).

All containers are listed, including init containers and sidecars. A device is Unknown if its plug-in has stopped or no
longer lists it (LIM-7). Resources and ids are sorted, so that equal states give equal texts (LIM-20).
"""

from __future__ import annotations

from collections.abc import Iterable

from ...concurrency.steps import Steps, in_chunks
from ...model import ContainerStatus, DeviceId, Owner, Pod, PodStatus
from ..devices.pod_devices import Assignment, ordering
from ..devices.resource import Reported, health_of
from ..devices.store import DeviceStore


def pod_statuses(store: DeviceStore, pods: Iterable[Pod] | None = None) -> Steps[list[PodStatus]]:
    """The admitted pods, oldest first, or only these, as they are now: everything is looked up in the first step."""
    held = [
        (pod, [(one.name, sorted(store.assignments(Owner(pod.uid, one.name)).items())) for one in pod.containers])
        for pod in (store.pods if pods is None else pods)
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
