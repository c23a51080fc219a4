"""The answer to Status, which lists every allocated device: perhaps 200,000.

Serialised messages, concatenated, are one message whose repeated fields have the entries of all. So betterproto2
encodes the answer in steps, one pod or some devices at a time; with one message per device it would take four times as
long. While nothing changes, the part about pods is encoded once for all callers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ...concurrency.steps import SMALL_CHUNK, Steps, in_chunks
from ...model import (
    HEALTHY,
    UNHEALTHY,
    UNKNOWN,
    ContainerStatus,
    DeviceId,
    EffectiveSettings,
    PodStatus,
    ResourceCounts,
    ResourceName,
)
from ..encoded import Encoded
from ..stubs.devicemgr import v1 as wire
from ..wire_format import EncodedMessage
from . import convert

_HEALTHS = {
    HEALTHY: wire.HealthStatus.HEALTHY,
    UNHEALTHY: wire.HealthStatus.UNHEALTHY,
    UNKNOWN: wire.HealthStatus.UNKNOWN,
}
_HEALTHS_FROM_WIRE = {there: here for here, there in _HEALTHS.items()}


class Encoder:
    """Encodes the answers of one service."""

    def __init__(self) -> None:
        self._pods: Encoded[PodStatus] = Encoded(_pods)

    def encoding(
        self, capacity: Mapping[ResourceName, ResourceCounts], pods: Sequence[PodStatus], settings: EffectiveSettings
    ) -> Steps[EncodedMessage]:
        """The answer, in steps. Passing the same ``pods`` object again means that it has not changed."""
        head = wire.StatusResponse(
            resources=convert.counts_to_wire(capacity), settings=convert.settings_to_wire(settings)
        )
        return EncodedMessage(bytes(head) + (yield from self._pods.of(pods)))


def _pods(pods: Iterable[PodStatus]) -> Steps[bytes]:
    parts = []
    for pod in pods:
        containers = [wire.ContainerStatus(name=one.name) for one in pod.containers]
        names = wire.PodStatus(namespace=pod.namespace, name=pod.name, uid=pod.uid, containers=containers)
        parts.append(bytes(wire.StatusResponse(pods=[names])))
        yield
        for container in pod.containers:
            for resource, devices in container.health.items():
                for some in in_chunks(devices.items(), SMALL_CHUNK) if devices else [[]]:
                    entry = wire.PodDevicesEntry(
                        pod_uid=pod.uid,
                        container_name=container.name,
                        resource_name=resource,
                        device_ids=[id for id, _ in some],
                        health=[_HEALTHS[health] for _, health in some],
                    )
                    parts.append(bytes(wire.StatusResponse(pod_devices=[entry])))
                    yield
    return b"".join(parts)


def decoded(
    message: wire.StatusResponse,
) -> tuple[dict[ResourceName, ResourceCounts], list[PodStatus], EffectiveSettings]:
    """The values in the answer. Raises ValueError when it is inconsistent."""
    health = _health_by_container(message)
    pods = [
        PodStatus(
            namespace=pod.namespace,
            name=pod.name,
            uid=pod.uid,
            containers=tuple(
                ContainerStatus(name=one.name, health=health[pod.uid, one.name]) for one in pod.containers
            ),
        )
        for pod in message.pods
    ]
    return convert.counts_from_wire(message.resources), pods, convert.settings_from_wire(message.settings)


def _health_by_container(
    message: wire.StatusResponse,
) -> dict[tuple[str, str], dict[ResourceName, dict[DeviceId, str]]]:
    """By pod uid and container name, the health of each device. A health that this version does not know is Unknown."""
    found: dict[tuple[str, str], dict[ResourceName, dict[DeviceId, str]]] = {
        (pod.uid, container.name): {} for pod in message.pods for container in pod.containers
    }
    for entry in message.pod_devices:
        container = found.get((entry.pod_uid, entry.container_name))
        if container is None:
            raise ValueError(f"there is no container {entry.container_name!r} of a pod with uid {entry.pod_uid!r}")
        devices = container.setdefault(entry.resource_name, {})
        healths = (_HEALTHS_FROM_WIRE.get(health, UNKNOWN) for health in entry.health)
        devices.update(zip(entry.device_ids, healths, strict=True))
    return found
