"""``status --pod-resources``: what a kubelet says about its devices, and who holds them. Needs no manager.

The API says neither how many devices there are nor which of them are unhealthy, so neither is shown: only what can be
allocated, and what is held without being allocatable.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias

import click
from rich.table import Table

from ...errors import DeviceManagerError
from ...model import HEALTHY
from ...rpc.pod_resources.answers import KubeletAnswer, ListedContainer, ListedPod, ListedResources
from ...rpc.pod_resources.client import read_pod_resources
from ..shared.output import devices_cell, listing, plain

SOCKET = Path("pod-resources", "kubelet.sock")
"""Below the kubelet's root directory (PR-1)."""
Row: TypeAlias = tuple[str, str, str]
"""Resource, devices, NUMA nodes."""


async def kubelet_status(socket: Path) -> dict[str, Any]:
    """One answer, as plain data. Raises what :func:`read_pod_resources` raises."""

    def tell() -> None:
        click.echo("Waiting: the kubelet's rate limit (100 calls a second, of all clients) is reached", err=True)

    return kubelet_data(await read_pod_resources(socket, on_rate_limit=tell))


class KubeletWatch:
    """One answer after another. A kubelet that has answered once may go and come back: meanwhile, its last answer is
    shown again, with what is wrong."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._last: dict[str, Any] | None = None

    async def look(self) -> dict[str, Any]:
        try:
            self._last = kubelet_data(await read_pod_resources(self._socket))
        except DeviceManagerError as error:
            if self._last is None:
                raise
            return self._last | {"notes": [*self._last["notes"], f"This was the last answer. Now {error}"]}
        return self._last


def kubelet_data(answer: KubeletAnswer) -> dict[str, Any]:
    """The stable JSON shape. What can be allocated, and what is available, is null where the kubelet does not say."""
    there = answer.allocatable
    held: dict[str, dict[str, None]] = {}
    for container in _containers(answer):
        for resource, devices in container.held.devices.items():
            held.setdefault(resource, {}).update(dict.fromkeys(devices))
    return {
        "api": answer.api,
        "resources": {
            name: _counted(held.get(name, ()), None if there is None else there.devices.get(name, ()))
            for name in sorted({*held, *(there.devices if there else ())})
        },
        "cpus": _counted(_exclusive_cpus(answer), None if there is None else there.cpus),
        "memory": _memory(answer),
        "pods": [_pod_data(pod) for pod in answer.pods],
        "notes": [answer.reason] if answer.reason else [],
    }


def _counted(held: Collection[Any], allocatable: Collection[Any] | None) -> dict[str, Any]:
    """Counts of ids that occur once each, and two lists: what is free, and what is held without being allocatable."""
    if allocatable is None:
        unknown = dict.fromkeys(("available", "free", "not_allocatable"))
        return {"allocatable": None, "allocated": len(held), **unknown}
    taken, there = set(held), set(allocatable)
    free = [id for id in allocatable if id not in taken]
    return {
        "allocatable": len(allocatable),
        "allocated": len(held),
        "available": len(free),
        "free": free,
        "not_allocatable": [id for id in held if id not in there],
    }


def _containers(answer: KubeletAnswer) -> Iterator[ListedContainer]:
    for pod in answer.pods:
        yield from pod.containers


def _exclusive_cpus(answer: KubeletAnswer) -> list[int]:
    of_pods = {id for pod in answer.pods for id in pod.held.cpus}
    return sorted(of_pods.union(*(one.held.cpus for one in _containers(answer))))


def _memory(answer: KubeletAnswer) -> dict[str, Any]:
    """Bytes by type of memory. What a pod holds as a whole includes what its containers hold."""
    held: dict[str, int] = {}
    for pod in answer.pods:
        for block in pod.held.memory or [block for one in pod.containers for block in one.held.memory]:
            held[block.type] = held.get(block.type, 0) + block.size
    there: dict[str, int] = {}
    for block in answer.allocatable.memory if answer.allocatable else ():
        there[block.type] = there.get(block.type, 0) + block.size
    return {
        name: {
            "allocatable": there.get(name, 0) if answer.allocatable else None,
            "allocated": held.get(name, 0),
            "available": there.get(name, 0) - held.get(name, 0) if answer.allocatable else None,
        }
        for name in sorted({*held, *there})
    }


def _pod_data(pod: ListedPod) -> dict[str, Any]:
    return {
        "namespace": pod.namespace,
        "name": pod.name,
        "containers": [{"name": one.name, **_held_data(one.held)} for one in pod.containers],
        "cpu_ids": list(pod.held.cpus),
        "memory": list(map(asdict, pod.held.memory)),
    }


def _held_data(held: ListedResources) -> dict[str, Any]:
    return {
        "devices": {resource: list(devices) for resource, devices in held.devices.items()},
        "numa_nodes": {
            resource: {id: list(nodes) for id, nodes in devices.items()} for resource, devices in held.devices.items()
        },
        "cpu_ids": list(held.cpus),
        "memory": list(map(asdict, held.memory)),
        "claims": list(map(asdict, held.claims)),
    }


def kubelet_parts(data: Mapping[str, Any], *, headers: bool = True) -> tuple[list[Table], list[str]]:
    """Tables without the containers that hold nothing, which are most of them, and notes, without headers none."""
    numbers = ("allocatable", "allocated", "available")
    resources = listing("Resources", "resource", *numbers, right=numbers, headers=headers)
    for name, counts, shown in _counts(data):
        resources.add_row(name, *("unknown" if counts[key] is None else shown(counts[key]) for key in numbers))
    pods = listing("Pods", "pod", "container", "resource", "devices", "numa", headers=headers)
    idle = 0
    for pod in data["pods"]:
        rows = [*_rows_of_pod(pod, data["resources"])]
        idle += not rows
        for container, row in rows:
            pods.add_row(plain(f"{pod['namespace']}/{pod['name']}"), plain(container), *row)
    notes = [plain(note) for note in data["notes"]]
    if idle:
        notes.append(f"{idle} of {len(data['pods'])} pods hold none of these.")
    return [resources, pods], notes if headers else []


def _counts(data: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], Callable[[int], str]]]:
    """Of each row: its name, its counts, and how a count is written."""
    for name, counts in data["resources"].items():
        yield plain(name), counts, str
    if data["cpus"]["allocatable"] or data["cpus"]["allocated"]:
        yield "cpu (exclusive)", data["cpus"], str
    for name, counts in data["memory"].items():
        yield plain(name), counts, _quantity


def _rows_of_pod(pod: Mapping[str, Any], resources: Mapping[str, Any]) -> Iterator[tuple[str, Row]]:
    """Of each row: the container, and the row."""
    for container in pod["containers"]:
        for row in (*_device_rows(container, resources), *_cpu_and_memory_rows(container), *_claim_rows(container)):
            yield container["name"], row
    for row in _cpu_and_memory_rows(pod):
        yield "(the whole pod)", row


def _device_rows(container: Mapping[str, Any], resources: Mapping[str, Any]) -> Iterator[Row]:
    """A row for each resource and set of NUMA nodes."""
    for resource, nodes in container["numa_nodes"].items():
        gone = set(resources[resource]["not_allocatable"] or ())
        for some, ids in groupby(sorted(nodes, key=nodes.__getitem__), key=nodes.__getitem__):
            devices = [{"resourceID": id, "health": "not allocatable" if id in gone else HEALTHY} for id in ids]
            yield plain(resource), devices_cell(devices), _ranges(some)


def _cpu_and_memory_rows(holder: Mapping[str, Any]) -> Iterator[Row]:
    if holder["cpu_ids"]:
        yield "cpu (exclusive)", _ranges(holder["cpu_ids"]), ""
    for block in holder["memory"]:
        yield plain(block["type"]), _quantity(block["size"]), _ranges(block["numa_nodes"])


def _claim_rows(container: Mapping[str, Any]) -> Iterator[Row]:
    for claim in container["claims"]:
        devices = ", ".join(map(_claimed, claim["devices"]))
        yield plain(f"claim {claim['namespace']}/{claim['name']}"), plain(devices), ""


def _claimed(device: Mapping[str, Any]) -> str:
    """Driver, pool and device; of a kubelet that does not name them (before 1.34), the CDI devices."""
    named = "/".join(filter(None, (device["driver"], device["pool"], device["device"]))) or ", ".join(
        device["cdi_devices"]
    )
    return f"{named} (share {device['share_id']})" if device["share_id"] else named


def _ranges(numbers: Iterable[int]) -> str:
    """Sorted numbers as the kernel writes a list of CPUs: ``0-3,8``."""
    runs = [[*run] for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])]
    return ",".join(f"{run[0][1]}-{run[-1][1]}" if len(run) > 1 else str(run[0][1]) for run in runs)


def _quantity(size: int) -> str:
    """Bytes as Kubernetes writes them: ``64Gi``, with the largest unit that divides them."""
    for power, suffix in ((40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")):
        if size and size % (1 << power) == 0:
            return f"{size >> power}{suffix}"
    return str(size)
