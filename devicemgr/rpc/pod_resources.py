"""The PodResources API, v1 and v1alpha1, as monitoring agents know it (API-5, API-6)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from ..model import ResourceName
from .stubs import v1, v1alpha1


class OnNode(Protocol):
    """One device on one NUMA node, or on none."""

    @property
    def resource(self) -> ResourceName: ...
    @property
    def device(self) -> str: ...
    @property
    def node(self) -> int | None: ...


class HeldByPod(Protocol):
    """A pod and, container by container, the devices it holds."""

    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def containers(self) -> Sequence[tuple[str, Sequence[OnNode]]]: ...


class PodResourcesApi(Protocol):
    """What the services need. Each call may raise: RateLimited, or NoSuchPod for a pod that is not here."""

    async def list_pods(self) -> Sequence[HeldByPod]: ...
    async def list_pods_v1alpha1(self) -> Sequence[HeldByPod]: ...
    async def allocatable(self) -> Sequence[OnNode]: ...
    async def get_pod(self, namespace: str, name: str) -> HeldByPod: ...


class PodResourcesService(v1.PodResourcesListerBase):
    """``/v1.PodResourcesLister`` on pod-resources/kubelet.sock."""

    def __init__(self, api: PodResourcesApi) -> None:
        self._api = api

    async def list(self, message: v1.ListPodResourcesRequest) -> v1.ListPodResourcesResponse:
        return v1.ListPodResourcesResponse(pod_resources=[_pod(pod) for pod in await self._api.list_pods()])

    async def get_allocatable_resources(
        self, message: v1.AllocatableResourcesRequest
    ) -> v1.AllocatableResourcesResponse:
        return v1.AllocatableResourcesResponse(devices=_devices(await self._api.allocatable()))

    async def get(self, message: v1.GetPodResourcesRequest) -> v1.GetPodResourcesResponse:
        pod = await self._api.get_pod(str(message.pod_namespace), str(message.pod_name))
        return v1.GetPodResourcesResponse(pod_resources=_pod(pod))


class PodResourcesServiceV1Alpha1(v1alpha1.PodResourcesListerBase):
    """``/v1alpha1.PodResourcesLister``: deprecated, and still served (PR-7)."""

    def __init__(self, api: PodResourcesApi) -> None:
        self._api = api

    async def list(self, message: v1alpha1.ListPodResourcesRequest) -> v1alpha1.ListPodResourcesResponse:
        pods = await self._api.list_pods_v1alpha1()
        return v1alpha1.ListPodResourcesResponse(pod_resources=[_pod_v1alpha1(pod) for pod in pods])


def _pod(pod: HeldByPod) -> v1.PodResources:
    containers = [v1.ContainerResources(name=name, devices=_devices(held)) for name, held in pod.containers]
    return v1.PodResources(name=pod.name, namespace=pod.namespace, containers=containers)


def _devices(devices: Iterable[OnNode]) -> list[v1.ContainerDevices]:
    return [
        v1.ContainerDevices(
            resource_name=one.resource,
            device_ids=[one.device],
            topology=None if one.node is None else v1.TopologyInfo(nodes=[v1.NumaNode(id=one.node)]),
        )
        for one in devices
    ]


def _pod_v1alpha1(pod: HeldByPod) -> v1alpha1.PodResources:
    containers = [
        v1alpha1.ContainerResources(
            name=name,
            devices=[v1alpha1.ContainerDevices(resource_name=one.resource, device_ids=[one.device]) for one in held],
        )
        for name, held in pod.containers
    ]
    return v1alpha1.PodResources(name=pod.name, namespace=pod.namespace, containers=containers)
