"""The Node of the API: registered, watched, and published whenever something of it changes.

One task writes it (:meth:`NodeObject.publish`), and looks each time at what has to be there by now. The other ones only
wake it: the Node has changed, or the manager has.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial

import trio

from ...concurrency.condition_variable import ConditionVariable
from ...daemon.manager import DeviceManager
from ...errors import ApiError, CheckpointUnwritable
from ...events import NodeRegistered, NodeStatusPublished
from ...model import NodeStatus
from ..api.answers import CONFLICT, NOT_FOUND
from ..api.client import ApiClient
from ..api.reachability import Lost, Reached
from ..api.reflector import Synced
from ..api.retries import Backoff
from ..api.watch_events import Changed, Deleted
from ..objects.metadata import NODES, Object, node_path, uid_of, version_number
from ..objects.node import (
    NodeDescription,
    extended_resources,
    is_published,
    metadata_patch,
    new_node,
    status_patch,
    stopped_patch,
)
from ..objects.node_affinity import matches_node
from ..objects.pod import device_names
from ..objects.requests import quantities
from .pace import Pace
from .refusals import Refusals

REPORT_PERIOD = 300.0
"""Seconds after which the status is written although nothing has changed, as a kubelet does it."""
_WATCHING = "watch the Node"


class NodeObject:
    """The Node of this manager. Its status is what the manager has, and what ``description`` says."""

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
        self._own = quantities(description.own_capacity)
        self._clock = clock
        self._found: Object | None = None
        self._extended: tuple[Object, NodeStatus] | None = None
        """What a state of the Node publishes of extended resources."""
        self._published: tuple[dict[str, int], dict[str, int]] | None = None
        self._next_report = 0.0
        self._as_answered: str | None = None
        """The version of the Node in which the API server has taken all, and shows something else."""
        self._is_unsure = False
        """Whether the Node was created is not known: no answer has come."""
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
        return {**self._own, **self.resources_of_others()}

    def resources_of_others(self, *, beside: Collection[str] | None = None) -> dict[str, int]:
        """The extended resources on the Node that are not the manager's; or, with ``beside``, not these."""
        if self._found is None:
            return {}
        ours = self._manager.capacity().keys() if beside is None else beside
        return {name: count for name, count in self._extended_of(self._found).allocatable.items() if name not in ours}

    def _extended_of(self, found: Object) -> NodeStatus:
        """Worked out once for all pods that come while it is the same."""
        if self._extended is None or self._extended[0] is not found:
            self._extended = found, extended_resources(found)
        return self._extended[1]

    def as_new(self) -> Object:
        """The Node as it would be registered now."""
        return new_node(self._description, self._manager.node_status(), time=self._clock())

    async def look_again_for(self, pod: Object) -> None:
        """Read the Node now, if the pod should not have come here by what was seen of it: whoever has sent the pod may
        know of labels and resources that the watch has yet to bring."""
        found = self._found
        if found is None:
            return
        known = self._manager.capacity().keys() | self._extended_of(found).capacity.keys()
        if matches_node(pod, found) and device_names(pod) <= known:
            return
        with suppress(ApiError):  # it was deleted, and is being registered again
            self._see(await self._api.retrying(lambda: self._api.get(node_path(self.name))))

    async def register(self) -> None:
        """Return when the Node is there. One that was there before is taken over. To be repeated as a whole.

        Raises ApiError and ApiUnreachable.
        """
        existed, backoff = False, Backoff()
        while self._found is None:
            self._is_unsure = True
            try:
                self._found = await self._api.create(NODES, self.as_new())
            except ApiError as error:
                self._is_unsure = False
                if error.code != CONFLICT:
                    raise
                existed = True
                if found := await self._take_over():
                    self._found = found
                else:
                    backoff = backoff.failed()
                    await trio.sleep(backoff.delay(random.random()))
        self._is_unsure = False
        self._published, self._next_report = None, 0.0
        self._manager.log.record([NodeRegistered(node=self.name, uid=uid_of(self._found), existed=existed)])
        self.changed.notify()

    async def _take_over(self) -> Object | None:
        """None if it is not there: somebody has deleted it, or shows it to some requests only."""
        try:
            found = await self._api.get(node_path(self.name))
            patch = metadata_patch(found, self._description)
            return await self._api.patch(node_path(self.name), patch) if patch else found
        except ApiError as error:
            if error.code != NOT_FOUND:
                raise
            return None

    async def watch(self) -> None:
        """Keep :attr:`found` as the API server has it, until cancelled."""
        async with self._api.reflect(NODES, fieldSelector=f"metadata.name={self.name}") as changes:
            async for change in changes:
                match change:
                    case Synced(objects):
                        self._found = next(iter(objects.values()), None)
                    case Changed(found):
                        self._see(found)
                    case Deleted():
                        self._found = None
                    case Lost(failure):
                        self._refusals.lost(_WATCHING, failure)
                    case Reached():
                        self._refusals.reached(_WATCHING)
                self.changed.notify()

    async def publish(self) -> None:
        """Write what has changed, at once, and everything from time to time. A Node that is not there any more is
        registered again. What is undone each time is written again after pauses that grow."""
        pace = Pace(self.changed)
        while True:
            wrote, at = self._manager.node_status(), trio.current_time()
            if self._found is None:
                await self._refusals.persist("register the Node", self.register)
            await self._publish_once()
            with trio.move_on_at(self._next_report):
                await self.changed.wait_until(self._is_due)
            await pace.wait(at, partial(self._has_another_status, wrote))

    def _has_another_status(self, before: NodeStatus) -> bool:
        return self._manager.node_status() != before

    async def follow_manager(self) -> None:
        """Wake the task that publishes whenever the manager may have something else to publish."""
        seen = None
        while True:
            seen = await self._manager.wait_for_reports(seen)
            self.changed.notify()

    async def stop(self) -> None:
        """Say that the node is not ready any more, if it was. Raises ApiError and ApiUnreachable."""
        if found := await self._found_at_the_end():
            await self._patch(stopped_patch(found, time=self._clock()))

    async def delete(self) -> None:
        """Delete the Node, unless it is not the one that was registered. Raises ApiError and ApiUnreachable."""
        if found := await self._found_at_the_end():
            await self._api.delete(node_path(self.name), uid=uid_of(found))

    async def _found_at_the_end(self) -> Object | None:
        """It may have been created without us hearing of it."""
        return await self._api.get(node_path(self.name)) if self._is_unsure else self._found

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
                    "publish the Node's status", lambda: self._write_status(found, status), but=[NOT_FOUND]
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

    async def _write_status(self, found: Object, status: NodeStatus) -> Object:
        return await self._patch(status_patch(found, self._description, status, time=self._clock()))

    async def _patch(self, patch: Object) -> Object:
        return await self._api.patch(f"{node_path(self.name)}/status", patch, strategic=True)

    def _see(self, found: Object) -> None:
        """As it is in an answer or a watch event, unless a newer one was seen."""
        if self._found is None or version_number(found) >= version_number(self._found):
            self._found = found

    def _is_news(self, status: NodeStatus) -> bool:
        return (dict(status.capacity), dict(status.allocatable)) != (self._published or ({}, {}))

    def _record(self, status: NodeStatus) -> None:
        if self._is_news(status):
            capacity, allocatable = self._published = dict(status.capacity), dict(status.allocatable)
            self._manager.log.record([NodeStatusPublished(node=self.name, capacity=capacity, allocatable=allocatable)])
