"""A story: a node, and what happens on it, step by step.

Stories are data, so any side can play them: Kubernetes' device manager in process, the kubelet as a whole, and ours.
They are written to be read without this file::

    Story(
        "devices of a pod that was deleted",
        Register("a", devices="d0 d1"),
        Admit(Pod("p", main(gpu=1)), Pod("q", main(gpu=1))),
        Delete("p"),
        Look("checkpoint"),
        differs={"LIM-33"},
    )

The ``repr`` of a story is its source text, so that a generated one can be pasted.

Devices are words in a text: ``d0`` is healthy and says nothing of NUMA nodes, ``d1@0`` is on node 0, ``d2@0,1`` on two
nodes, ``d3@`` says that it is on none, and ``!d4`` is broken.

Resources are named as in a container's arguments: ``gpu`` is ``vendor.com/gpu``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

VENDOR = "vendor.com/"


# --- what is on the node -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Device:
    id: str
    healthy: bool = True
    nodes: tuple[int, ...] | None = None
    """The NUMA nodes; None for a device without topology, empty for one with an empty topology."""


def parse_devices(text: str) -> tuple[Device, ...]:
    return tuple(map(_parse_device, filter(None, text.split(" "))))


def _parse_device(word: str) -> Device:
    id, at, nodes = word.removeprefix("!").partition("@")
    return Device(id, not word.startswith("!"), tuple(map(int, nodes.split(",") if nodes else [])) if at else None)


def format_devices(devices: tuple[Device, ...]) -> str:
    return " ".join(map(_format_device, devices))


def _format_device(device: Device) -> str:
    nodes = "" if device.nodes is None else "@" + ",".join(map(str, device.nodes))
    return ("" if device.healthy else "!") + device.id + nodes


@dataclass(frozen=True)
class Container:
    """Made by :func:`main`, :func:`init` and :func:`sidecar`."""

    kind: str
    limits: dict[str, int]
    """By the resources' short names."""
    claimed: tuple[str, ...] = ()
    """Resources that DRA allocates instead of a device plug-in; short names."""

    def __repr__(self) -> str:
        words = [f"{name}={count}" for name, count in self.limits.items()]
        return f"{self.kind}({', '.join([*words, *([f'claimed={self.claimed!r}'] if self.claimed else [])])})"


def main(claimed: tuple[str, ...] = (), **limits: int) -> Container:
    """An ordinary container."""
    return Container("main", limits, claimed)


def init(claimed: tuple[str, ...] = (), **limits: int) -> Container:
    """An init container that ends before the next container starts."""
    return Container("init", limits, claimed)


def sidecar(claimed: tuple[str, ...] = (), **limits: int) -> Container:
    """An init container that goes on (restartPolicy: Always)."""
    return Container("sidecar", limits, claimed)


class Pod:
    """Containers are named c0, c1, … in the order given; init containers and sidecars come first."""

    def __init__(self, name: str, *containers: Container):
        self.name = name
        self.containers = containers

    @property
    def uid(self) -> str:
        return f"uid-of-{self.name}"

    def named(self) -> list[tuple[str, Container]]:
        return [(f"c{number}", container) for number, container in enumerate(self.containers)]

    def manifest(self) -> dict[str, Any]:
        """As Kubernetes' own JSON, with no more than what counts here; without the uid, which the API server gives."""
        init_containers = [_container(name, one) for name, one in self.named() if one.kind != "main"]
        containers = [_container(name, one) for name, one in self.named() if one.kind == "main"]
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self.name, "namespace": "default"},
            "spec": {
                "containers": containers,
                **({"initContainers": init_containers} if init_containers else {}),
            },
        }

    def claims(self) -> list[tuple[str, str]]:
        """(container, resource) of each limit that DRA serves."""
        return [(name, resource_name(one)) for name, container in self.named() for one in container.claimed]

    def __repr__(self) -> str:
        return f"Pod({', '.join([repr(self.name), *map(repr, self.containers)])})"


