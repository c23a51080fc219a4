"""The life of one pod, on one screen: admission, status, end, one after the other.

The worker looks at the pod as it is by now, does what is to be done next, and waits until something has changed. So an
end that comes during the admission is seen after it, and nothing is decided on an old state.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial

import trio

from ...concurrency.condition_variable import ConditionVariable
from ...daemon.manager import DeviceManager
from ...events import PodDeleted
from ...model import PodAdmitResult, PodStatus
from ..objects.event import NORMAL, WARNING, Remark
from ..objects.metadata import Object, annotation, status_of, uid_of, version_number
from ..objects.pod import (
    COMPLETE_AFTER,
    ENDED,
    TERMINATE_AFTER,
    active_deadline,
    complete_after,
    grace_period,
    has_ended,
    is_deleted,
    pod_of,
    still_runs,
    terminate_after,
    was_started,
)
from ..objects.pod_status import (
    KILLED,
    PAST_DEADLINE,
    PREEMPTED,
    EarlyEnd,
    Health,
    Place,
    Running,
    abandoned_status,
    ended_status,
    is_shown,
    refused_status,
    running_status,
)
from ..objects.resize import Resources, asked, deferred_generation, given, resize_message
from ..objects.times import parse_timestamp
from .admission import Admission
from .container_starts import ContainerStarts
from .event_recorder import EventRecorder
from .lease import NodeLease
from .pace import Pace
from .pod_reports import PodGone, PodReports

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
        self._is_preempted = False
        self._health: Health = {}
        self._starts = ContainerStarts(manager, self._say)
        self._resources: Resources = {}
        """What it was given; empty until it is admitted."""
        self._resize_problem = ""
        self._deferred = 0
        """The generation whose resize was put off last."""
        self._changed = ConditionVariable()
        self._asked_to_end: float | None = None
        self._life = trio.CancelScope()
        self.had_its_turn = trio.Event()
        """Its admission is over."""
        self.has_left = trio.Event()
        """Its place and its devices are free."""

    # --- what has changed ---------------------------------------------------------------------------

    def update(self, pod: Object) -> None:
        """The pod as the API server has it now. What the watch repeats of an answer is no news."""
        if pod["metadata"]["resourceVersion"] == self._pod["metadata"]["resourceVersion"]:
            return
        before, self._pod = self._pod, pod
        if self._resources:
            self._remark_on_annotations(before)
        self._note_end()
        self.try_resize()
        self._changed.notify()

    def _note_end(self) -> None:
        """Whoever deletes it, or says that it has ended, asks its containers to end."""
        if (is_deleted(self._pod) or has_ended(self._pod)) and self._asked_to_end is None:
            self._asked_to_end = trio.current_time()

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

    def preempt(self) -> None:
        """It ends, so that a critical pod may run."""
        self._is_preempted = True
        self._changed.notify()

    @property
    def pod(self) -> Object:
        return self._pod

    @property
    def waits_for_resize(self) -> bool:
        return bool(self._resize_problem)

    def try_resize(self) -> None:
        """It may ask for other resources than it was given, and there may be room for them by now."""
        if not self._resources or self._is_asked_to_end():
            return
        wanted = asked(self._pod)
        problem = "" if wanted == self._resources else self._admission.resize(self._pod)
        if problem:
            self._put_off(problem)
        elif wanted != self._resources:
            for what, reason in (("started", "ResizeStarted"), ("completed", "ResizeCompleted")):
                self._say(reason, resize_message(what, self._pod), type=NORMAL)
            self._resources = wanted
        self._resize_problem = problem
        self._changed.notify()

    def _put_off(self, problem: str) -> None:
        """Said once of each resize."""
        generation = self._pod["metadata"].get("generation", 0)
        if generation not in (self._deferred, deferred_generation(self._pod)):
            self._say("ResizeDeferred", resize_message("Deferred", self._pod, problem))
        self._deferred = generation

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
        self._note_end()
        if await self._admit():
            self.had_its_turn.set()
            await self._run_on()
            if self._is_preempted and not (is_deleted(self._pod) or has_ended(self._pod)):
                await self._end_early(PREEMPTED)
        self.had_its_turn.set()
        await self._finish()

    async def _run_on(self) -> None:
        """Until it is to end. Its status is written when it is not what it should be; at a pace, if somebody has undone
        it."""
        pace, wrote, at = Pace(self._changed), None, 0.0
        while not self._is_asked_to_end():
            if trio.current_time() >= self._ends_at():
                await self._end_by_itself()
                return
            pod, running, status = self._pod, self._running, self._running_status()
            if is_shown(status_of(self._pod), status["status"]):
                await self._wait_for_news(pod, running)
            elif running == wrote:
                with trio.move_on_at(min(self._ends_at(), self._starts.again_at)):
                    await pace.wait(at, partial(self._has_news, running))
                wrote = None
            else:
                wrote, at = running, trio.current_time()
                await self._publish(status)
                if self._pod is pod:  # the API server has taken it, and shows something else
                    await self._wait_for_news(pod, running)

    async def _admit(self) -> bool:
        """Does it have its place and its devices? An end may have come before."""
        await self._wait_for_turn()
        await self._lease.wait_held()
        self._remark_on_annotations()
        resources = given(self._pod)
        if has_ended(self._pod) or is_deleted(self._pod):
            self._resources = resources
            await self._look_up_health()
            return False
        if self._has_completed():
            self._resources = resources
            return True
        try:
            await self._admission.make_room(self._pod)
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
        if result.failed_container:
            await self._starts.note_failure(pod_of(self._pod), result)
        await self._look_up_health()
        self._resources = resources
        self.try_resize()
        return True

    async def _wait_for_turn(self) -> None:
        """Or until there is nothing to be admitted any more."""
        if not self._turns:
            return
        async with trio.open_nursery() as nursery:

            async def wait_for_end() -> None:
                await self._changed.wait_until(lambda: is_deleted(self._pod) or has_ended(self._pod))
                nursery.cancel_scope.cancel()

            nursery.start_soon(wait_for_end)
            for turn in self._turns:
                await turn.wait()
            nursery.cancel_scope.cancel()

    async def _look_up_health(self) -> None:
        status = await self._manager.pod_in_turns(self._uid)
        self._health = {} if status is None else health_of(status)

    def _has_news(self, wrote: Running) -> bool:
        """Is it something else than that another program has changed the status?"""
        return (
            self._is_asked_to_end()
            or self._running != wrote
            or is_shown(status_of(self._pod), self._running_status()["status"])
        )

    async def _wait_for_news(self, pod: Object, running: Running) -> None:
        """Until there is something to be done: the pod, what it has or the time has changed."""
        with trio.move_on_at(min(self._ends_at(), self._starts.again_at)):
            await self._changed.wait_until(
                lambda: self._pod is not pod or self._running != running or self._is_asked_to_end()
            )
        if trio.current_time() >= self._starts.again_at:
            await self._starts.start_again(pod_of(self._pod))

    async def _end_by_itself(self) -> None:
        """It is complete, or past its deadline, whichever came first; the latter ends containers that still run."""
        if self._completes_at() <= self._deadline():
            await self._end(exit_code=0)
            return
        await self._end_early(PAST_DEADLINE)

    async def _end_early(self, why: EarlyEnd) -> None:
        self._say(why.reason, why.message, type=why.event_type)
        self._asked_to_end = trio.current_time()
        await self._end(exit_code=await self._run_out(), early=why)

    async def _finish(self) -> None:
        """The pod is to end, or has ended: its devices are free before the API server is told, since the scheduler
        gives them to the next pod at once."""
        while True:
            if has_ended(self._pod):
                if still_runs(self._pod):  # somebody else says that it has ended
                    await self._end(exit_code=await self._run_out())
                await self._free()
            elif is_deleted(self._pod):
                await self._end_deleted()
            if is_deleted(self._pod):
                await self._free()
                await self._reports.delete(self._pod)
                return
            seen = self._pod
            await self._wait_for_update(seen)

    async def _wait_for_update(self, seen: Object) -> None:
        await self._changed.wait_until(lambda: self._pod is not seen)

    async def _end_deleted(self) -> None:
        if self._admission.has(self._uid):
            await self._end(exit_code=await self._run_out())
        else:
            await self._publish(abandoned_status(self._pod, self._place, time=self._clock()))

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

    async def _end(self, *, exit_code: int, early: EarlyEnd | None = None) -> None:
        running = self._running
        await self._free()
        ended = ended_status(self._pod, running, exit_code=exit_code, early=early, time=self._clock())
        await self._publish(ended)

    async def _free(self) -> None:
        self._resources = {}
        await self._admission.free(self._uid)
        self.has_left.set()

    async def _publish(self, patch: Object) -> None:
        """Unless the pod ends by itself meanwhile, because the API server does not answer for long."""
        with trio.move_on_at(float("inf") if patch["status"]["phase"] in ENDED else self._ends_at()):
            answer = await self._reports.publish(self._pod, patch)
            if version_number(answer) > version_number(self._pod):
                self.update(answer)

    # --- small things -------------------------------------------------------------------------------

    def _is_asked_to_end(self) -> bool:
        return self._is_preempted or is_deleted(self._pod) or has_ended(self._pod)

    def _running_status(self) -> Object:
        return running_status(self._pod, self._running, time=self._clock())

    @property
    def _running(self) -> Running:
        return Running(
            place=self._place,
            since=self._since,
            health=self._health,
            unstarted=self._starts.unstarted,
            resources=self._resources,
            resize_problem=self._resize_problem,
        )

    def _ends_at(self) -> float:
        """When it ends by itself, on the clock of tasks."""
        return min(self._completes_at(), self._deadline())

    def _completes_at(self) -> float:
        if self._starts.unstarted.problems:
            return float("inf")
        return self._after(self._duration(complete_after), self._start_time() if self._since is None else self._since)

    def _deadline(self) -> float:
        """It counts from the start that the API server knows, also while containers cannot start."""
        started = status_of(self._pod).get("startTime")
        return self._after(active_deadline(self._pod), parse_timestamp(started) if started else self._since)

    def _after(self, seconds: float | None, since: float | None) -> float:
        """By the clock of tasks; never without both."""
        if seconds is None or since is None:
            return float("inf")
        return trio.current_time() + since + seconds - self._clock()

    def _start_time(self) -> float | None:
        """As the API server knows it."""
        started = status_of(self._pod).get("startTime")
        return parse_timestamp(started) if started and was_started(self._pod) else None

    def _has_completed(self) -> bool:
        """It has run as long as it was to run, while no agent was here to see that."""
        return not is_deleted(self._pod) and trio.current_time() >= self._ends_at()

    def _duration(self, of: Callable[[Object], float | None]) -> float | None:
        try:
            return of(self._pod)
        except ValueError:
            return None  # said before

    def _remark_on_annotations(self, before: Object | None = None) -> None:
        """On those that are not as they were ``before``."""
        for key, of in ((COMPLETE_AFTER, complete_after), (TERMINATE_AFTER, terminate_after)):
            if before is None or annotation(before, key) != annotation(self._pod, key):
                try:
                    of(self._pod)
                except ValueError as error:
                    self._say("FailedValidation", f"Error validating pod: {error}; it is ignored")

    def _say(self, reason: str, message: str, *, container: str = "", type: str = WARNING) -> None:
        self._recorder.say(Remark.about(self._pod, reason, message, container=container, type=type))


def health_of(pod: PodStatus) -> Health:
    """By container, of the devices that it holds."""
    return {one.name: one.health for one in pod.containers if one.health}
