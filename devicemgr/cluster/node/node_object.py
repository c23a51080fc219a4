"""The Node of the API: registered, watched, and published whenever something of it changes.

One task writes it (:meth:`NodeObject.publish`), and looks each time at what has to be there by now. The other ones only
wake it: the Node has changed, or the manager has.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from contextlib import suppress

import trio

from ...condition_variable import ConditionVariable
from ...daemon.manager import DeviceManager
from ...errors import ApiError, CheckpointUnwritable
from ...events import NodeRegistered, NodeStatusPublished
from ...model import NodeStatus
from ..api.client import ApiClient
from ..api.reflector import Synced
from ..api.watch_events import Changed, Deleted
from ..objects.metadata import NODES, Object, node_path, uid_of
from ..objects.node import (
    NodeDescription,
    extended_resources,
    is_published,
    labels_patch,
    new_node,
    status_patch,
)
from ..objects.requests import quantities
from .refusals import Refusals

REPORT_PERIOD = 300.0
"""Seconds after which the status is written although nothing has changed, as a kubelet does it."""
CONFLICT, NOT_FOUND = 409, 404


class NodeObject:
    def __init__(
        self,
        api: ApiClient,
        manager: DeviceManager,
        refusals: Refusals,
        description: NodeDescription,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._api = api
        self._manager = manager
        self._refusals = refusals
        self._description = description
        self._clock = clock
        self._found: Object | None = None
        self._published: tuple[dict[str, int], dict[str, int]] | None = None
        self._next_report = 0.0
        self._as_answered: str | None = None
        """The version of the Node in which the API server has taken all, and shows something else."""
        self.changed = ConditionVariable()

    @property
    def found(self) -> Object | None:
        """The Node as it was seen last; None if it is not there."""
        return self._found

    @property
    def uid(self) -> str | None:
        return None if self._found is None else uid_of(self._found)

    @property
    def name(self) -> str:
        return self._description.name

    def allocatable(self) -> dict[str, int]:
        """What the fit check counts beside the manager's devices: what the node has of cpu and the like, and the
        extended resources that somebody else has published."""
        return dict(quantities(self._description.own_capacity)) | self.resources_of_others()

    def resources_of_others(self, *, beside: Collection[str] | None = None) -> dict[str, int]:
        """The extended resources on the Node that are not the manager's; or, with ``beside``, not these."""
        if self._found is None:
            return {}
        ours = self._manager.capacity().keys() if beside is None else beside
        return {name: count for name, count in extended_resources(self._found).allocatable.items() if name not in ours}

    def as_new(self) -> Object:
        """The Node as it would be registered now."""
        return new_node(self._description, self._manager.node_status(), time=self._clock())

    async def register(self) -> None:
        """Return when the Node is there. One that was there before is taken over.

        Raises ApiError if that is refused.
        """
        path, existed = node_path(self.name), False
        while self._found is None:
            try:
                self._found = await self._api.retrying(lambda: self._api.create(NODES, self.as_new()))
            except ApiError as error:
                if error.code != CONFLICT:
                    raise
                existed = True
                try:
                    found = await self._api.retrying(lambda: self._api.get(path))
                    patch = labels_patch(found, self._description)
                    if patch:
                        found = await self._api.retrying(lambda: self._api.patch(path, patch))  # noqa: B023
                except ApiError as gone:
                    if gone.code != NOT_FOUND:
                        raise
                else:
                    self._found = found
        self._published, self._next_report = None, 0.0
        self._manager.log.record([NodeRegistered(node=self.name, uid=uid_of(self._found), existed=existed)])
        self.changed.notify()

    async def watch(self) -> None:
        async with self._api.reflect(NODES, fieldSelector=f"metadata.name={self.name}") as changes:
            async for change in changes:
                match change:
                    case Synced(objects):
                        self._found = next(iter(objects.values()), None)
                    case Changed(found):
                        self._see(found)
                    case Deleted():
                        self._found = None
                self.changed.notify()

    async def publish(self) -> None:
        """Write what has changed, at once, and everything from time to time. A Node that is not there any more is
        registered again."""
        while True:
            if self._found is None:
                await self._refusals.persist("register the Node", self.register)
            await self._publish_once()
            with trio.move_on_at(self._next_report):
                await self.changed.wait_until(self._is_due)

    async def follow_manager(self) -> None:
        """Wake the task that publishes whenever the manager has something else to publish. Most events change nothing
        of it, and to look is cheaper than to compare with the Node."""
        log, known = self._manager.log, None
        while True:
            seen = log.last
            if (status := self._manager.node_status()) != known:
                known = status
                self.changed.notify()
            await log.wait_past(seen)

    async def stop(self) -> None:
        """Say that the node is not ready any more."""
        if self._found is not None:
            status = self._manager.node_status(extended_resources(self._found))
            await self._patch(self._found, status, ready=False)

    async def delete(self) -> None:
        if self._found is not None:
            await self._api.delete(node_path(self.name), uid=uid_of(self._found))

    def _is_due(self) -> bool:
        if self._found is None:
            return True
        status, patch = self._wanted(self._found)
        owes = status.removed or status.reset
        return bool(owes) or self._is_news(status) or self._is_to_write(self._found, status, patch)

    def _is_to_write(self, found: Object, status: NodeStatus, patch: Object) -> bool:
        """Not again what was just written, if the API server says it in its own way."""
        if is_published(found, patch):
            return False
        return self._is_news(status) or found["metadata"]["resourceVersion"] != self._as_answered

    def _wanted(self, found: Object) -> tuple[NodeStatus, Object]:
        status = self._manager.node_status(extended_resources(found))
        return status, status_patch(found, self._description, status, time=self._clock())

    async def _publish_once(self) -> None:
        found = self._found
        if found is None:
            return
        status, patch = self._wanted(found)
        if self._is_to_write(found, status, patch) or trio.current_time() >= self._next_report:
            try:
                answer = await self._refusals.persist(
                    "publish the Node's status", lambda: self._patch(found, status, ready=True), but=[NOT_FOUND]
                )
            except ApiError:
                self._found = None
                return
            shows_all = is_published(answer, self._wanted(answer)[1])
            self._as_answered = None if shows_all else answer["metadata"]["resourceVersion"]
            self._next_report = trio.current_time() + REPORT_PERIOD * random.uniform(0.9, 1.0)
            if self._found is not None:
                self._see(answer)
        self._record(status)
        for resource in status.removed:
            with suppress(CheckpointUnwritable):  # the writer reports it in an event, and retries
                await self._manager.acknowledge_removed(resource)
        if status.reset:
            self._manager.acknowledge_reset()

    async def _patch(self, found: Object, status: NodeStatus, *, ready: bool) -> Object:
        patch = status_patch(found, self._description, status, time=self._clock(), ready=ready)
        return await self._api.patch(f"{node_path(self.name)}/status", patch, strategic=True)

    def _see(self, found: Object) -> None:
        """Answers and watch events come on different ways, so the later one need not be the newer one."""
        if self._found is None or _version(found) >= _version(self._found):
            self._found = found

    def _is_news(self, status: NodeStatus) -> bool:
        return (dict(status.capacity), dict(status.allocatable)) != (self._published or ({}, {}))

    def _record(self, status: NodeStatus) -> None:
        if self._is_news(status):
            capacity, allocatable = self._published = dict(status.capacity), dict(status.allocatable)
            self._manager.log.record([NodeStatusPublished(node=self.name, capacity=capacity, allocatable=allocatable)])


def _version(found: Object) -> int:
    """Since Kubernetes 1.35 versions of one object can be compared as numbers; before that, they were numbers too."""
    version: str = found["metadata"]["resourceVersion"]
    return int(version) if version.isdecimal() else 0
