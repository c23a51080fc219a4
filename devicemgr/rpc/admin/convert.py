"""Wire message ↔ value, for the Admin API (``proto/devicemgr/v1``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from typing import Any

from ...model import (
    Container,
    ContainerKind,
    ContainerRun,
    DeviceId,
    EffectiveSettings,
    Fault,
    NodeStatus,
    Pod,
    PodAdmitResult,
    ResourceCounts,
    ResourceName,
    RunOptions,
)
from ..deviceplugin.convert import mounts_from_wire, specs_from_wire
from ..messages import text
from ..stubs.devicemgr import v1 as wire
from ..wire_format import unicode_text

_KINDS = {
    ContainerKind.MAIN: wire.ContainerKind.MAIN,
    ContainerKind.INIT: wire.ContainerKind.INIT,
    ContainerKind.SIDECAR: wire.ContainerKind.SIDECAR,
}
_KINDS_FROM_WIRE = {there: here for here, there in _KINDS.items()}


def pod_to_wire(pod: Pod) -> wire.Pod:
    containers = [
        wire.Container(name=c.name, kind=_KINDS[c.kind], limits={str(name): count for name, count in c.limits.items()})
        for c in pod.containers
    ]
    return wire.Pod(namespace=pod.namespace, name=pod.name, uid=pod.uid, containers=containers)


def pod_from_wire(message: wire.Pod | None) -> Pod:
    message = message or wire.Pod()
    namespace, name, uid = map(text, (message.namespace, message.name, message.uid))
    containers = tuple(map(_container_from_wire, message.containers))
    return Pod(namespace=namespace, name=name, uid=uid, containers=containers)


def _limit(resource: str, count: object) -> int:
    if not isinstance(count, int) or count < 0:
        raise ValueError(f"{count!r} is not a number of devices of {resource}")
    return count


def _container_from_wire(message: wire.Container) -> Container:
    if message.kind not in _KINDS_FROM_WIRE:
        raise ValueError(f"{message.kind!r} is not a kind of container")
    limits = {text(name): _limit(name, count) for name, count in message.limits.items()}
    return Container(name=text(message.name), kind=_KINDS_FROM_WIRE[message.kind], limits=limits)


def _ids_to_wire(devices: Mapping[ResourceName, tuple[DeviceId, ...]]) -> dict[str, wire.DeviceIds]:
    return {name: wire.DeviceIds(ids=list(ids)) for name, ids in devices.items()}


def _ids_from_wire(devices: Mapping[str, wire.DeviceIds]) -> dict[ResourceName, tuple[DeviceId, ...]]:
    return {name: tuple(value.ids) for name, value in devices.items()}


def run_to_wire(run: ContainerRun) -> wire.ContainerRun:
    options = run.options
    return wire.ContainerRun(
        name=run.name,
        devices=_ids_to_wire(run.devices),
        envs=dict(options.envs),
        mounts=[wire.Mount(**asdict(mount)) for mount in options.mounts],
        device_specs=[wire.DeviceSpec(**asdict(spec)) for spec in options.device_specs],
        annotations=dict(options.annotations),
        cdi_devices=list(options.cdi_devices),
    )


def run_from_wire(message: wire.ContainerRun) -> ContainerRun:
    options = RunOptions(
        envs=dict(message.envs),
        mounts=mounts_from_wire(message.mounts),
        device_specs=specs_from_wire(message.device_specs),
        annotations=dict(message.annotations),
        cdi_devices=tuple(message.cdi_devices),
    )
    return ContainerRun(name=message.name, devices=_ids_from_wire(message.devices), options=options)


def admission_to_wire(admission: PodAdmitResult) -> wire.AdmitResponse:
    containers = [run_to_wire(run) for run in admission.containers]
    message = unicode_text(admission.message)
    return wire.AdmitResponse(**_fields_of_same_name(PodAdmitResult, admission, containers=containers, message=message))


def admission_from_wire(message: wire.AdmitResponse) -> PodAdmitResult:
    return PodAdmitResult(
        **_fields_of_same_name(PodAdmitResult, message, containers=tuple(map(run_from_wire, message.containers)))
    )


def counts_to_wire(capacity: Mapping[ResourceName, ResourceCounts]) -> list[wire.ResourceStatus]:
    return [
        wire.ResourceStatus(name=name, **asdict(counts) | {"standbys": list(map(unicode_text, counts.standbys))})
        for name, counts in capacity.items()
    ]


def counts_from_wire(messages: Iterable[wire.ResourceStatus]) -> dict[ResourceName, ResourceCounts]:
    return {
        m.name: ResourceCounts(**_fields_of_same_name(ResourceCounts, m, standbys=tuple(m.standbys))) for m in messages
    }


def node_status_to_wire(status: NodeStatus) -> wire.NodeStatusResponse:
    return wire.NodeStatusResponse(
        capacity=dict(status.capacity),
        allocatable=dict(status.allocatable),
        removed=list(status.removed),
        reset=status.reset,
    )


def node_status_from_wire(message: wire.NodeStatusResponse) -> NodeStatus:
    return NodeStatus(
        capacity=dict(message.capacity),
        allocatable=dict(message.allocatable),
        removed=tuple(message.removed),
        reset=bool(message.reset),
    )


_MAPS = ("gates", "peer_limits", "node_resources")


def settings_to_wire(settings: EffectiveSettings) -> wire.EffectiveSettings:
    numa_nodes, maps = list(settings.numa_nodes), {name: dict(getattr(settings, name)) for name in _MAPS}
    return wire.EffectiveSettings(**_fields_of_same_name(EffectiveSettings, settings, numa_nodes=numa_nodes, **maps))


def settings_from_wire(message: wire.EffectiveSettings | None) -> EffectiveSettings:
    """Peer limits are doubles on the wire; those that are whole numbers become int again."""
    message = message or wire.EffectiveSettings()
    peer_limits = {name: int(value) if value.is_integer() else value for name, value in message.peer_limits.items()}
    numa_nodes, maps = tuple(message.numa_nodes), {name: dict(getattr(message, name)) for name in _MAPS}
    return EffectiveSettings(
        **_fields_of_same_name(EffectiveSettings, message, numa_nodes=numa_nodes, **maps | {"peer_limits": peer_limits})
    )


def fault_to_wire(fault: Fault) -> wire.InjectFaultRequest:
    values = asdict(fault)
    return wire.InjectFaultRequest(fault=values.pop("name"), **values)


def fault_from_wire(message: wire.InjectFaultRequest) -> Fault:
    return Fault(
        name=str(message.fault),
        resource=str(message.resource),
        call=str(message.call),
        times=int(message.times) or 1,  # 0: not set
        seconds=float(message.seconds),
        error=str(message.error),
    )


def _fields_of_same_name(kind: type[Any], source: object, **others: Any) -> dict[str, Any]:
    """A value for each field of ``kind``: from ``others``, or the attribute of ``source`` with the same name."""
    return {one.name: getattr(source, one.name) for one in fields(kind)} | others
