"""Starting the containers of admitted pods: PreStartContainer where it is wanted, then what the runtime adds.

A start uses what admission recorded: Allocate is not called again (RUN-8), and health is not looked at (RUN-4), so a
running pod can restart its containers whatever its plug-in does, unless the plug-in wants PreStartContainer.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..core.holdings import in_order
from ..core.run_options import merge_run_options
from ..core.store import DeviceStore
from ..errors import AllocationRefused, ContainerStartFailed, PluginUnavailable
from ..events import AnswersConflicted, ContainerNotStarted, ContainerStarted
from ..model import Admission, Container, ContainerRun, DeviceId, Owner, Pod, ResourceName, RunOptions
from .endpoints import Endpoints
from .event_log import EventLog


class ContainerStarts:
    """Starts containers from the assignments of ``store``."""

    def __init__(self, *, store: DeviceStore, endpoints: Endpoints, log: EventLog) -> None:
        self._store = store
        self._endpoints = endpoints
        self._log = log

    async def start_pod(self, pod: Pod) -> Admission:
        """Start the containers of an admitted pod in order; the first that cannot start ends it (RUN-1, RUN-2)."""
        runs: list[ContainerRun] = []
        for container in pod.containers:
            try:
                runs.append(await self.start_container(pod, container))
            except (ContainerStartFailed, PluginUnavailable) as error:
                return Admission(
                    admitted=True,
                    containers=tuple(runs),
                    failed_container=container.name,
                    message=str(error),
                )
        return Admission(admitted=True, containers=tuple(runs))

    async def start_container(self, pod: Pod, container: Container) -> ContainerRun:
        """What the runtime adds to a container that (re)starts, after PreStartContainer where it is wanted.

        Raises ContainerStartFailed (RUN-E1…E3).
        """
        owner = Owner(pod.uid, container.name)
        try:
            for resource in sorted(container.limits):
                if container.limits[resource] and self._store.is_known(resource):
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

    def without_starting(self, pod: Pod) -> Admission:
        """What a start would give, with nobody asked."""
        runs = tuple(self._run_of(Owner(pod.uid, c.name)) for c in pod.containers)
        return Admission(admitted=True, containers=runs)

    def holdings_of(self, pod: Pod) -> dict[str, Mapping[ResourceName, tuple[DeviceId, ...]]]:
        """By container name: the devices it holds."""
        return {c.name: self._run_of(Owner(pod.uid, c.name)).devices for c in pod.containers}

    async def _pre_start(self, owner: Owner, resource: ResourceName) -> None:
        endpoint = self._store.endpoint(resource)
        if endpoint is None:
            raise ContainerStartFailed(
                f"endpoint not found in cache for a registered resource: {resource}", rule="RUN-E3"
            )
        if not endpoint.options.pre_start_required:
            return
        record = self._store.assignments(owner).get(resource)
        if record is None:
            raise ContainerStartFailed(
                f"no devices found allocated in local cache for pod {owner.pod_uid}, "
                f"container {owner.container}, resource {resource}",
                rule="RUN-E2",
            )
        try:
            await self._endpoints.client_of(resource).pre_start_container(in_order(record.devices))
        except (PluginUnavailable, AllocationRefused) as error:
            raise ContainerStartFailed(
                f"device plugin PreStartContainer rpc failed with err: {error}", rule="RUN-E1"
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
