"""Wire message ↔ value, for the device plug-in API; ``admin/convert`` is for the Admin API.

betterproto2 keeps the .proto file's field names, except that ``ID`` becomes ``id``, and ``deviceIDs``
on its own ``device_i_ds``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from ...errors import RpcFailed
from ...model import (
    Answer,
    Device,
    DeviceId,
    DeviceSpec,
    Mount,
    PluginOptions,
    Registration,
    RunOptions,
)
from ..messages import checked, parsed, text
from ..stubs import v1beta1 as wire
from ..wire_format import bodies
from .methods import OPTIONS


def _texts(values: Mapping[str, str]) -> dict[str, str]:
    return {text(key): text(value) for key, value in values.items()}


class _WireMount(Protocol):
    container_path: str
    host_path: str
    read_only: bool


class _WireSpec(Protocol):
    container_path: str
    host_path: str
    permissions: str


def mounts_from_wire(messages: Iterable[_WireMount]) -> tuple[Mount, ...]:
    """From the messages of either API: they have the same fields."""
    return tuple(
        Mount(container_path=text(m.container_path), host_path=text(m.host_path), read_only=bool(m.read_only))
        for m in messages
    )


def specs_from_wire(messages: Iterable[_WireSpec]) -> tuple[DeviceSpec, ...]:
    return tuple(
        DeviceSpec(container_path=text(m.container_path), host_path=text(m.host_path), permissions=text(m.permissions))
        for m in messages
    )


def device_from_wire(message: wire.Device) -> Device:
    nodes = None if message.topology is None else tuple(int(node.id) for node in message.topology.nodes)
    return Device(id=text(message.id), health=text(message.health), numa_nodes=nodes)


def device_to_wire(device: Device) -> wire.Device:
    nodes = device.numa_nodes
    topology = None if nodes is None else wire.TopologyInfo(nodes=[wire.NumaNode(id=node) for node in nodes])
    return wire.Device(id=device.id, health=device.health, topology=topology)


def list_size(devices: Iterable[Device]) -> int:
    """How many bytes the message with this list has."""
    return len(bytes(wire.ListAndWatchResponse(devices=[device_to_wire(device) for device in devices])))


def options_from_wire(message: wire.DevicePluginOptions) -> PluginOptions:
    return PluginOptions(**{name: bool(getattr(message, name)) for name in OPTIONS})


def options_to_wire(options: PluginOptions) -> wire.DevicePluginOptions:
    return wire.DevicePluginOptions(**{name: getattr(options, name) for name in OPTIONS})


def registration_from_wire(message: wire.RegisterRequest) -> Registration:
    """Without ``options``: only the answer to GetDevicePluginOptions counts (REG-8)."""
    return Registration(
        version=text(message.version), endpoint=text(message.endpoint), resource=text(message.resource_name)
    )


def answer_from_wire(message: wire.ContainerAllocateResponse) -> RunOptions:
    return RunOptions(
        envs=_texts(message.envs),
        mounts=mounts_from_wire(message.mounts),
        device_specs=specs_from_wire(message.devices),
        annotations=_texts(message.annotations),
        cdi_devices=tuple(text(device.name) for device in message.cdi_devices),
    )


def answers_from_bytes(data: bytes) -> tuple[Answer, ...]:
    """The answers of an AllocateResponse, each with its own bytes. Raises RpcFailed."""
    try:
        raws = list(bodies(data, 1))
    except ValueError as error:
        raise RpcFailed(f"malformed AllocateResponse: {error}", status="INTERNAL") from error
    return tuple(
        Answer(options=checked(answer_from_wire, parsed(wire.ContainerAllocateResponse, raw)), raw=raw) for raw in raws
    )


def first_preference(message: wire.PreferredAllocationResponse) -> tuple[DeviceId, ...]:
    """The preferred ids for the one container in the request; empty without an answer (ALLOC-18)."""
    answers = message.container_responses
    return tuple(text(id) for id in answers[0].device_i_ds) if answers else ()


def answer_to_wire(answer: RunOptions) -> wire.ContainerAllocateResponse:
    return wire.ContainerAllocateResponse(
        envs=dict(answer.envs),
        mounts=[
            wire.Mount(container_path=one.container_path, host_path=one.host_path, read_only=one.read_only)
            for one in answer.mounts
        ],
        devices=[
            wire.DeviceSpec(container_path=one.container_path, host_path=one.host_path, permissions=one.permissions)
            for one in answer.device_specs
        ],
        annotations=dict(answer.annotations),
        cdi_devices=[wire.CdiDevice(name=name) for name in answer.cdi_devices],
    )


def answer_to_bytes(answer: RunOptions) -> bytes:
    """The answer as the checkpoint stores it (CKPT-3), when the plug-in's own bytes are not known."""
    return bytes(answer_to_wire(answer))


def answer_from_bytes(data: bytes) -> RunOptions | None:
    """A stored answer, or None when the bytes are malformed."""
    try:
        return checked(answer_from_wire, parsed(wire.ContainerAllocateResponse, data))
    except RpcFailed:  # the caller counts it
        return None
