"""A side: a manager that stories are played on, and what can be seen of it.

The player (``play``) starts the plug-ins, which are the same for all sides; a side does what the kubelet's
surroundings do: pods come and go, and somebody looks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .story import Pod, Step, Story


class Crashed(Exception):
    """The side has ended by itself; the text is what it said last. It can be opened again."""


@dataclass(frozen=True)
class Refusal:
    reason: str
    message: str


@dataclass(frozen=True)
class Started:
    """What a container gets. ``error`` instead of ``options`` if it could not be started."""

    devices: dict[str, list[str]]
    """By resource; the ids sorted. Resources without any are left out."""
    options: dict[str, Any] | None = None
    """envs, annotations: dict; mounts, devices, cdi: sorted lists of texts ``/container|/host|permissions``, or
    read-only as true or false. Only what comes from plug-ins; None if nothing does."""
    error: str | None = None


@dataclass(frozen=True)
class Admission:
    pod: str
    refused: Refusal | None = None
    containers: dict[str, Started] = field(default_factory=dict)
    """By name. Empty for a refused pod."""


class Side(Protocol):
    """One node at a time: each story begins with :meth:`open` and ends with :meth:`leave`."""

    name: str
    cannot: frozenset[type[Step]]
    """Stories with these steps are not played here."""
    plugins: Path
    """Where kubelet.sock is, and where plug-ins serve. Beside it are plugins_registry, and pod-resources with its
    kubelet.sock."""

    def open(self, story: Story, directory: Path) -> None:
        """The node of the story; ``directory`` is empty."""

    def leave(self) -> None:
        """The node, which may have crashed."""

    def close(self) -> None:
        """After the last story."""

    # --- what plug-ins did is waited for ---

    def wait_listed(self, resource: str, socket: Path) -> None:
        """Until one more list of this plug-in was received, and is on disk if it counts."""

    def expects_end(self, resource: str, socket: Path) -> bool:
        """Will it notice the end of the plug-in's stream? Asked before it ends: a kubelet may have forgotten it."""
        return True

    def wait_ended(self, resource: str, socket: Path) -> None:
        """Until the end of one more stream of this plug-in was noticed."""

    # --- what a kubelet's surroundings do ---

    def admit(self, pods: list[Pod], *, start: bool = True) -> list[Admission]:
        """All at once if the side can; then their containers start, one after the other."""

    def delete(self, names: list[str]) -> None: ...

    def start_again(self, name: str) -> Admission:
        """The containers of an admitted pod, except for those of kind init."""

    def resize(self, name: str) -> Refusal | None: ...

    def stop(self) -> None: ...

    def start(self, *, reboot: bool = False) -> None:
        """On the same directory. It does not know its pods any more; unless the machine was rebooted, their containers
        are running, except for those of kind init."""

    def readmit(self, *, start: bool) -> list[Admission]:
        """After a start the pods come again, one after the other; then it knows that these were all. Called in a thread
        if plug-ins register meanwhile."""

    def expire_grace(self) -> None: ...

    # --- what there is to see ---

    def node(self) -> dict[str, tuple[int, int]]:
        """Capacity and allocatable by resource."""

    def checkpoint(self) -> dict[str, Any]:
        """See :func:`tests.oracle.checkpoint.read_checkpoint`."""

    def health(self) -> dict[str, Any]:
        """By pod, container, resource and device: Healthy, Unhealthy or Unknown."""

    def metrics(self, names: list[str]) -> dict[str, Any]:
        """By name: ``type``, ``counts`` by labels (``"a=1,b=2"``), and of a histogram ``buckets``; its counts are how
        many values there were. Since the node was opened, or the manager started."""
