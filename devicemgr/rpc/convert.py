"""Wire message ↔ value, both ways, for the device plug-in API and for our own service.

betterproto2 keeps the .proto file's field names, except that ``ID`` becomes ``id`` and ``deviceIDs``,
standing alone, ``device_i_ds``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from ..errors import PluginUnavailable
from ..model import (
    Admission,
    Container,
    ContainerKind,
    ContainerRun,
    ContainerStatus,
    Device,
    DeviceId,
    DeviceSpec,
    Mount,
    NodeStatus,
    PluginOptions,
    Pod,
    PodStatus,
    PodUid,
    Registration,
    ResourceCounts,
    ResourceName,
    RunOptions,
)
from .stubs import v1beta1 as plugin
from .stubs.devicemgr import v1 as own

M = TypeVar("M")
V = TypeVar("V")


def checked(convert: Callable[[M], V], message: M) -> V:
    """``convert(message)``; a field of another type than the .proto file says is the sender's failure.

    betterproto2 takes what the bytes say: an integer where a text belongs, None for a group. Raises PluginUnavailable.
    """
    try:
        return convert(message)
    except (TypeError, ValueError, AttributeError) as error:
        raise PluginUnavailable(f"malformed {type(message).__name__}: {error}", outcome="INTERNAL") from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text is expected, not {value!r}")
    return value


def _texts(values: Mapping[str, str]) -> dict[str, str]:
    return {_text(key): _text(value) for key, value in values.items()}


# --- deviceplugin v1beta1 ------------------------------------------------------------------------


def device_from_wire(message: plugin.Device) -> Device:
    nodes = None if message.topology is None else tuple(int(node.id) for node in message.topology.nodes)
    return Device(id=DeviceId(_text(message.id)), health=_text(message.health), numa_nodes=nodes)


def devices_from_wire(message: plugin.ListAndWatchResponse) -> list[Device]:
    return [device_from_wire(device) for device in message.devices]


def device_to_wire(device: Device) -> plugin.Device:
    nodes = device.numa_nodes
    topology = None if nodes is None else plugin.TopologyInfo(nodes=[plugin.NumaNode(id=node) for node in nodes])
    return plugin.Device(id=device.id, health=device.health, topology=topology)


def options_from_wire(message: plugin.DevicePluginOptions) -> PluginOptions:
    return PluginOptions(
        pre_start_required=bool(message.pre_start_required),
        get_preferred_allocation_available=bool(message.get_preferred_allocation_available),
    )


def options_to_wire(options: PluginOptions) -> plugin.DevicePluginOptions:
    return plugin.DevicePluginOptions(
        pre_start_required=options.pre_start_required,
        get_preferred_allocation_available=options.get_preferred_allocation_available,
    )


def registration_from_wire(message: plugin.RegisterRequest) -> Registration:
    """``options`` is left behind on purpose: only the plug-in's own answer counts (REG-8)."""
    return Registration(
        version=_text(message.version), endpoint=_text(message.endpoint), resource=_text(message.resource_name)
    )


def answer_from_wire(message: plugin.ContainerAllocateResponse) -> RunOptions:
    return RunOptions(
        envs=_texts(message.envs),
        mounts=tuple(
            Mount(container_path=_text(m.container_path), host_path=_text(m.host_path), read_only=bool(m.read_only))
            for m in message.mounts
        ),
        device_specs=tuple(
            DeviceSpec(
                container_path=_text(d.container_path),
                host_path=_text(d.host_path),
                permissions=_text(d.permissions),
            )
            for d in message.devices
        ),
        annotations=_texts(message.annotations),
        cdi_devices=tuple(_text(device.name) for device in message.cdi_devices),
    )


def first_answer(message: plugin.AllocateResponse) -> RunOptions | None:
    """The answer for the one container we asked for; more are ignored (ALLOC-5h), none is None."""
    return answer_from_wire(message.container_responses[0]) if message.container_responses else None


def first_preference(message: plugin.PreferredAllocationResponse) -> tuple[DeviceId, ...]:
    """The preferred ids for the one container we asked for; none when there is no answer (ALLOC-18)."""
    answers = message.container_responses
    return tuple(DeviceId(_text(id)) for id in answers[0].device_i_ds) if answers else ()


def answer_to_wire(answer: RunOptions) -> plugin.ContainerAllocateResponse:
    return plugin.ContainerAllocateResponse(
        envs=dict(answer.envs),
        mounts=[
            plugin.Mount(container_path=m.container_path, host_path=m.host_path, read_only=m.read_only)
            for m in answer.mounts
        ],
        devices=[
            plugin.DeviceSpec(container_path=d.container_path, host_path=d.host_path, permissions=d.permissions)
            for d in answer.device_specs
        ],
        annotations=dict(answer.annotations),
        cdi_devices=[plugin.CdiDevice(name=name) for name in answer.cdi_devices],
    )


def answer_to_bytes(answer: RunOptions) -> bytes:
    """The answer as the checkpoint stores it (CKPT-3)."""
    return bytes(answer_to_wire(answer))


def answer_from_bytes(data: bytes) -> RunOptions | None:
    """A stored answer, or None when these bytes are none."""
    try:
        return answer_from_wire(plugin.ContainerAllocateResponse.parse(data))
    except Exception:  # whatever a decoder raises on bytes that are no message; the caller counts it
        return None


