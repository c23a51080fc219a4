"""A manager as a node of a cluster, in one nursery."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress

import trio

from ...arguments import checked
from ...concurrency.exception_groups import collapse_exception_group
from ...concurrency.trio_program import require_trio
from ...daemon.manager import DeviceManager
from ...errors import ApiError, ApiUnreachable
from ...events import ApiServerLost, ApiServerReached
from ...version import installed_version
from ..api.client import ApiClient
from ..api.reachability import Lost, Reached
from ..objects.metadata import Object
from ..objects.node import DECLARED_FEATURES, NodeDescription
from ..objects.node_info import node_info
from ..objects.pod_status import Place
from .admission import Admission
from .event_recorder import EventRecorder
from .host import holder, read_machine
from .lease import NodeLease
from .node_object import NodeObject
from .options import KUBELET_VERSIONS, NodeOptions
from .pod_reports import PodReports
from .pod_worker import PodWorker
from .pods import Pods
from .refusals import Refusals

PARTING_TIME = 5.0
"""Seconds that a node has at its end to tell the API server of it."""


class Node:
    """A node that has joined its cluster. Made by :func:`open_node`."""

    def __init__(self, api: ApiClient, manager: DeviceManager, options: NodeOptions) -> None:
        self._api = api
        self._manager = manager
        self._options = options
        version = manager.settings().kubernetes_version
        description = NodeDescription(
            name=options.name,
            address=options.address,
            labels=options.labels,
            tainted=options.tainted,
            capacity=options.capacity,
            info=node_info(read_machine(), kubelet_version=KUBELET_VERSIONS[version], version=installed_version()),
            declared_features=DECLARED_FEATURES[version],
        )
        self._refusals = Refusals(api, manager.log)
        self._object = NodeObject(api, manager, self._refusals, description, clock=options.clock)
        self._lease = NodeLease(
            api,
            manager.log,
            self._refusals,
            name=options.name,
            holder=holder(manager.layout.root),
            node_uid=lambda: self._object.uid,
            clock=options.clock,
        )
        self._recorder = EventRecorder(api, node=options.name, clock=options.clock)

    @property
    def name(self) -> str:
        return self._options.name

    @property
    def manager(self) -> DeviceManager:
        return self._manager

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Started when the node has joined: it is registered, and its pods are known. Raises ApiError,
        ApiUntrusted and CredentialsUnavailable if that cannot be."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._report_reachability)
            nursery.start_soon(self._recorder.run)
            while True:
                await self._lease.acquire()
                async with trio.open_nursery() as member:
                    member.start_soon(self._be_member, member, task_status)
                    await self._lease.keep()
                    # Another agent is the node by now. Its pods are its own, and ours are left as they are.
                    member.cancel_scope.cancel()
                task_status = trio.TASK_STATUS_IGNORED

    async def _be_member(self, member: trio.Nursery, task_status: trio.TaskStatus[None]) -> None:
        await self._refusals.persist("register the Node", self._object.register)
        admission = Admission(self._manager, self._object)
        reports = PodReports(self._api, self._manager.log, self._refusals)

        def make_worker(pod: Object, turns: Collection[trio.Event]) -> PodWorker:
            return PodWorker(
                pod,
                manager=self._manager,
                admission=admission,
                reports=reports,
                recorder=self._recorder,
                lease=self._lease,
                place=Place(host_ip=self._options.address),
                clock=self._options.clock,
                turns=turns,
            )

        pods = Pods(self._api, self._manager, self._refusals, admission, make_worker, node=self.name)
        member.start_soon(self._object.watch)
        member.start_soon(self._object.publish)
        member.start_soon(self._object.follow_manager)
        await member.start(pods.follow)
        member.start_soon(pods.report_health)
        member.start_soon(pods.share_room)
        self._refusals.ends_the_node = False
        task_status.started()

    async def leave(self) -> None:
        """Tell the API server that the node has ended, as far as it can be told, also of one that was about to join.
        Its pods are left as they are: they run on when the node is back."""
        with suppress(ApiError, ApiUnreachable):
            await self._lease.find_out()
        if not self._lease.is_held:
            return
        with suppress(ApiError, ApiUnreachable):
            await (self._object.delete() if self._options.delete_on_exit else self._object.stop())
        with suppress(ApiError, ApiUnreachable):
            await self._lease.release()

    async def _report_reachability(self) -> None:
        if lost := self._api.reachability.lost:
            self._record(lost)
        async for change in self._api.reachability.changes():
            self._record(change)

    def _record(self, change: Lost | Reached) -> None:
        server, log = self._api.connection.server, self._manager.log
        match change:
            case Reached(seconds):
                log.record([ApiServerReached(server=server, seconds=round(seconds, 3))])
            case Lost(failure) if not self._refusals.gives_up(failure):  # then it is raised
                log.record([ApiServerLost(server=server, problem=str(failure))])


@checked
@asynccontextmanager
async def open_node(api: ApiClient, manager: DeviceManager, options: NodeOptions) -> AsyncIterator[Node]:
    """``manager`` is a node of the cluster of ``api`` for as long as the block lasts.

    The block begins when the node has joined. If another agent holds the Lease of that name, it waits until that one
    has ended. ``manager`` belongs to the node: its pods are those of the API, and it keeps no others.
    Raises ApiError if the API server does not let it join or does not know it, ApiUntrusted if its certificate cannot
    be trusted, CredentialsUnavailable if there are none to show it, and ValueError for options that cannot be used.
    Where nobody answers, it waits.
    """
    require_trio("open_node")
    node = Node(api, manager, options)
    try:
        with collapse_exception_group():
            async with trio.open_nursery() as nursery:
                await nursery.start(node.run)
                try:
                    yield node
                finally:
                    nursery.cancel_scope.cancel()
    finally:
        with trio.move_on_after(PARTING_TIME, shield=True):
            await node.leave()
