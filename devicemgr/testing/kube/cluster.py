"""The control plane, and its nodes."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import trio

from ...arguments import Text, checked
from ...cluster.api.client import ApiClient, open_api_client
from ...cluster.api.impersonation import acting_as_node
from ...cluster.control_plane.processes import ControlPlane, open_control_plane
from ...cluster.control_plane.programs import COMPONENTS, CONTROLLERS, SCHEDULER, find_programs
from ...cluster.node.agent import open_node
from ...cluster.node.options import NodeOptions
from ...daemon.manager import SHOWN_EVENTS, DeviceManager
from ...daemon.serving.trace import format_event
from ...errors import ApiError, ApiUnreachable
from .failure import node_lines
from .namespace import Kube

PATIENCE = 30.0
"""Seconds that a controller may need for what is quick."""


@dataclass(frozen=True, slots=True)
class KubeNode:
    """A node of the cluster: plug-ins register with its manager, and its pods come from the API."""

    name: str
    manager: DeviceManager


class KubeCluster:
    """Made by :func:`open_kube_cluster`."""

    def __init__(self, control_plane: ControlPlane, api: ApiClient) -> None:
        self._control_plane = control_plane
        self._api = api
        self._nodes: dict[str, KubeNode] = {}
        self._numbers = itertools.count(1)
        self.kubeconfig = control_plane.kubeconfig()

    @property
    def url(self) -> str:
        return self._control_plane.url

    @property
    def directory(self) -> Path:
        """With the log of each component."""
        return self._control_plane.directory

    @property
    def versions(self) -> dict[str, str]:
        """Of each component: ``{"kube-apiserver": "1.37.2", …}``."""
        return {name: one.program.version for name, one in self._control_plane.components.items()}

    @checked
    @asynccontextmanager
    async def open_node(self, manager: AbstractAsyncContextManager[DeviceManager]) -> AsyncIterator[KubeNode]:
        """A node with this manager. It has a name of its own and no taint, and its Node is deleted at the end."""
        name = f"node-{next(self._numbers)}"
        try:
            async with (
                manager as opened,
                open_api_client(acting_as_node(self._api.connection, name)) as own,
                open_node(own, opened, NodeOptions(name=name, tainted=False)),
            ):
                self._nodes[name] = KubeNode(name, opened)
                await self._wait_until_untainted(name)
                yield self._nodes[name]
        finally:
            self._nodes.pop(name, None)
            with _cleaning_up():
                await self._api.delete(f"/api/v1/nodes/{name}")

    async def _wait_until_untainted(self, name: str) -> None:
        """A new node is tainted as not ready until a controller has seen that it is."""
        with trio.fail_after(PATIENCE):
            await self._api.wait_until(
                f"/api/v1/nodes/{name}", lambda node: node is not None and not node["spec"].get("taints")
            )

    @checked
    @asynccontextmanager
    async def open_namespace(self, base: Text = "test") -> AsyncIterator[Kube]:
        """A new one. At its end its pods are gone, and the rest of it soon is."""
        namespace = f"{base}-{next(self._numbers)}"
        path = f"/api/v1/namespaces/{namespace}"
        await self._api.create(
            "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        )
        if CONTROLLERS in self._control_plane.components:
            with trio.fail_after(PATIENCE):  # one of them makes it, and no pod is accepted before
                await self._api.wait_until(f"{path}/serviceaccounts/default", lambda account: account is not None)
        try:
            yield Kube(self._api, namespace, self._describe_nodes)
        finally:
            with _cleaning_up():
                await self._api.delete(path)
                for pod in (await self._api.list(f"{path}/pods"))["items"]:
                    with suppress(ApiError):  # it has gone by itself
                        await self._api.delete(f"{path}/pods/{pod['metadata']['name']}", grace=0)

    async def _describe_nodes(self, name: str = "") -> Sequence[Sequence[str]]:
        """The lines about the node of this name, or about all nodes."""
        listed = await self._api.list("/api/v1/nodes")
        return [
            node_lines(node, self._last_events(node["metadata"]["name"]))
            for node in listed["items"]
            if name in ("", node["metadata"]["name"])
        ]

    def _last_events(self, name: str) -> list[str]:
        if name not in self._nodes:
            return []
        manager = self._nodes[name].manager
        return [f"{format_event(one.event)}" for one in manager.events()[-SHOWN_EVENTS:]]


@contextmanager
def _cleaning_up() -> Iterator[None]:
    """What a block does at its end, also when it was cancelled. That the API server refuses it, or is away by then,
    hides no error of the block."""
    with trio.CancelScope(shield=True), suppress(ApiError, ApiUnreachable):
        yield


@asynccontextmanager
async def open_kube_cluster(directory: Path) -> AsyncIterator[KubeCluster]:
    """A control plane with a scheduler and controllers, all of whose files are in ``directory``.

    Raises ProgramUnavailable where its programs are missing, and ControlPlaneFailed.
    """
    programs = await find_programs([*COMPONENTS, SCHEDULER, CONTROLLERS])
    async with open_control_plane(directory, programs) as control_plane, control_plane.client() as api:
        yield KubeCluster(control_plane, api)
