"""The life of one pod, on one screen: admission, status, end, one after the other.

The worker looks at the pod as it is by now, does what is to be done next, and waits until something has changed. So an
end that comes during the admission is seen after it, and nothing is decided on an old state.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress

import trio

from ...condition_variable import ConditionVariable
from ...daemon.manager import DeviceManager
from ...errors import ContainerStartFailed, PluginUnavailable
from ...events import PodDeleted
from ...model import PodAdmitResult, PodStatus
from ..objects.event import Remark, about_pod
from ..objects.metadata import Object, status_of, uid_of
from ..objects.pod import complete_after, grace_period, has_ended, is_deleted, pod_of, terminate_after, was_started
from ..objects.pod_status import (
    KILLED,
    Health,
    Place,
    Running,
    Unstarted,
    ended_status,
    refused_status,
    running_status,
)
from ..objects.times import parse_timestamp
from .admission import Admission
from .event_recorder import EventRecorder
from .lease import NodeLease
from .pod_reports import PodGone, PodReports

START_RETRY_PERIOD = 10.0
"""Seconds until a container that could not start is started again, as a kubelet does it at first."""
REJECTED = "Pod was rejected: "


class PodWorker:
    """Its admission waits for ``turns``: those of the pods before it, and places that become free."""

    def __init__(
        self,
        pod: Object,
        *,
        manager: DeviceManager,
        admission: Admission,
        reports: PodReports,
        recorder: EventRecorder,
        lease: NodeLease,
        place: Place,
        clock: Callable[[], float],
        turns: Collection[trio.Event] = (),
    ) -> None:
        self._pod = pod
        self._uid = uid_of(pod)
        self._manager = manager
        self._admission = admission
        self._reports = reports
        self._recorder = recorder
        self._lease = lease
        self._place = place
        self._clock = clock
        self._turns = turns
        self._since: float | None = None
        """Since when it runs; on the clock of the API, which is also that of the status that says so."""
        self._is_gone = False
        self._health: Health = {}
        self._unstarted = Unstarted(names=frozenset())
        self._changed = ConditionVariable()
        self._asked_to_end: float | None = None
        self._life = trio.CancelScope()
        self.had_its_turn = trio.Event()
        """Its admission is over."""
        self.has_left = trio.Event()
        """Its place and its devices are free."""

    # --- what has changed ---------------------------------------------------------------------------

    def update(self, pod: Object) -> None:
        """The pod as the API server has it now."""
        self._pod = pod
        if is_deleted(pod) and self._asked_to_end is None:
            self._asked_to_end = trio.current_time()
        self._changed.notify()

    def gone(self) -> None:
        """The API server has no such pod any more, so that there is nothing left to do for it."""
        self._is_gone = True
        self._life.cancel()
        self._changed.notify()

    def set_health(self, health: Health) -> None:
        """Of the devices that it holds."""
        if health != self._health:
            self._health = health
            self._changed.notify()

    # --- its life -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until the API server has no such pod any more, and the watch has said so: what it has sent before is about
        this pod, too."""
        with self._life, suppress(PodGone):
            await self._live()
        self.had_its_turn.set()
        await self._free()
        await self._changed.wait_until(lambda: self._is_gone)
        if is_deleted(self._pod):
            # Not where it is deleted: the watch may tell that it has gone before the answer comes.
            name, namespace = self._pod["metadata"]["name"], self._pod["metadata"]["namespace"]
            self._manager.log.record([PodDeleted(namespace=namespace, name=name, uid=self._uid)])

    async def _live(self) -> None:
        self.update(self._pod)
        if await self._admit():
            self.had_its_turn.set()
            while not (is_deleted(self._pod) or has_ended(self._pod)):
                if trio.current_time() >= self._completes_at():
                    await self._end(exit_code=0)
                    break
                seen = self._pod, self._health
                await self._publish(running_status(self._pod, self._running, time=self._clock()))
                await self._wait_for_news(seen)
        self.had_its_turn.set()
        await self._finish()

    async def _admit(self) -> bool:
        """Does it have its place and its devices? An end may have come before."""
        for turn in self._turns:
            await turn.wait()
        await self._lease.wait_held()
        self._remark_on_annotations()
        if has_ended(self._pod) or is_deleted(self._pod):
            await self._look_up_health()
            return False
        if self._has_completed():
            return True
        try:
            result = await self._admission.admit(self._pod)
        except ValueError as error:
            # A quantity that no node can have, though the API server has let it pass.
            result = PodAdmitResult(admitted=False, reason="UnexpectedAdmissionError", message=f"{REJECTED}{error}")
        if not result.admitted:
            self._say(result.reason, result.message.removeprefix(REJECTED))
            await self._publish(
                refused_status(self._pod, reason=result.reason, message=result.message, time=self._clock())
            )
            return False
        self._since = self._start_time() or self._clock()
        self._note_start(result)
        await self._look_up_health()
        return True

    async def _look_up_health(self) -> None:
        statuses = await self._manager.pods_in_turns()
        self._health = next((health_of(one) for one in statuses if one.uid == self._uid), {})

    async def _wait_for_news(self, seen: tuple[Object, Health]) -> None:
        """Until there is something to be done: the pod, its devices or the time has changed."""
        deadline = self._completes_at()
        if self._unstarted.names:
            deadline = min(deadline, trio.current_time() + START_RETRY_PERIOD)
        with trio.move_on_at(deadline) as waiting:
            await self._changed.wait_until(lambda: self._pod is not seen[0] or self._health is not seen[1])
        if waiting.cancelled_caught and self._unstarted.names:
            await self._start_again()

    async def _finish(self) -> None:
        """The pod is to end, or has ended: its devices are free before the API server is told, since the scheduler
        gives them to the next pod at once."""
        while True:
            if is_deleted(self._pod):
                if not has_ended(self._pod) and self._admission.has(self._uid):
                    await self._end(exit_code=await self._run_out())
                await self._free()
                await self._reports.delete(self._pod)
                return
            if has_ended(self._pod):
                await self._free()
            seen = self._pod
            await self._wait_for_update(seen)

    async def _wait_for_update(self, seen: Object) -> None:
        await self._changed.wait_until(lambda: self._pod is not seen)

    async def _run_out(self) -> int:
        """Wait until the containers have ended: when they want to, or when the grace period is over and they are
        killed. Returns their exit code."""
        assert self._asked_to_end is not None
        while True:
            takes, grace = self._duration(terminate_after) or 0.0, grace_period(self._pod)
            seen = self._pod
            with trio.move_on_at(self._asked_to_end + min(takes, grace)) as ending:
                # The grace period may become shorter meanwhile.
                await self._wait_for_update(seen)
            if ending.cancelled_caught:
                return KILLED if takes > grace else 0

    async def _end(self, *, exit_code: int) -> None:
        running = self._running
        await self._free()
        await self._publish(ended_status(self._pod, running, exit_code=exit_code, time=self._clock()))

    async def _free(self) -> None:
        await self._admission.free(self._uid)
        self.has_left.set()

    async def _publish(self, patch: Object) -> None:
        """Unless the pod ends by itself meanwhile, because the API server does not answer for long."""
        with trio.move_on_at(self._completes_at() if patch["status"]["phase"] == "Running" else float("inf")):
            answer = await self._reports.publish(self._pod, patch)
            if _version(answer) > _version(self._pod):
                self.update(answer)

    # --- containers ---------------------------------------------------------------------------------

    def _note_start(self, result: PodAdmitResult) -> None:
        """Those that did not start; the first that fails keeps those after it from starting."""
        if not result.failed_container:
            self._unstarted = Unstarted(names=frozenset())
            return
        names = [container.name for container in pod_of(self._pod).containers]
        waiting = frozenset(names[names.index(result.failed_container) :])
        self._unstarted = Unstarted(names=waiting, failed=result.failed_container, message=result.message)
        self._say("Failed", f"Error: {result.message}")

    async def _start_again(self) -> None:
        pod = pod_of(self._pod)
        for container in pod.containers:
            if container.name in self._unstarted.names:
                try:
                    await self._manager.start_container(pod, container)
                except (ContainerStartFailed, PluginUnavailable) as error:
                    failed = PodAdmitResult(admitted=True, failed_container=container.name, message=str(error))
                    self._note_start(failed)
                    return
        self._unstarted = Unstarted(names=frozenset())

    # --- small things -------------------------------------------------------------------------------

    @property
    def _running(self) -> Running:
        return Running(place=self._place, since=self._since, health=self._health, unstarted=self._unstarted)

    def _completes_at(self) -> float:
        """When it ends by itself, on the clock of tasks."""
        after = self._duration(complete_after)
        since = self._since if self._since is not None else self._start_time()
        if after is None or since is None or self._unstarted.names:
            return float("inf")
        return trio.current_time() + since + after - self._clock()

    def _start_time(self) -> float | None:
        """As the API server knows it."""
        started = status_of(self._pod).get("startTime")
        return parse_timestamp(started) if started and was_started(self._pod) else None

    def _has_completed(self) -> bool:
        """It has run as long as it was to run, while no agent was here to see that."""
        return not is_deleted(self._pod) and trio.current_time() >= self._completes_at()

    def _duration(self, of: Callable[[Object], float | None]) -> float | None:
        try:
            return of(self._pod)
        except ValueError:
            return None  # said before

    def _remark_on_annotations(self) -> None:
        for of in (complete_after, terminate_after):
            try:
                of(self._pod)
            except ValueError as error:
                self._say("FailedValidation", f"Error validating pod: {error}; it is ignored")

    def _say(self, reason: str, message: str) -> None:
        self._recorder.say(Remark(about_pod(self._pod), reason, message))


def health_of(pod: PodStatus) -> Health:
    """By container, of the devices that it holds."""
    return {one.name: one.health for one in pod.containers if one.health}


def _version(pod: Object) -> int:
    """Answers and watch events come on different ways, so the later one need not be the newer one."""
    version: str = pod["metadata"]["resourceVersion"]
    return int(version) if version.isdecimal() else 0
