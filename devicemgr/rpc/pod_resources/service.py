"""The PodResources API, v1 and v1alpha1, as the manager serves it to monitoring agents (API-5, API-6).

While nothing changes, :class:`PodResourcesApi` returns the same object, and every caller gets the same encoded bytes.
An answer is assembled from the cached bytes of each resource and each NUMA node: a message object for each of 10,000
devices would take a third of a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from typing import Any, Protocol

from ...concurrency.steps import Steps, in_chunks
from ...concurrency.turns import run_in_turns
from ...model import ResourceName
from ..encoded import Encoded
from ..stubs import v1, v1alpha1
from ..wire_format import EncodedMessage, field_of_bytes


class ContainerDevices(Protocol):
    """One entry of a container: a device on one NUMA node, or on none."""

    @property
    def resource(self) -> ResourceName: ...
    @property
    def device(self) -> str: ...
    @property
    def node(self) -> int | None: ...


class PodResources(Protocol):
    """A pod and, container by container, the devices it holds."""

    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def containers(self) -> Sequence[tuple[str, Sequence[ContainerDevices]]]: ...


class PodResourcesApi(Protocol):
    """What the services need. Calls may raise RateLimited, and ``get_pod`` NoSuchPod.

    A returned object never changes, so the same object means the same answer.
    """

    async def list_pods(self) -> Sequence[PodResources]: ...
    async def list_pods_v1alpha1(self) -> Sequence[PodResources]: ...
    async def allocatable(self) -> Sequence[ContainerDevices]: ...
    async def get_pod(self, namespace: str, name: str) -> PodResources: ...


class PodResourcesService(v1.PodResourcesListerBase):
    """``/v1.PodResourcesLister`` on pod-resources/kubelet.sock."""

    def __init__(self, api: PodResourcesApi) -> None:
        self._api = api
        self._list: Encoded[PodResources] = Encoded(_pods)
        self._allocatable: Encoded[ContainerDevices] = Encoded(partial(_devices, 1))

    async def list(self, message: v1.ListPodResourcesRequest) -> Any:
        return EncodedMessage(await run_in_turns(self._list.of(await self._api.list_pods())))

    async def get_allocatable_resources(self, message: v1.AllocatableResourcesRequest) -> Any:
        return EncodedMessage(await run_in_turns(self._allocatable.of(await self._api.allocatable())))

    async def get(self, message: v1.GetPodResourcesRequest) -> Any:
        pod = await self._api.get_pod(str(message.pod_namespace), str(message.pod_name))
        return EncodedMessage(field_of_bytes(1, await run_in_turns(_pod(pod))))


class PodResourcesServiceV1Alpha1(v1alpha1.PodResourcesListerBase):
    """``/v1alpha1.PodResourcesLister``: deprecated, and still served (PR-7)."""

    def __init__(self, api: PodResourcesApi) -> None:
        self._api = api
        self._list: Encoded[PodResources] = Encoded(partial(_pods, topology=False))

    async def list(self, message: v1alpha1.ListPodResourcesRequest) -> Any:
        return EncodedMessage(await run_in_turns(self._list.of(await self._api.list_pods_v1alpha1())))


def _pods(pods: Iterable[PodResources], *, topology: bool = True) -> Steps[bytes]:
    parts = []
    for pod in pods:
        parts.append(field_of_bytes(1, (yield from _pod(pod, topology=topology))))
        yield
    return b"".join(parts)


def _pod(pod: PodResources, *, topology: bool = True) -> Steps[bytes]:
    """The two versions have the same fields, except for the NUMA nodes."""
    parts = [bytes(v1.PodResources(name=pod.name, namespace=pod.namespace))]
    for name, held in pod.containers:
        devices = yield from _devices(2, held, topology=topology)
        parts.append(field_of_bytes(3, bytes(v1.ContainerResources(name=name)) + devices))
    return b"".join(parts)


def _devices(number: int, devices: Iterable[ContainerDevices], *, topology: bool = True) -> Steps[bytes]:
    """The devices, as fields with this number."""
    parts: list[bytes] = []
    for some in in_chunks(devices):
        parts += [
            field_of_bytes(
                number,
                _resource(one.resource)
                + field_of_bytes(2, one.device.encode())
                + (_topology(one.node) if topology and one.node is not None else b""),
            )
            for one in some
        ]
        yield
    return b"".join(parts)


@lru_cache
def _resource(name: ResourceName) -> bytes:
    return bytes(v1.ContainerDevices(resource_name=name))


@lru_cache
def _topology(node: int) -> bytes:
    return bytes(v1.ContainerDevices(topology=v1.TopologyInfo(nodes=[v1.NumaNode(id=node)])))
