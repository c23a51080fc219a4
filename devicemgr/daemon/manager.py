"""The Device Manager as an embedding program uses it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any

import trio

from ..arguments import Count, Seconds, checked
from ..concurrency.steps import Steps, run_steps
from ..concurrency.task_descriptions import describes_task
from ..concurrency.turns import run_in_turns
from ..core.devices.store import DeviceStore
from ..core.views.gauges import Gauge, gauges
from ..core.views.node_status import node_status, reset_node_status
from ..core.views.overview import Overview, overview
from ..core.views.pod_status import pod_statuses
from ..core.views.task_tree import TaskTree
from ..errors import Refused, ResourceWaitTimeout
from ..input.manifest import as_pod
from ..model import (
    Container,
    ContainerRun,
    EffectiveSettings,
    NodeStatus,
    Pod,
    PodAdmitResult,
    PodStatus,
    Registration,
    ResourceCounts,
    ResourceName,
)
from ..resource_names import ExtendedResource
from .cached_view import CachedView
from .event_log import EventLog, RecordedEvent
from .faults.actions import Faults
from .faults.injection import FaultInjection
from .incarnation import Incarnation
from .layout import Layout
from .open_calls import OpenCalls
from .plugins.watcher import PluginWatcher
from .pods.pod_resources import PodResources
from .serving.trace import format_event
from .task_tree.running_tree import RunningTree
from .task_tree.watching import TreeWatch, TreeWatcher

SHOWN_EVENTS = 10
"""How many events the error of :meth:`DeviceManager.wait_for_resource` shows."""


class DeviceManager:
    """A running manager. Made by :func:`devicemgr.open_device_manager`; valid until that block ends, over restarts.

    After that, every method raises ManagerClosed; so do calls that are in progress when it ends.
    """

    # It is made in the task that runs it. ``calls_line`` is the nursery that calls of the program are shown in.
    def __init__(self, layout: Layout, log: EventLog, settings: EffectiveSettings, *, calls_line: str) -> None:
        self.layout = layout
        self._settings = settings
        self.fault_injection = FaultInjection()
        self._log = log
        self._latest: Incarnation
        self._calls = OpenCalls()
        self.running_tree = RunningTree(trio.lowlevel.current_task(), self._calls, calls_line=calls_line)
        self._tree_watch = TreeWatch(self.running_tree, log)
        self._pod_resources = PodResources(lambda: self._incarnation.store, log)
        self._pod_statuses = CachedView(pod_statuses)
        self.faults = Faults(
            layout=layout,
            log=log,
            fault_injection=self.fault_injection,
            current=lambda: self._latest,
            calls=self._calls,
        )

    # --- for the supervisor ------------------------------------------------------------------------

    @asynccontextmanager
    async def enter(self, incarnation: Incarnation) -> AsyncIterator[None]:
        """This incarnation serves for as long as the block lasts. With the last one the manager is closed, before
        anything ends that a call may need, and before the last write, since cancelled calls release their devices.
        """
        self._latest = incarnation
        try:
            yield
        finally:
            incarnation.has_ended = True
            if incarnation.restart_delay == float("inf"):
                self.close()
                await self._calls.wait_ended()

    def close(self) -> None:
        """From now on every call raises ManagerClosed, and so do those that are in progress."""
        self._calls.close()

    @property
    def _incarnation(self) -> Incarnation:
        self._calls.check()
        return self._latest

    @describes_task(waits_for="the end of a restart")
    async def _serving(self) -> Incarnation:
        """The current incarnation; between two of them, waits for the next."""
        await self._log.wait_until(lambda: not self._latest.has_ended)
        return self._latest

    # --- queries ----------------------------------------------------------------------------------

    @property
    def pod_resources(self) -> PodResources:
        """The questions of monitoring agents, without a socket in between."""
        self._calls.check()
        return self._pod_resources

    @property
    def log(self) -> EventLog:
        """For what stands beside the manager in the same program: its own events belong to the same log."""
        self._calls.check()
        return self._log

    @property
    def watcher(self) -> PluginWatcher:
        return self._incarnation.watcher

    def capacity(self) -> dict[ResourceName, ResourceCounts]:
        """What the node would publish, per resource (CAP-1). A removed resource is listed with zeroes (LIM-5)."""
        return self._incarnation.store.capacity()

    def pods(self) -> list[PodStatus]:
        """The admitted pods, oldest first, with the devices of their containers and the health of each (RHS-1)."""
        return run_steps(pod_statuses(self._incarnation.store))

    async def pods_in_turns(self) -> list[PodStatus]:
        """The same at the time of the call, in steps, so that other tasks run in between. Until the state changes, all
        callers get the same list: do not modify it."""
        return await run_in_turns(self._pod_statuses.steps(self._incarnation.store))

    @checked
    async def pod_in_turns(self, uid: str) -> PodStatus | None:
        """The same for one pod, which takes as long as that one has devices; None if it is not admitted."""
        store = self._incarnation.store
        pod = store.pod(uid)
        return None if pod is None else (await run_in_turns(pod_statuses(store, [pod])))[0]

    @checked
    def node_status(self, node: NodeStatus | None = None) -> NodeStatus:
        """What a kubelet would publish for these resources; removed ones with 0 until acknowledged (CAP-5, LIM-5).

        ``node`` is what the node publishes now for all resources. If this manager has started without a checkpoint, its
        extended resources are disregarded, and ``reset`` is true (CAP-6).
        """
        store, node = self._incarnation.store, node or NodeStatus(capacity={}, allocatable={})
        counts = store.capacity()
        return node_status(
            reset_node_status(node) if store.should_reset else node,
            capacity={name: one.capacity for name, one in counts.items()},
            allocatable={name: one.allocatable for name, one in counts.items()},
            removed=store.removed,
        )

    def settings(self) -> EffectiveSettings:
        """The settings in effect: how pods are aligned, on which NUMA nodes, and the peer limits."""
        self._calls.check()
        return self._settings

    @checked
    def explain(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Why the pod got its devices, or none, as JSON-ready data; the latest explanation of a pod that is gone.

        Of several pods with one name, the last one. With an empty ``namespace``, ``name`` may also be a uid.
        """
        incarnation = self._incarnation
        explanations, pod = incarnation.pod_admit_handler.explanations, _find(incarnation, namespace, name)
        explanation = explanations.past(namespace, name) if pod is None else explanations.current(pod.uid)
        return None if explanation is None else explanation.as_json()

    def task_tree(self) -> TaskTree:
        """The tasks that run now, each under its nursery, with what it waits for. Of the program's own tasks, only the
        calls they make of this manager. ``as_json`` makes plain data of it."""
        self._calls.check()
        return self.running_tree.snapshot()

    def overview_steps(self) -> Steps[Overview]:
        """The devices by NUMA nodes, free or held, and the pods that hold them, as they are when the first step is
        done; of more than some hundred resources, each as it is at one moment."""
        return overview(self._incarnation.store)

    def watch_task_tree(self) -> AbstractContextManager[TreeWatcher]:
        """The same again and again, for callers behind a socket, who do not outlast a restart."""
        self._calls.check()
        return self._tree_watch.open()

    def events(self) -> list[RecordedEvent]:
        """The last events, oldest first."""
        self._calls.check()
        return self._log.after(0)

    def gauges(self) -> list[Gauge]:
        """The metrics that are looked up at each scrape: sizes, not events."""
        return gauges(
            self.capacity(),
            {"desired_state_of_world": self.watcher.desired, "actual_state_of_world": self.watcher.registered},
            pods=len(self._incarnation.store.pods),
            tasks=_tasks(),
        )

    # --- commands ----------------------------------------------------------------------------------

    @checked
    @describes_task(name="register")
    async def register(self, registration: Registration) -> None:
        """Handle a Register call. Raises RegistrationRefused."""
        with self._calls.track():
            await (await self._serving()).endpoints.register(registration)

    @checked
    @describes_task(name="admit")
    async def admit(self, pod: Pod | Mapping[str, Any] | str, *, start: bool = True) -> PodAdmitResult:
        """Admit or refuse a pod: allocate its devices and, with ``start``, start its containers in order.

        The pod may also be a manifest, as a dictionary or as YAML. A refusal is a value: look at ``admitted``,
        ``reason`` and ``message``. Raises BadInput for an invalid manifest.
        """
        with self._calls.track():
            return await (await self._serving()).pod_admit_handler.admit(as_pod(pod), start=start)

    @checked
    @describes_task(name="admit")
    async def admit_if(self, check: Callable[[], None], pod: Pod, *, start: bool = True) -> PodAdmitResult:
        """The same, for somebody who knows what the pod needs beside devices: ``check`` is called when the pod has its
        devices, and refuses it by raising AdmissionRefused. Its devices are free again then."""
        with self._calls.track():
            return await (await self._serving()).pod_admit_handler.admit(pod, start=start, check=check)

    @checked
    @describes_task(name="start_container")
    async def start_container(self, pod: Pod, container: Container) -> ContainerRun:
        """Start a container of an admitted pod, or start it again (RUN-1). Raises ContainerStartFailed."""
        with self._calls.track():
            return await (await self._serving()).pod_admit_handler.start_container(pod, container)

    @checked
    @describes_task(name="remove")
    async def remove(self, namespace: str, name: str) -> bool:
        """Remove a pod that has ended; its devices are free when this returns. False when there is no such pod.

        With an empty ``namespace``, ``name`` may also be a uid. Raises Refused when several pods have that name, since
        a guess could release the devices of a running pod.
        """
        with self._calls.track():
            incarnation = await self._serving()
            if len(namesakes := incarnation.store.find_pods(namespace, name)) > 1:
                uids = ", ".join(pod.uid for pod in namesakes)
                raise Refused(
                    f"there are {len(namesakes)} pods {namespace}/{name}; say which by its uid: {uids}", rule="GC-3"
                )
            pod = _find(incarnation, namespace, name)
            return pod is not None and await incarnation.pod_admit_handler.remove(pod)

    @checked
    @describes_task(name="retain")
    async def retain(self, uids: Iterable[str]) -> list[Pod]:
        """Keep only these pods; remove the others, and return them (GC-1).

        After a restart, call it when you know which pods still exist.
        """
        with self._calls.track():
            return await (await self._serving()).pod_admit_handler.retain(uids)

    @checked
    @describes_task(name="acknowledge_removed")
    async def acknowledge_removed(self, resource: str) -> None:
        """Stop listing a removed resource, since its zero was published (LIM-5). Raises CheckpointUnwritable."""
        with self._calls.track():
            incarnation = await self._serving()
            incarnation.store.acknowledge_removed(resource)
            await incarnation.writer.flush()

    def acknowledge_reset(self) -> None:
        """The node's extended resources were reset: regard what it publishes from now on (CAP-6)."""
        self._incarnation.store.should_reset = False

    @describes_task(name="flush")
    async def flush(self) -> None:
        """Return when all changes up to now are on disk. Raises CheckpointUnwritable."""
        with self._calls.track():
            await (await self._serving()).writer.flush()

    # --- waiting -----------------------------------------------------------------------------------

    @checked
    @describes_task(name="wait_for_resource", about="{resource}", waits_for="a change of the devices")
    async def wait_for_resource(
        self,
        resource: ExtendedResource,
        *,
        capacity: Count | None = None,
        allocatable: Count | None = None,
        timeout: Seconds = 10.0,  # noqa: ASYNC109 - a test's deadline with an error that shows the state
    ) -> ResourceCounts:
        """Wait until the resource is published with these numbers (None: any).

        Raises ResourceWaitTimeout after ``timeout`` seconds; its text shows the actual state and the last events.
        """

        def reached() -> bool:
            counts = self._latest.store.capacity().get(resource)
            return (
                counts is not None and capacity in (None, counts.capacity) and allocatable in (None, counts.allocatable)
            )

        with self._calls.track(), trio.move_on_after(timeout) as scope:
            await self._log.wait_until(reached)
        if scope.cancelled_caught:
            raise ResourceWaitTimeout(self._describe_wait(resource, capacity, allocatable, timeout))
        return self.capacity()[resource]

    def _describe_wait(
        self, resource: ResourceName, capacity: int | None, allocatable: int | None, seconds: float
    ) -> str:
        wanted = {"capacity": capacity, "allocatable": allocatable}
        words = ", ".join(f"{key} {value}" for key, value in wanted.items() if value is not None) or "any state"
        counts = self.capacity().get(resource)
        state = f"has {counts.in_words()}" if counts else "is not published"
        last = self.events()[-SHOWN_EVENTS:]
        events = "".join(f"\n  {-self._log.age(one):8.3f} s  {format_event(one.event)}" for one in last)
        return f"{resource} did not reach {words} within {seconds:g} s; it {state}; the last events:{events}"

    @checked
    @describes_task(name="events_after", waits_for="the next event")
    async def events_after(self, sequence: Count, *, wait: bool) -> Sequence[tuple[int, Mapping[str, Any]]]:
        """Events with a higher number, as JSON-ready values. With ``wait``, waits for the next one if there is none."""
        with self._calls.track():
            if wait:
                await self._log.wait_until(lambda: self._log.has_after(sequence))
            return _as_json(self._log.after(sequence))

    @describes_task(name="wait_for_reports", waits_for="a report of a plug-in")
    async def wait_for_reports(self, seen: object = None) -> object:
        """Return when plug-ins have come, gone or reported devices since ``seen``, which an earlier call has returned:
        the node's status or the health of devices may be another one. Pods that come and go change neither."""

        def latest() -> tuple[DeviceStore, int]:
            store = self._latest.store
            return store, store.reports

        with self._calls.track():
            await self._log.wait_until(lambda: latest() != seen)
            return latest()

    async def events_of_incarnation(self, sequence: int, *, wait: bool) -> Sequence[tuple[int, Mapping[str, Any]]]:
        """The same for callers behind a socket, which does not outlast a restart: with ``wait``, empty when
        this incarnation ends."""
        with self._calls.track():
            return _as_json(await self._log.wait_after(sequence) if wait else self._log.after(sequence))


def _find(incarnation: Incarnation, namespace: str, name: str) -> Pod | None:
    return incarnation.store.find_pod(namespace, name) or (None if namespace else incarnation.store.pod(name))


def _as_json(recorded: Iterable[RecordedEvent]) -> list[tuple[int, Mapping[str, Any]]]:
    return [(one.sequence, one.as_json()) for one in recorded]


def _tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living
