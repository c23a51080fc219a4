"""May this pod run here? The manager's answer, with what the kubelet checks beside devices."""

from __future__ import annotations

from dataclasses import replace

from ...daemon.manager import DeviceManager
from ...errors import AdmissionRefused
from ...model import Pod, PodAdmitResult
from ..objects.fit import Tenants, misfit
from ..objects.metadata import Object, uid_of
from ..objects.pod import pod_of, was_started
from .node_object import NodeObject


class Admission:
    """Knows which pods have their place on the node."""

    def __init__(self, manager: DeviceManager, node: NodeObject) -> None:
        self._manager = manager
        self._node = node
        self._tenants = Tenants()

    def expect(self, pod: Object) -> None:
        """It runs here already, since before a restart: it counts before anybody else is admitted."""
        self._tenants.add(pod)

    async def admit(self, pod: Object) -> PodAdmitResult:
        """A pod that runs keeps its place and its devices, whatever has become of the node meanwhile, and its
        containers are not started again."""
        started = was_started(pod)

        def check() -> None:
            if not started:
                self._check_fit(pod)
            self._tenants.add(pod)

        result = await self._manager.admit_if(check, self._of_plugins(pod_of(pod)), start=not started)
        if not result.admitted:
            self._tenants.discard(uid_of(pod))
        return result

    def has(self, uid: str) -> bool:
        """Has it its place here?"""
        return uid in self._tenants

    async def free(self, uid: str) -> None:
        """It has ended."""
        self._tenants.discard(uid)
        await self._manager.remove("", uid)

    def _of_plugins(self, pod: Pod) -> Pod:
        """Without what somebody else has published on the Node: there are no devices of that, so it is only counted.

        A pod that was admitted without it stays so, whatever plug-in may have come since.
        """
        here = next((one for one in self._manager.pods() if one.uid == pod.uid), None)
        held = None if here is None else {name for one in here.containers for name in one.health}
        of_others = self._node.resources_of_others(beside=held)
        containers = (
            replace(one, limits={name: count for name, count in one.limits.items() if name not in of_others})
            for one in pod.containers
        )
        return replace(pod, containers=tuple(containers))

    def _check_fit(self, pod: Object) -> None:
        # While somebody has deleted the Node, it is being registered again, as it was.
        node = self._node.found or self._node.as_new()
        if found := misfit(pod, node, self._node.allocatable(), self._tenants):
            raise AdmissionRefused(found.message, rule="CAP-9", reason=found.reason)
