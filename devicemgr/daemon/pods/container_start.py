"""Starting the containers of admitted pods: PreStartContainer where it is required, then what the runtime adds.

A start uses what admission recorded: Allocate is not called again (RUN-8), and health is not considered (RUN-4). So a
running pod can restart its containers whatever its plug-in does, unless the plug-in requires PreStartContainer.
"""

from __future__ import annotations

from ...core.allocation.container_options import merge_run_options
from ...core.devices.pod_devices import in_order
from ...core.devices.store import DeviceStore
from ...errors import AllocationRefused, CheckpointUnwritable, ContainerStartFailed, PluginUnavailable, as_cause
from ...events import AnswersConflicted, ContainerNotStarted, ContainerStarted
from ...model import Container, ContainerRun, Owner, Pod, PodAdmitResult, ResourceName, RunOptions
from ..checkpoint.writer import CheckpointWriter
from ..event_log import EventLog
from ..plugins.endpoints import Endpoints
from .pod_admission import PodAdmission
from .topology_manager import TopologyManager


class ContainerStarter:
    """Starts containers from the assignments of ``store``."""

    def __init__(
        self,
        *,
        store: DeviceStore,
        endpoints: Endpoints,
        topology_manager: TopologyManager,
        writer: CheckpointWriter,
        log: EventLog,
    ) -> None:
        self._store = store
        self._endpoints = endpoints
        self._topology_manager = topology_manager
        self._writer = writer
        self._log = log

    async def start_pod(self, pod: Pod) -> PodAdmitResult:
        """Start the containers of an admitted pod in order; the first that cannot start ends it (RUN-1, RUN-2)."""
        runs: list[ContainerRun] = []
        for container in pod.containers:
            try:
                runs.append(await self.start_container(pod, container))
            except (ContainerStartFailed, PluginUnavailable) as error:
                return PodAdmitResult(
                    admitted=True,
                    containers=tuple(runs),
                    failed_container=container.name,
                    message=str(error),
                )
        return PodAdmitResult(admitted=True, containers=tuple(runs))

    async def start_container(self, pod: Pod, container: Container) -> ContainerRun:
        """What the runtime adds to a container that (re)starts, after PreStartContainer where it is required.

        Raises ContainerStartFailed (RUN-E1…E3).
        """
        owner = Owner(pod.uid, container.name)
        if self._store.pod(pod.uid) is None:
            return ContainerRun(name=container.name, devices={})  # it has ended meanwhile: nothing to add (RUN-3)
        try:
            # Decision: devices without a record are allocated before PreStartContainer is called. In the kubelet that
            # call fails without them, so that plug-ins that require it never recover (LIM-14).
            await self._allocate_missing(pod, container)
            for resource in sorted(self._store.assignments(owner)):
                await self._pre_start(owner, resource)
        except ContainerStartFailed as failure:
            event = ContainerNotStarted(
                pod_uid=pod.uid, container=container.name, rule=failure.rule, message=str(failure)
            )
            self._log.record([event])
            raise
        run = self._run_of(owner, record_conflicts=True)
        self._log.record([ContainerStarted(pod_uid=pod.uid, container=container.name)])
        return run

    def without_starting(self, pod: Pod) -> PodAdmitResult:
        """What a start would return, without a call to a plug-in."""
        runs = tuple(self._run_of(Owner(pod.uid, c.name)) for c in pod.containers)
        return PodAdmitResult(admitted=True, containers=runs)

    async def _allocate_missing(self, pod: Pod, container: Container) -> None:
        """Allocate what the container should have and has no record of (RUN-3), and save that."""
        records = self._store.assignments(Owner(pod.uid, container.name))
        if all(resource in records or not count for resource, count in container.limits.items()):
            return
        admission = PodAdmission.without_explanation(pod, container)
        try:
            await self._topology_manager.allocate_container(admission, container)
            await self._writer.flush()
        except (AllocationRefused, PluginUnavailable, CheckpointUnwritable) as error:
            admission.roll_back()
            raise ContainerStartFailed(
                f"devices could not be allocated again: {as_cause(error)}", rule="RUN-3"
            ) from error
        except BaseException:
            admission.roll_back()
            raise

    async def _pre_start(self, owner: Owner, resource: ResourceName) -> None:
        # Decision: a start needs no plug-in that requires no PreStartContainer, even past its grace period (LIM-8). Its
        # options are kept over restarts; until they are known, a start fails and can be retried (LIM-39).
        options = self._store.options_of(resource)
        if options is None and self._store.is_expected_back(resource):
            raise ContainerStartFailed(
                f"whether {resource} requires PreStartContainer is not known until its plug-in registers again; "
                "retry then",
                rule="LIM-39",
            )
        if options is None or not options.pre_start_required:
            return
        if self._store.endpoint(resource) is None:
            raise ContainerStartFailed(
                f"endpoint not found in cache for a registered resource: {resource}", rule="RUN-E3"
            )
        devices = in_order(self._store.assignments(owner)[resource].devices)
        try:
            await self._endpoints.client_of(resource).pre_start_container(devices)
        except (PluginUnavailable, AllocationRefused) as error:
            raise ContainerStartFailed(
                f"device plugin PreStartContainer rpc failed with err: {as_cause(error)}", rule="RUN-E1"
            ) from error

    def _run_of(self, owner: Owner, *, record_conflicts: bool = False) -> ContainerRun:
        assignments = self._store.assignments(owner)
        answers: dict[ResourceName, RunOptions] = {name: a.answer for name, a in assignments.items()}
        options, conflicts = merge_run_options(answers)
        if record_conflicts:
            self._log.record(
                AnswersConflicted(
                    pod_uid=owner.pod_uid,
                    container=owner.container,
                    part=conflict.part,
                    key=conflict.key,
                    kept=conflict.kept,
                    ignored=conflict.ignored,
                )
                for conflict in conflicts
            )
        devices = {name: in_order(assignments[name].devices) for name in sorted(assignments)}
        return ContainerRun(name=owner.container, devices=devices, options=options)
