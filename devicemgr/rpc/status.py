"""The answer to Status, which has every device that any pod holds: 200,000 of them are put together, and taken apart
again, in a second. As a message object for each, which is what betterproto2 makes, they take eight, each way.

What has no device in it is left to betterproto2. So the bytes are those of the .proto file, for whoever asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from ..errors import PluginUnavailable
from ..model import (
    ContainerStatus,
    DeviceId,
    EffectiveSettings,
    PodStatus,
    ResourceCounts,
    ResourceName,
)
from ..steps import Steps, in_chunks
from . import convert, convert_own
from .stubs.devicemgr import v1 as own
from .wire_format import EncodedMessage, field_of_bytes, split

_PODS, _CONTAINERS, _RESOURCES, _DEVICES = 2, 4, 3, 2
"""Numbers of the fields that lead to the devices, from the whole answer inwards."""
_ID, _HEALTH = 1, 2
_TAG_OF_ID = _ID << 3 | 2


def encoding(
    capacity: Mapping[ResourceName, ResourceCounts], pods: Iterable[PodStatus], settings: EffectiveSettings
) -> Steps[EncodedMessage]:
    """The answer, in steps."""
    head = own.StatusResponse(
        resources=convert_own.counts_to_wire(capacity), settings=convert_own.settings_to_wire(settings)
    )
    parts = [bytes(head)]
    for pod in pods:
        parts.append(field_of_bytes(_PODS, (yield from _pod(pod))))
        yield
    return EncodedMessage(b"".join(parts))


def _pod(pod: PodStatus) -> Steps[bytes]:
    parts = [bytes(own.PodStatus(namespace=pod.namespace, name=pod.name, uid=pod.uid))]
    for container in pod.containers:
        inner = [bytes(own.ContainerStatus(name=container.name))]
        for resource, devices in container.health.items():
            inner.append(field_of_bytes(_RESOURCES, (yield from _resource(resource, devices))))
        parts.append(field_of_bytes(_CONTAINERS, b"".join(inner)))
    return b"".join(parts)


def _resource(name: ResourceName, devices: Mapping[DeviceId, str]) -> Steps[bytes]:
    parts = [bytes(own.AllocatedResourceStatus(name=name))]
    for some in in_chunks(devices.items()):
        parts += [field_of_bytes(_DEVICES, field_of_bytes(_ID, id.encode()) + _health(health)) for id, health in some]
        yield
    return b"".join(parts)


@lru_cache(maxsize=16)
def _health(health: str) -> bytes:
    return field_of_bytes(_HEALTH, health.encode())


def decoded(raw: bytes) -> tuple[dict[ResourceName, ResourceCounts], list[PodStatus], EffectiveSettings]:
    """What the answer says. Raises PluginUnavailable for bytes that are none."""
    try:
        return _decoded(raw)
    except ValueError as error:
        raise PluginUnavailable(f"malformed answer to Status: {error}", outcome="INTERNAL") from error


def _decoded(raw: bytes) -> tuple[dict[ResourceName, ResourceCounts], list[PodStatus], EffectiveSettings]:
    rest, pods = split(raw, _PODS)
    message = convert.parsed(own.StatusResponse, rest)
    counts, settings = convert_own.counts_from_wire(message.resources), message.settings
    return counts, list(map(_decoded_pod, pods)), convert_own.settings_from_wire(settings)


def _decoded_pod(raw: bytes) -> PodStatus:
    rest, containers = split(raw, _CONTAINERS)
    message = convert.parsed(own.PodStatus, rest)
    return PodStatus(
        namespace=message.namespace,
        name=message.name,
        uid=message.uid,
        containers=tuple(map(_decoded_container, containers)),
    )


def _decoded_container(raw: bytes) -> ContainerStatus:
    rest, resources = split(raw, _RESOURCES)
    name = convert.parsed(own.ContainerStatus, rest).name
    return ContainerStatus(name=name, health=dict(map(_decoded_resource, resources)))


def _decoded_resource(raw: bytes) -> tuple[ResourceName, dict[DeviceId, str]]:
    rest, devices = split(raw, _DEVICES)
    name = convert.parsed(own.AllocatedResourceStatus, rest).name
    return name, dict(map(_decoded_device, devices))


def _decoded_device(raw: bytes) -> tuple[DeviceId, str]:
    """The id comes first, with a length of one byte, and what follows is one of a few texts of bytes; any other shape
    is betterproto2's."""
    if len(raw) > 1 and raw[0] == _TAG_OF_ID and raw[1] < 128 and len(raw) >= (end := 2 + raw[1]):
        other, health = _id_and_health(raw[end:])
        if not other:
            return raw[2:end].decode(), health
    return _id_and_health(raw)


@lru_cache(maxsize=16)
def _id_and_health(raw: bytes) -> tuple[DeviceId, str]:
    message = convert.parsed(own.ResourceHealth, raw)
    return message.resource_id, message.health
