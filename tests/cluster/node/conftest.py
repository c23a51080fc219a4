"""One real API server for all of these tests; each of them has a node and a namespace of its own."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio

from devicemgr import DeviceManager, Topology, open_device_manager, open_portal
from devicemgr.cluster.api.answers import NOT_FOUND
from devicemgr.cluster.api.client import ApiClient
from devicemgr.cluster.control_plane.processes import ControlPlane, open_control_plane
from devicemgr.cluster.control_plane.programs import find_programs
from devicemgr.cluster.node.agent import Node, open_node
from devicemgr.cluster.node.options import NodeOptions
from devicemgr.errors import ApiError, ProgramUnavailable
from devicemgr.testing import SimulatedPlugin, open_simulated_plugin

Object = dict[str, Any]
GPU = "vendor.com/gpu"
PATIENCE = 120
NOT_ALIGNED = Topology()
NODES = [f"node-{number}" for number in range(500)]
_numbers = itertools.count()


@pytest.fixture(scope="session")
def control_plane():
    try:
        programs = trio.run(find_programs)
    except ProgramUnavailable as missing:
        pytest.skip(str(missing))
    with tempfile.TemporaryDirectory() as directory, open_portal() as portal:
        with portal.enter(open_control_plane(Path(directory), programs, nodes=NODES)) as cluster:
            yield cluster


@dataclass
class Kube:
    """A test's own namespace and node name, and the administrator's client."""

    cluster: ControlPlane
    api: ApiClient
    namespace: str
    node: str
    pods: str = field(init=False)

    def __post_init__(self) -> None:
        self.pods = f"/api/v1/namespaces/{self.namespace}/pods"

    @property
    def node_path(self) -> str:
        return f"/api/v1/nodes/{self.node}"

    async def create_pod(self, name: str, **more: Any) -> Object:
        return await self.api.create(self.pods, self.pod(name, **more))

    def pod(
        self,
        name: str,
        *,
        gpus: int = 0,
        annotations: Mapping[str, str] | None = None,
        requests: Mapping[str, str] | None = None,
        finalizers: Sequence[str] = (),
        **spec: Any,
    ) -> Object:
        """It is bound as a scheduler would do it."""
        limits = {GPU: str(gpus)} if gpus else {}
        container = {"name": "main", "image": "image", "resources": {"limits": limits, "requests": requests or {}}}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "annotations": dict(annotations or {}), "finalizers": list(finalizers)},
            "spec": {"nodeName": self.node, "containers": [container], **spec},
        }

    async def get_or_none(self, path: str) -> Object | None:
        try:
            return await self.api.get(path)
        except ApiError as error:
            if error.code != NOT_FOUND:
                raise
            return None

    async def until(self, path: str, holds: Callable[[Object | None], object]) -> Object:
        """The object, or a failure that shows how it was last."""
        last: list[Object | None] = [None]

        def look(found: Object | None) -> bool:
            last[0] = found
            return bool(holds(found))

        with trio.move_on_after(PATIENCE):
            return await self.api.wait_until(path, look) or {}
        raise AssertionError(f"{path} is {last[0]}")

    async def until_phase(self, name: str, phase: str) -> Object:
        return await self.until(f"{self.pods}/{name}", lambda pod: pod and pod["status"]["phase"] == phase)

    async def until_gone(self, name: str) -> None:
        await self.until(f"{self.pods}/{name}", lambda pod: pod is None)

    async def until_allocatable(self, count: int | None, resource: str = GPU) -> Object:
        wanted = None if count is None else str(count)
        return await self.until(
            self.node_path, lambda node: node and node["status"].get("allocatable", {}).get(resource) == wanted
        )

    async def finalize(self, name: str) -> None:
        """Nothing holds it back any more."""
        await self.api.patch(f"{self.pods}/{name}", {"metadata": {"finalizers": None}})

    async def events(self, name: str) -> list[Object]:
        path = f"/api/v1/namespaces/{self.namespace}/events"
        return (await self.api.list(path, fieldSelector=f"involvedObject.name={name}"))["items"]

    async def until_event(self, name: str, reason: str) -> Object:
        with trio.fail_after(PATIENCE):
            while True:
                for event in await self.events(name):
                    if event["reason"] == reason:
                        return event
                await trio.sleep(0.02)  # they are looked at rarely enough


@pytest.fixture
async def kube(control_plane) -> AsyncIterator[Kube]:
    number = next(_numbers)
    async with control_plane.client() as api:
        namespace = f"test-{number}"
        await api.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
        yield Kube(control_plane, api, namespace, NODES[number])


@dataclass
class Joined:
    node: Node
    manager: DeviceManager
    plugin: SimulatedPlugin

    def seen(self, *names: str) -> list[Any]:
        """The events of these types, oldest first."""
        return [one.event for one in self.manager.events() if type(one.event).__name__ in names]

    def available(self) -> int:
        return self.manager.capacity()[GPU].available


@pytest.fixture
def join(kube, root_dir):
    """``async with join(devices=2) as joined:`` a manager with a plug-in, as the node of this test."""

    @asynccontextmanager
    async def join_one(
        *,
        devices: int = 2,
        root: Path = root_dir,
        api: ApiClient | None = None,
        grace: float = 300,
        topology: Topology = NOT_ALIGNED,
        **options: Any,
    ) -> AsyncIterator[Joined]:
        async with AsyncExitStack() as stack:
            if api is None:
                api = await stack.enter_async_context(kube.cluster.client(f"system:node:{kube.node}"))
            opened = open_device_manager(root, restart_wait=5, grace=grace, topology=topology)
            manager = await stack.enter_async_context(opened)
            plugin = await stack.enter_async_context(
                open_simulated_plugin(manager.layout.plugins, GPU, devices=devices)
            )
            await plugin.register()
            await manager.wait_for_resource(GPU, capacity=devices)
            node = await stack.enter_async_context(open_node(api, manager, NodeOptions(name=kube.node, **options)))
            yield Joined(node, manager, plugin)

    return join_one