def _container(name: str, container: Container) -> dict[str, Any]:
    limits = {resource_name(short): str(count) for short, count in container.limits.items()}
    restarts = {"restartPolicy": "Always"} if container.kind == "sidecar" else {}
    return {"name": name, "image": "none", "resources": {"limits": limits, "requests": limits}, **restarts}


def resource_name(short: str) -> str:
    return short if "/" in short else VENDOR + short


# --- the steps ---------------------------------------------------------------------------------------


class Step:
    """The result of each step is compared, and the calls that plug-ins received during it."""

    def __repr__(self) -> str:
        """As it is written in a story: what is as by default is left out."""
        words = []
        for one in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, one.name)
            if one.name in _REST:
                words += map(repr, value)
            elif value != one.default:
                words.append(
                    repr(value) if not words and one.default is dataclasses.MISSING else f"{one.name}={value!r}"
                )
        return f"{type(self).__name__}({', '.join(words)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """For hypothesis, which would show all fields."""
        printer.text(repr(self))


_REST = {"pods", "names", "ids", "aspects", "meanwhile"}
"""Fields that take all positional arguments."""


def _step(cls: type) -> type:
    return dataclass(frozen=True, repr=False)(cls)


@_step
class Register(Step):
    """The plug-in serves on its socket, if it does not yet, and registers; its first list is waited for.

    Result: the refusal's text, or None.
    """

    plugin: str
    resource: str = "gpu"
    devices: str | None = ""
    """None for a plug-in that sends no list until a step List."""
    socket: str = ""
    """``<plugin>.sock`` if empty. Whoever serves there loses the file to this plug-in, but not the connections."""
    prefers: bool = False
    """It announces GetPreferredAllocation, and answers with the last ids in natural order."""
    prestart: bool = False
    """It announces PreStartContainer."""
    version: str = "v1beta1"
    watched: bool = False
    """It serves in plugins_registry instead, and is found by the plug-in watcher."""
    crossing: bool = False
    """Its old stream ends, and the manager notices, between the question for its options and the answer."""


@_step
class List(Step):
    """The plug-in sends another list; it is waited for."""

    plugin: str
    devices: str


@_step
class Flip(Step):
    """The plug-in sends its list with the health of these devices changed."""

    plugin: str
    ids: tuple[str, ...]

    def __init__(self, plugin: str, *ids: str):
        object.__setattr__(self, "plugin", plugin)
        object.__setattr__(self, "ids", ids)


@_step
class EndStream(Step):
    """The plug-in's ListAndWatch returns; it goes on serving. Until the manager has noticed."""

    plugin: str


@_step
class Kill(Step):
    """The plug-in ends, and its socket file goes. Until the manager has noticed."""

    plugin: str


@_step
class Answers(Step):
    """How the plug-in answers from now on. What is not named answers as usual.

    ``error``: INTERNAL with the text "it does not work". ``nothing``: a message without a container's response.
    ``short``: one device fewer than asked for. ``unknown``: ids that nobody listed.
    """

    plugin: str
    allocate: str = ""
    """error, nothing"""
    prefer: str = ""
    """error, nothing, short, unknown"""
    start: str = ""
    """error"""
    options: str = ""
    """error"""


@_step
class Admit(Step):
    """These pods are admitted, all at once, and the containers of those admitted are started, one after the other.

    Result: for each pod the refusal (reason and message), or for each container its devices and what its runtime gets.
    """

    pods: tuple[Pod, ...]

    def __init__(self, *pods: Pod):
        object.__setattr__(self, "pods", pods)


@_step
class Delete(Step):
    """These pods, by name, are deleted, and have ended when the step ends."""

    names: tuple[str, ...]

    def __init__(self, *names: str):
        object.__setattr__(self, "names", names)


