"""The pods that are bound to the node, each handed to a worker of its own.

After a restart, those that run come first, then the others in the order of their creation. Where that order decides who
gets something, they are admitted one after the other: those that ask for the same devices, and all from the first one
on that does not fit beside those before it. Later ones come as the scheduler sends them, and do not wait for each
other; but they do for what a pod still has of which the API server has said before that it has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import trio

from ...daemon.manager import DeviceManager
from ..api.client import ApiClient
from ..api.reachability import Lost, Reached
from ..api.reflector import Synced
from ..api.watch_events import Changed, Deleted
from ..objects.metadata import PODS, Object, uid_of
from ..objects.pod import device_names, has_ended, is_deleted, is_mirror, order_of_admission, still_runs, was_started
from ..objects.resize import resize_rank
from .admission import Admission
from .pod_worker import PodWorker, health_of
from .refusals import Refusals

HEALTH_PERIOD = 0.02
"""Seconds between two looks at the health of all devices, for plug-ins that report often."""
_WATCHING = "watch the node's pods"
MakeWorker = Callable[[Object, Collection[trio.Event]], PodWorker]


class Pods:
    """The workers of all pods of one node."""

    def __init__(
        self,
        api: ApiClient,
        manager: DeviceManager,
        refusals: Refusals,
        admission: Admission,
        make_worker: MakeWorker,
        *,
        node: str,
    ) -> None:
        self._api = api
        self._manager = manager
        self._refusals = refusals
        self._admission = admission
        self._make_worker = make_worker
        self._node = node
        self._workers: dict[str, PodWorker] = {}
        self._leaving: set[PodWorker] = set()
        self._has_synced = False

    async def follow(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Started when the pods that were there are known. Raises ApiError if they are refused until then."""
        async with (
            trio.open_nursery() as nursery,
            self._api.reflect(PODS, fieldSelector=f"spec.nodeName={self._node}") as changes,
        ):
            async for change in changes:
                match change:
                    case Synced(objects):
                        await self._synced(objects, nursery)
                        task_status.started()
                        task_status = trio.TASK_STATUS_IGNORED
                    case Changed(pod):
                        self._see(pod, nursery)
                    case Deleted(pod):
                        self._gone(uid_of(pod))
                    case Lost(failure):
                        self._refusals.lost(_WATCHING, failure)
                    case Reached():
                        self._refusals.reached(_WATCHING)

    async def report_health(self) -> None:
        """Tell the workers of the health of their devices, whenever it changes."""
        seen = None
        while True:
            seen = await self._manager.wait_for_reports(seen)
            for status in await self._manager.pods_in_turns():
                if worker := self._workers.get(status.uid):
                    worker.set_health(health_of(status))
            await trio.sleep(HEALTH_PERIOD)

    async def share_room(self) -> None:
        """Tell the workers who has to make room, and that there may be some for a resize, in the kubelet's order."""
        seen = 0
        while True:
            seen = await self._admission.wait_for_change(seen)
            for uid in self._admission.preempted:
                self._workers[uid].preempt()
            waiting = [one for one in self._workers.values() if one.waits_for_resize]
            for worker in sorted(waiting, key=lambda one: resize_rank(one.pod)):
                worker.try_resize()

    async def _synced(self, objects: Mapping[str, Object], nursery: trio.Nursery) -> None:
        """What is not in it is not there any more, whatever was missed meanwhile."""
        for uid in self._workers.keys() - objects.keys():
            self._gone(uid)
        # Those that have ended come first: who comes after them may have to wait until they have left.
        pods = sorted(objects.values(), key=lambda pod: (not has_ended(pod), *order_of_admission(pod)))
        if self._has_synced:
            for pod in pods:
                self._see(pod, nursery)
            return
        await self._manager.retain(uid_of(pod) for pod in pods if not has_ended(pod) or still_runs(pod))
        for pod in pods:
            if was_started(pod) and not is_mirror(pod):
                self._admission.expect(pod)
        self._admit_in_order(pods, nursery)
        self._has_synced = True

    def _admit_in_order(self, pods: Sequence[Object], nursery: trio.Nursery) -> None:
        before: dict[str, trio.Event] = {}
        earlier: list[trio.Event] = []
        all_fit = True
        for pod in pods:
            all_fit = all_fit and (is_deleted(pod) or has_ended(pod) or is_mirror(pod) or self._admission.reserve(pod))
            resources = device_names(pod)
            turns = [before[name] for name in resources if name in before] if all_fit else earlier
            if worker := self._see(pod, nursery, turns):
                before |= dict.fromkeys(resources, worker.had_its_turn)
                earlier.append(worker.had_its_turn)

    def _see(self, pod: Object, nursery: trio.Nursery, turns: Collection[trio.Event] = ()) -> PodWorker | None:
        """The new worker, if there is one."""
        uid = uid_of(pod)
        if worker := self._workers.get(uid):
            worker.update(pod)
            if has_ended(pod):
                self._leaving.add(worker)
        elif not is_mirror(pod) and (is_deleted(pod) or not has_ended(pod) or still_runs(pod)):
            worker = self._workers[uid] = self._make_worker(pod, [*turns, *self._ends_before(pod)])
            if has_ended(pod):
                self._leaving.add(worker)
            nursery.start_soon(self._run, uid, worker)
            return worker
        return None

    def _ends_before(self, pod: Object) -> Collection[trio.Event]:
        """Pods that are leaving, and may have what this one needs: they may take their time. One that runs has it."""
        self._leaving = {one for one in self._leaving if not one.has_left.is_set()}
        if was_started(pod) or has_ended(pod) or is_deleted(pod) or not self._leaving:
            return []
        has_place, names = self._admission.reserve(pod), device_names(pod)
        return [one.has_left for one in self._leaving if not has_place or names & device_names(one.pod)]

    async def _run(self, uid: str, worker: PodWorker) -> None:
        await worker.run()
        self._workers.pop(uid, None)
        self._leaving.discard(worker)

    def _gone(self, uid: str) -> None:
        if worker := self._workers.get(uid):
            worker.gone()
            self._leaving.add(worker)
