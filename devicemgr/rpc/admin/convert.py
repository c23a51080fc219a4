"""Wire message ↔ value, both ways, for the Admin API (``proto/devicemgr/v1``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from typing import Any

from ...model import (
    Admission,
    Container,
    ContainerKind,
    ContainerRun,
    DeviceId,
    EffectiveSettings,
    Fault,
    NodeStatus,
    Pod,
    ResourceCounts,
    ResourceName,
    RunOptions,
)
from ..deviceplugin.convert import mounts_from_wire, specs_from_wire, text
from ..stubs.devicemgr import v1 as own
from ..wire_format import unicode_text

_KINDS = {
    ContainerKind.MAIN: own.ContainerKind.MAIN,
    ContainerKind.INIT: own.ContainerKind.INIT,
    ContainerKind.SIDECAR: own.ContainerKind.SIDECAR,
}
_KINDS_BACK = {wire: kind for kind, wire in _KINDS.items()}


def pod_to_wire(pod: Pod) -> own.Pod:
    containers = [
        own.Container(name=c.name, kind=_KINDS[c.kind], limits={str(name): count for name, count in c.limits.items()})
        for c in pod.containers
    ]
    return own.Pod(namespace=pod.namespace, name=pod.name, uid=pod.uid, containers=containers)


def pod_from_wire(message: own.Pod | None) -> Pod:
    message = message or own.Pod()
    namespace, name, uid = map(text, (message.namespace, message.name, message.uid))
    containers = tuple(map(_container_from_wire, message.containers))
    return Pod(namespace=namespace, name=name, uid=uid, containers=containers)


def _limit(resource: str, count: object) -> int:
    if not isinstance(count, int) or count < 0:
        raise ValueError(f"{count!r} is no number of devices of {resource}")
    return count


def _container_from_wire(message: own.Container) -> Container:
    if message.kind not in _KINDS_BACK:
        raise ValueError(f"{message.kind!r} is no kind of container")
    limits = {text(name): _limit(name, count) for name, count in message.limits.items()}
    return Container(name=text(message.name), kind=_KINDS_BACK[message.kind], limits=limits)


def _ids_to_wire(devices: Mapping[ResourceName, tuple[DeviceId, ...]]) -> dict[str, own.DeviceIds]:
    return {name: own.DeviceIds(ids=list(ids)) for name, ids in devices.items()}


def _ids_from_wire(devices: Mapping[str, own.DeviceIds]) -> dict[ResourceName, tuple[DeviceId, ...]]:
    return {name: tuple(value.ids) for name, value in devices.items()}


def run_to_wire(run: ContainerRun) -> own.ContainerRun:
    options = run.options
    return own.ContainerRun(
        name=run.name,
        devices=_ids_to_wire(run.devices),
        envs=dict(options.envs),
        mounts=[own.Mount(**asdict(mount)) for mount in options.mounts],
        device_specs=[own.DeviceSpec(**asdict(spec)) for spec in options.device_specs],
        annotations=dict(options.annotations),
        cdi_devices=list(options.cdi_devices),
    )


def run_from_wire(message: own.ContainerRun) -> ContainerRun:
    options = RunOptions(
        envs=dict(message.envs),
        mounts=mounts_from_wire(message.mounts),
        device_specs=specs_from_wire(message.device_specs),
        annotations=dict(message.annotations),
        cdi_devices=tuple(message.cdi_devices),
    )
    return ContainerRun(name=message.name, devices=_ids_from_wire(message.devices), options=options)


def admission_to_wire(admission: Admission) -> own.AdmitResponse:
    containers = [run_to_wire(run) for run in admission.containers]
    message = unicode_text(admission.message)
    return own.AdmitResponse(**_named_alike(Admission, admission, containers=containers, message=message))


def admission_from_wire(message: own.AdmitResponse) -> Admission:
    return Admission(**_named_alike(Admission, message, containers=tuple(map(run_from_wire, message.containers))))


def counts_to_wire(capacity: Mapping[ResourceName, ResourceCounts]) -> list[own.ResourceStatus]:
    return [own.ResourceStatus(name=name, **asdict(counts)) for name, counts in capacity.items()]


def counts_from_wire(messages: Iterable[own.ResourceStatus]) -> dict[ResourceName, ResourceCounts]:
    return {m.name: ResourceCounts(**_named_alike(ResourceCounts, m)) for m in messages}


def node_status_to_wire(status: NodeStatus) -> own.NodeStatusResponse:
    return own.NodeStatusResponse(
        capacity=dict(status.capacity),
        allocatable=dict(status.allocatable),
        removed=list(status.removed),
        reset=status.reset,
    )


def node_status_from_wire(message: own.NodeStatusResponse) -> NodeStatus:
    return NodeStatus(
        capacity=dict(message.capacity),
        allocatable=dict(message.allocatable),
        removed=tuple(message.removed),
        reset=bool(message.reset),
    )


_MAPS = ("gates", "bounds", "node_resources")


def settings_to_wire(settings: EffectiveSettings) -> own.EffectiveSettings:
    numa_nodes, maps = list(settings.numa_nodes), {name: dict(getattr(settings, name)) for name in _MAPS}
    return own.EffectiveSettings(**_named_alike(EffectiveSettings, settings, numa_nodes=numa_nodes, **maps))


def settings_from_wire(message: own.EffectiveSettings | None) -> EffectiveSettings:
    """A bound that came as a whole number is one again."""
    message = message or own.EffectiveSettings()
    bounds = {name: int(value) if value.is_integer() else value for name, value in message.bounds.items()}
    numa_nodes, maps = tuple(message.numa_nodes), {name: dict(getattr(message, name)) for name in _MAPS}
    return EffectiveSettings(
        **_named_alike(EffectiveSettings, message, numa_nodes=numa_nodes, **maps | {"bounds": bounds})
    )


def fault_to_wire(fault: Fault) -> own.InjectFaultRequest:
    said = asdict(fault)
    return own.InjectFaultRequest(fault=said.pop("name"), **said)


def fault_from_wire(message: own.InjectFaultRequest) -> Fault:
    return Fault(
        name=str(message.fault),
        resource=str(message.resource),
        call=str(message.call),
        times=int(message.times) or 1,  # not said
        seconds=float(message.seconds),
        error=str(message.error),
    )


def _named_alike(kind: type[Any], source: object, **others: Any) -> dict[str, Any]:
    """The fields of ``kind`` as ``source`` has them under the same names, with ``others`` in the place of some."""
    return {one.name: getattr(source, one.name) for one in fields(kind)} | others