@_step
class StartAgain(Step):
    """The pod's containers end and are started again, except for those of kind init. Result: as of Admit."""

    name: str


@_step
class Resize(Step):
    """The pod is resized in place, in something that is no device. Result: the refusal, or None."""

    name: str


@_step
class Restart(Step):
    """The manager stops and starts again. The pods' containers go on, those of kind init have ended. The manager learns
    of its pods again, one after the other, before it knows that these are all. Plug-ins stay up, but do not register
    by themselves.

    ``meanwhile``: what happens while the pods come again; a side that does not let them wait has already decided.

    Result: as of Admit, for each pod that was there.
    """

    meanwhile: tuple[Step, ...] = ()

    def __init__(self, *meanwhile: Step):
        object.__setattr__(self, "meanwhile", meanwhile)


@_step
class Reboot(Step):
    """The same, but no container runs any more, and no plug-in: see Kill.

    ``before``: what happens before the manager learns of any pod.
    """

    meanwhile: tuple[Step, ...] = ()
    before: tuple[Step, ...] = ()

    def __init__(self, *meanwhile: Step, before: tuple[Step, ...] = ()):
        object.__setattr__(self, "meanwhile", meanwhile)
        object.__setattr__(self, "before", before)


@_step
class Handover(Step):
    """A restart in which each side continues with the checkpoint that the other one has written."""


@_step
class GracePeriodEnds(Step):
    """Five minutes pass for every plug-in that has ended. Only sides whose time can be changed."""


@_step
class Look(Step):
    """What there is to see. Without arguments: everything but metrics.

    ``node``           capacity and allocatable
    ``pod-resources``  List, Get, GetAllocatableResources, and v1alpha1's List
    ``checkpoint``     the checkpoint file
    ``health``         each pod's allocatedResourcesStatus
    ``metrics``        what is counted since the story's begin
    """

    aspects: tuple[str, ...] = ()

    def __init__(self, *aspects: str):
        object.__setattr__(self, "aspects", aspects or LOOKS)


LOOKS = ("node", "pod-resources", "checkpoint", "health")


# --- the story ---------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Story:
    title: str
    steps: tuple[Step, ...]
    policy: str = "none"
    scope: str = "container"
    numa: int = 1
    """So many NUMA nodes, from 0."""
    closest: bool = False
    """The option prefer-closest-numa-nodes; node n is at distance 10 + 10 * |n - m| from m."""
    ids: bool = True
    """Are the ids of devices compared? If not, only their number, because Go picks devices at random."""
    differs: frozenset[str] = field(default_factory=frozenset)
    """The LIM items that the sides differ in. Each of them must be seen."""

    def __init__(self, title: str, *steps: Step, differs: Any = (), **node: Any):
        defaults = {
            one.name: one.default for one in dataclasses.fields(Story) if one.default is not dataclasses.MISSING
        }
        assert set(node) <= set(defaults), node
        values = {**defaults, **node, "title": title, "steps": steps, "differs": frozenset(differs)}
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def watches(self) -> bool:
        """Does any plug-in come by way of the plug-in watcher?"""
        return any(isinstance(step, Register) and step.watched for step in self.steps)

    @property
    def waits(self) -> bool:
        """Do pods wait after a restart, on sides that let them? Otherwise they are decided on at once."""
        return any(isinstance(step, Restart | Reboot) and step.meanwhile for step in self.steps)

    def distances(self, node: int) -> list[int]:
        return [10 + 10 * abs(node - other) for other in range(self.numa)]

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))

    def __repr__(self) -> str:
        words = [repr(self.title), *map(repr, self.steps)]
        for one in dataclasses.fields(self)[2:]:
            value = getattr(self, one.name)
            if one.name == "differs":
                words += [f"differs={sorted(value)!r}"] if value else []
            elif value != one.default:
                words.append(f"{one.name}={value!r}")
        return "Story(\n" + "".join(f"    {word},\n" for word in words) + ")"
