"""What is measured: how pods become Running, and how soon the health of a device is seen."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass

import trio

from devicemgr.cluster.control_plane.programs import Program
from devicemgr.model import HEALTHY, UNHEALTHY
from devicemgr.testing import SimulatedPlugin, open_simulated_plugin

from .cluster import DEVICES, GPU, NODES, OURS, Cluster, allocatable, objects_of, open_cluster

PODS = "/api/v1/namespaces/default/pods"
CREATORS = 16
"""Pods that are being created at a time."""
PATIENCE = 300.0
SETTLES = 3.0
IDLE = 10.0
"""Seconds for which an idle cluster is looked at: in that time every node renews its Lease."""


@dataclass(frozen=True)
class PodsRow:
    """Times in seconds, sizes in bytes. ``until_running`` is from bound to Running, of each pod, at a watcher, and
    ``used`` the processor time of each component meanwhile; ``idle`` the share of one processor that the nodes take
    when nothing happens. With ``plugins_apart`` the plug-ins are in another process than the nodes, as in a cluster,
    and what they take is in none of these figures."""

    nodes: int
    pods: int
    joined_after: float
    memory: int
    memory_with_pods: int
    idle: float
    seconds: float
    until_running: Sequence[float]
    used: Mapping[str, float]
    plugins_apart: bool = False

    @property
    def share(self) -> float:
        """Ours of all processor time but that of the watcher."""
        return self.used[OURS] / sum(self.used.values())


@dataclass(frozen=True)
class HealthRow:
    """``delays`` are in seconds: from a plug-in's new list to the Node's allocatable at a watcher."""

    nodes: int
    delays: Sequence[float]


def quantile(values: Sequence[float], share: float) -> float:
    """The least value that so large a share of them does not exceed."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


async def measure_pods(
    programs: Mapping[str, Program], nodes: int, pods: int, *, idle: float = IDLE, plugins_apart: bool = False
) -> PodsRow:
    """As many pods as there are devices, and at most ``pods``, each with one device. The plug-ins are in the process of
    the nodes or, with ``plugins_apart``, in this one."""
    pods = min(pods, nodes * DEVICES)
    began = time.perf_counter()
    async with (
        open_cluster(programs, nodes, plugins=not plugins_apart) as cluster,
        _plugins_here(cluster) if plugins_apart else nullcontext(),
    ):
        joined = time.perf_counter() - began
        await trio.sleep(SETTLES)
        before = cluster.used()[OURS]
        await trio.sleep(idle)
        used_idle = (cluster.used()[OURS] - before) / idle
        memory = cluster.memory
        watch = _PodWatch(pods)
        began, before = time.perf_counter(), cluster.used()
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                await nursery.start(watch.run, cluster)
                left = iter(range(pods))
                for _ in range(CREATORS):
                    nursery.start_soon(_create, cluster, left)
        return PodsRow(
            nodes=nodes,
            pods=pods,
            joined_after=joined,
            memory=memory,
            memory_with_pods=cluster.memory,
            idle=used_idle,
            seconds=time.perf_counter() - began,
            until_running=[at - watch.bound[name] for name, at in watch.running.items()],
            used={name: seconds - before[name] for name, seconds in cluster.used().items()},
            plugins_apart=plugins_apart,
        )


class _PodWatch:
    """When each pod was seen bound, and Running, for the first time."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.bound: dict[str, float] = {}
        self.running: dict[str, float] = {}

    async def run(self, cluster: Cluster, *, task_status: trio.TaskStatus[None]) -> None:
        async with cluster.api.reflect(PODS) as changes:
            async for change in changes:
                task_status.started()
                task_status = trio.TASK_STATUS_IGNORED
                now = time.perf_counter()
                for pod in objects_of(change):
                    name, phase = pod["metadata"]["name"], pod["status"]["phase"]
                    assert phase != "Failed", pod["status"]
                    if pod["spec"].get("nodeName"):
                        self.bound.setdefault(name, now)
                    if phase == "Running":
                        self.running.setdefault(name, now)
                if len(self.running) == self._count:
                    return


async def _create(cluster: Cluster, numbers: Iterator[int]) -> None:
    for number in numbers:
        container = {"name": "main", "image": "none", "resources": {"limits": {GPU: "1"}}}
        pod = {"metadata": {"name": f"pod-{number}"}, "spec": {"containers": [container]}}
        await cluster.api.create(PODS, {"apiVersion": "v1", "kind": "Pod", **pod})


@asynccontextmanager
async def _plugins_here(cluster: Cluster) -> AsyncIterator[dict[str, SimulatedPlugin]]:
    """One for each node, in this process, whose devices can be allocated by now."""
    plugins: dict[str, SimulatedPlugin] = {}
    async with AsyncExitStack() as stack:
        for name in cluster.names:
            opened = open_simulated_plugin(cluster.plugins_of(name), GPU, devices=DEVICES)
            plugins[name] = await stack.enter_async_context(opened)
            await plugins[name].register()
        await cluster.wait_for_devices(DEVICES)
        yield plugins


async def measure_health(programs: Mapping[str, Program], nodes: int, flips: int) -> HealthRow:
    """One device after another becomes unhealthy, and healthy again, by plug-ins in this process."""
    async with open_cluster(programs, nodes, plugins=False) as cluster, _plugins_here(cluster) as plugins:
        delays: list[float] = []
        with trio.fail_after(PATIENCE):
            async with cluster.api.reflect(NODES) as changes:
                await anext(changes)
                for _ in range(flips):
                    name = random.choice(cluster.names)
                    for health, count in ((UNHEALTHY, DEVICES - 1), (HEALTHY, DEVICES)):
                        began = time.perf_counter()
                        plugins[name].set_health("dev-0", health)
                        async for change in changes:
                            if any(
                                node["metadata"]["name"] == name and allocatable(node) == count
                                for node in objects_of(change)
                            ):
                                break
                        delays.append(time.perf_counter() - began)
        return HealthRow(nodes=nodes, delays=delays)
