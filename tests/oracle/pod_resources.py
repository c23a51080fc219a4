"""What the PodResources API answers, in both versions, as values that can be compared: entries are sorted."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from devicemgr.rpc.stubs import v1, v1alpha1
from tests.grpcio_peers import OPTIONS, unary

PATIENCE = 120.0
A_TOKEN = 0.01
"""Seconds until the next call is allowed (PR-2)."""


def ask_pod_resources(socket: Path, pods: list[str]) -> dict[str, Any]:
    """``list``, ``allocatable``, ``v1alpha1``, and ``get`` of these pods in the namespace default."""
    with grpc.insecure_channel(f"unix:{socket}", options=OPTIONS) as channel:

        def ask(method: str, request: bytes = b"") -> bytes:
            return _ask(unary(channel, f"/{method}"), request)

        listed = v1.ListPodResourcesResponse.parse(ask("v1.PodResourcesLister/List"))
        older = v1alpha1.ListPodResourcesResponse.parse(ask("v1alpha1.PodResourcesLister/List"))
        allocatable = v1.AllocatableResourcesResponse.parse(ask("v1.PodResourcesLister/GetAllocatableResources"))
        got = {pod: _get(ask, pod) for pod in pods}
    return {
        "list": {pod.name: _containers(pod) for pod in listed.pod_resources},
        "v1alpha1": {pod.name: _containers(pod) for pod in older.pod_resources},
        "allocatable": _devices(allocatable.devices),
        "get": got,
    }


def _ask(method: Callable[..., bytes], request: bytes) -> bytes:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return method(request, timeout=PATIENCE)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED or time.monotonic() > deadline:
                raise
        time.sleep(A_TOKEN)


def _get(ask: Callable[[str, bytes], bytes], pod: str) -> Any:
    request = bytes(v1.GetPodResourcesRequest(pod_name=pod, pod_namespace="default"))
    try:
        answer = v1.GetPodResourcesResponse.parse(ask("v1.PodResourcesLister/Get", request))
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"
    return None if answer.pod_resources is None else _containers(answer.pod_resources)


def _containers(pod: Any) -> dict[str, Any]:
    return {
        "order": [container.name for container in pod.containers],
        "containers": {container.name: _devices(container.devices) for container in pod.containers},
    }


def _devices(entries: list[Any]) -> dict[str, list[str]]:
    """By resource: ``id``, or ``id@node``."""
    devices: dict[str, list[str]] = {}
    for one in entries:
        devices.setdefault(one.resource_name, []).append(",".join(one.device_ids) + _nodes(one))
    return {resource: sorted(ids) for resource, ids in devices.items()}


def _nodes(entry: Any) -> str:
    topology = getattr(entry, "topology", None)
    return "" if topology is None else "@" + ",".join(str(node.id) for node in topology.nodes)