# --- devicemgr v1 --------------------------------------------------------------------------------

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
    containers = tuple(
        Container(
            name=c.name,
            kind=_KINDS_BACK[c.kind],
            limits={ResourceName(name): count for name, count in c.limits.items()},
        )
        for c in message.containers
    )
    return Pod(namespace=message.namespace, name=message.name, uid=PodUid(message.uid), containers=containers)


def _ids_to_wire(devices: Mapping[ResourceName, tuple[DeviceId, ...]]) -> dict[str, own.DeviceIds]:
    return {name: own.DeviceIds(ids=list(ids)) for name, ids in devices.items()}


def _ids_from_wire(devices: Mapping[str, own.DeviceIds]) -> dict[ResourceName, tuple[DeviceId, ...]]:
    return {ResourceName(name): tuple(DeviceId(id) for id in value.ids) for name, value in devices.items()}


def run_to_wire(run: ContainerRun) -> own.ContainerRun:
    options = run.options
    return own.ContainerRun(
        name=run.name,
        devices=_ids_to_wire(run.devices),
        envs=dict(options.envs),
        mounts=[
            own.Mount(container_path=m.container_path, host_path=m.host_path, read_only=m.read_only)
            for m in options.mounts
        ],
        device_specs=[
            own.DeviceSpec(container_path=d.container_path, host_path=d.host_path, permissions=d.permissions)
            for d in options.device_specs
        ],
        annotations=dict(options.annotations),
        cdi_devices=list(options.cdi_devices),
    )


def run_from_wire(message: own.ContainerRun) -> ContainerRun:
    options = RunOptions(
        envs=dict(message.envs),
        mounts=tuple(
            Mount(container_path=m.container_path, host_path=m.host_path, read_only=m.read_only) for m in message.mounts
        ),
        device_specs=tuple(
            DeviceSpec(container_path=d.container_path, host_path=d.host_path, permissions=d.permissions)
            for d in message.device_specs
        ),
        annotations=dict(message.annotations),
        cdi_devices=tuple(message.cdi_devices),
    )
    return ContainerRun(name=message.name, devices=_ids_from_wire(message.devices), options=options)


def admission_to_wire(admission: Admission) -> own.AdmitResponse:
    return own.AdmitResponse(
        admitted=admission.admitted,
        reason=admission.reason,
        message=admission.message,
        containers=[run_to_wire(run) for run in admission.containers],
        failed_container=admission.failed_container,
    )


def admission_from_wire(message: own.AdmitResponse) -> Admission:
    return Admission(
        admitted=message.admitted,
        reason=message.reason,
        message=message.message,
        containers=tuple(run_from_wire(run) for run in message.containers),
        failed_container=message.failed_container,
    )


def counts_to_wire(capacity: Mapping[ResourceName, ResourceCounts]) -> list[own.ResourceStatus]:
    return [
        own.ResourceStatus(
            name=name,
            capacity=counts.capacity,
            allocatable=counts.allocatable,
            allocated=counts.allocated,
            available=counts.available,
            endpoint=counts.endpoint,
        )
        for name, counts in capacity.items()
    ]


def counts_from_wire(messages: Iterable[own.ResourceStatus]) -> dict[ResourceName, ResourceCounts]:
    return {
        ResourceName(m.name): ResourceCounts(
            capacity=m.capacity,
            allocatable=m.allocatable,
            allocated=m.allocated,
            available=m.available,
            endpoint=m.endpoint,
        )
        for m in messages
    }


def pods_to_wire(pods: Iterable[PodStatus]) -> list[own.PodStatus]:
    return [
        own.PodStatus(
            namespace=pod.namespace,
            name=pod.name,
            uid=pod.uid,
            containers=[_container_status_to_wire(container) for container in pod.containers],
        )
        for pod in pods
    ]


def _container_status_to_wire(container: ContainerStatus) -> own.ContainerStatus:
    return own.ContainerStatus(
        name=container.name,
        allocated_resources_status=[
            own.AllocatedResourceStatus(
                name=name,
                resources=[own.ResourceHealth(resource_id=id, health=health) for id, health in devices.items()],
            )
            for name, devices in container.health.items()
        ],
    )


def pods_from_wire(messages: Iterable[own.PodStatus]) -> list[PodStatus]:
    return [
        PodStatus(
            namespace=m.namespace,
            name=m.name,
            uid=PodUid(m.uid),
            containers=tuple(
                ContainerStatus(
                    name=c.name,
                    health={
                        ResourceName(status.name): {DeviceId(one.resource_id): one.health for one in status.resources}
                        for status in c.allocated_resources_status
                    },
                )
                for c in m.containers
            ),
        )
        for m in messages
    ]


def node_status_to_wire(status: NodeStatus) -> own.NodeStatusResponse:
    return own.NodeStatusResponse(
        capacity=dict(status.capacity), allocatable=dict(status.allocatable), removed=list(status.removed)
    )


def node_status_from_wire(message: own.NodeStatusResponse) -> NodeStatus:
    return NodeStatus(
        capacity=dict(message.capacity), allocatable=dict(message.allocatable), removed=tuple(message.removed)
    )
