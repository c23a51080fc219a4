"""The containers of one pod that could not be started: why, and when they are started again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import trio

from ...daemon.manager import DeviceManager
from ...errors import ContainerStartFailed, PluginUnavailable
from ...model import Container, ContainerKind, Pod, PodAdmitResult
from ..objects.pod_status import Unstarted

RETRY_PERIOD = 10.0
"""Seconds until a container that could not start is started again, as a kubelet does it at first."""


class Say(Protocol):
    """Writes an Event about the pod."""

    def __call__(self, reason: str, message: str, *, container: str) -> None: ...


class ContainerStarts:
    """An admission starts the containers, up to the first that fails. From then on it is done here."""

    def __init__(self, manager: DeviceManager, say: Say) -> None:
        self._manager = manager
        self._say = say
        self.unstarted = Unstarted()
        self.again_at = float("inf")
        """On the clock of tasks."""

    async def note_failure(self, pod: Pod, result: PodAdmitResult) -> None:
        """Start what comes after the container that has failed."""
        names = [container.name for container in pod.containers]
        number = names.index(result.failed_container)
        await self._start(pod, pod.containers[number:], failed=result.message)

    async def start_again(self, pod: Pod) -> None:
        """Start those that have not been started."""
        await self._start(pod, [one for one in pod.containers if one.name in self.unstarted.problems])

    async def _start(self, pod: Pod, containers: Sequence[Container], failed: str = "") -> None:
        """Start them in order. An init container that fails keeps those after it waiting, and a main one does not.

        ``failed`` is the message of the first, if that was tried just now.
        """
        problems = {}
        for number, container in enumerate(containers):
            if problem := failed or await self._problem_of(pod, container):
                problems[container.name] = problem
                self._say("Failed", f"Error: {problem}", container=container.name)
                if container.kind is not ContainerKind.MAIN:
                    problems |= {one.name: "" for one in containers[number + 1 :]}
                    break
            failed = ""
        self.unstarted = Unstarted(problems=problems)
        self.again_at = trio.current_time() + RETRY_PERIOD if problems else float("inf")

    async def _problem_of(self, pod: Pod, container: Container) -> str:
        """Why it does not start; empty if it does."""
        try:
            await self._manager.start_container(pod, container)
        except (ContainerStartFailed, PluginUnavailable) as error:
            return str(error)
        return ""
