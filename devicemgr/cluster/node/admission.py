"""May this pod run here? The manager's answer, with what the kubelet checks beside devices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import trio

from ...concurrency.condition_variable import ConditionVariable
from ...daemon.manager import DeviceManager
from ...errors import AdmissionRefused
from ...model import Pod, PodAdmitResult, PodStatus
from ..objects.fit import Misfit, Tenants, misfits
from ..objects.metadata import Object, uid_of
from ..objects.pod import pod_of, was_started
from ..objects.preemption import is_critical, pods_to_preempt
from ..objects.requests import Requests, pod_requests
from ..objects.resize import as_given, given
from .node_object import NodeObject

_NO_ROOM = (
    "Unexpected error while attempting to recover from admission failure: preemption: "
    "error finding a set of pods to preempt: "
)


class Admission:
    """Knows which pods have their place on the node."""

    def __init__(self, manager: DeviceManager, node: NodeObject) -> None:
        self._manager = manager
        self._node = node
        self._tenants = Tenants()
        self._reserved: set[str] = set()
        """By uid, those of the tenants that have not been admitted yet."""
        self.preempted: set[str] = set()
        """By uid, those that have to end so that a critical pod may run."""
        self._making_room = trio.Lock()  # for one critical pod after the other, or too many others would have to end
        self._changed = ConditionVariable()
        self._changes = 1

    def expect(self, pod: Object) -> None:
        """It runs here already, since before a restart: it counts before anybody else is admitted."""
        self._tenants.add(as_given(pod, given(pod)))

    def reserve(self, pod: Object) -> bool:
        """Keep a place for a pod that will be admitted. False if it does not fit beside those that have one."""
        if uid_of(pod) in self._tenants:
            return True
        try:
            if self._misfit(pod):
                return False
        except ValueError:  # a quantity that no node can have: its admission says so
            return False
        self._tenants.add(pod)
        self._reserved.add(uid_of(pod))
        return True

    async def make_room(self, pod: Object) -> None:
        """Let other pods end if a critical one lacks nothing but what they have. Return when they have ended. Raises
        ValueError, in the kubelet's words, if all of them together have too little."""
        if not is_critical(pod) or uid_of(pod) in self._tenants:
            return
        async with self._making_room:
            missing = [one.missing for one in self._misfits(pod)]
            if not missing or None in missing or self._lacks_devices(pod):
                return
            others = [one for one in self._tenants if uid_of(one) not in self._reserved]
            try:
                victims = pods_to_preempt(pod, others, Requests(dict(filter(None, missing))))
            except ValueError as error:
                raise ValueError(f"{_NO_ROOM}{error}") from None
            self._tenants.add(pod)
            self._reserved.add(uid_of(pod))
            self.preempted |= {uid_of(one) for one in victims}
            self._note_change()
            await self._changed.wait_until(lambda: not self.preempted)

    def _lacks_devices(self, pod: Object) -> bool:
        """A kubelet allocates devices before it looks for room, so nobody ends for a pod that will not get its own."""
        requests = pod_requests(pod)
        return any(requests[name] > counts.available for name, counts in self._manager.capacity().items())

    async def admit(self, pod: Object) -> PodAdmitResult:
        """A pod that runs keeps its place and its devices, whatever has become of the node meanwhile, and its
        containers are not started again."""
        started, pod = was_started(pod), as_given(pod, given(pod))

        def check() -> None:
            if not started:
                self._check_fit(pod)
            self._tenants.add(pod)

        if not started:
            await self._node.look_again_for(pod)
        of_plugins = self._of_plugins(pod_of(pod), await self._manager.pod_in_turns(uid_of(pod)))
        result = await self._manager.admit_if(check, of_plugins, start=not started)
        self._reserved.discard(uid_of(pod))
        if not result.admitted:
            self._tenants.discard(uid_of(pod))
        return result

    def resize(self, pod: Object) -> str:
        """Give it the cpu and memory that it asks for by now. Why it has to wait for them; empty if it has them."""
        if found := self._misfit(pod):
            return found.message
        self._tenants.add(pod)
        self._note_change()
        return ""

    def has(self, uid: str) -> bool:
        """Was it admitted, and has not left?"""
        return uid in self._tenants and uid not in self._reserved

    async def free(self, uid: str) -> None:
        """It has ended."""
        self._tenants.discard(uid)
        self._reserved.discard(uid)
        await self._manager.remove("", uid)
        self.preempted.discard(uid)
        self._note_change()

    async def wait_for_change(self, seen: int) -> int:
        """Return when there may be more room on the node, or somebody has to make some, since the last look; with what
        to call this with next. At once for 0."""
        await self._changed.wait_until(lambda: self._changes != seen)
        return self._changes

    def _note_change(self) -> None:
        self._changes += 1
        self._changed.notify()

    def _of_plugins(self, pod: Pod, before: PodStatus | None) -> Pod:
        """Without what somebody else has published on the Node: there are no devices of that, so it is only counted.

        A pod that was admitted ``before`` without it stays so, whatever plug-in may have come since.
        """
        held = None if before is None else {name for one in before.containers for name in one.health}
        of_others = self._node.resources_of_others(beside=held)
        if not any(of_others.keys() & one.limits.keys() for one in pod.containers):
            return pod
        containers = (
            replace(one, limits={name: count for name, count in one.limits.items() if name not in of_others})
            for one in pod.containers
        )
        return replace(pod, containers=tuple(containers))

    def _check_fit(self, pod: Object) -> None:
        if found := self._misfit(pod):
            raise AdmissionRefused(found.message, rule="CAP-9", reason=found.reason)

    def _misfit(self, pod: Object) -> Misfit | None:
        return next(self._misfits(pod), None)

    def _misfits(self, pod: Object) -> Iterator[Misfit]:
        # While somebody has deleted the Node, it is being registered again, as it was.
        node = self._node.found or self._node.as_new()
        return misfits(pod, node, self._node.allocatable(), self._tenants)
