"""Stories at random: a hypothesis strategy, so that what it finds is shrunk.

Where Go picks devices at random the sides would be different from then on, and nothing could be compared. So plug-ins
have preferences, and a container after an init container asks for all that it leaves, or for nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import strategies as st

from .story import (
    LOOKS,
    Admit,
    Answers,
    Container,
    Delete,
    Device,
    EndStream,
    Flip,
    GracePeriodEnds,
    Handover,
    Kill,
    List,
    Look,
    Pod,
    Reboot,
    Register,
    Resize,
    Restart,
    StartAgain,
    Step,
    Story,
    format_devices,
)

Draw = Callable[[st.SearchStrategy], object]

RESOURCES = {"a": "gpu", "a-new": "gpu", "b": "nic", "c": "fpga"}
"""By plug-in."""
POLICIES = ("none", "best-effort", "restricted", "single-numa-node")
SHAPES = ("m", "mm", "im", "sm", "ism", "sim", "iim", "imm", "issm")
KINDS = {"m": "main", "i": "init", "s": "sidecar"}
LENGTHS = (1, 3, 6, 9, 12, 15)
"""Numbers of steps; not a range, of which hypothesis would mostly take the ends."""
FAULTS = (("allocate", "error"), ("prefer", "error"), ("start", "error"), ("options", "error"), ("allocate", "nothing"))
"""A call, and how it is answered (:class:`~tests.oracle.story.Answers`)."""
SIZES = (2, 4, 8, 6, 3, 1, 0)
"""Numbers of devices, the simplest first."""


@dataclass
class _Node:
    """What the story has made of the node, as far as it matters for the next step."""

    draw: Draw
    nodes: int
    mixed: bool
    """Are there devices without NUMA nodes among others?"""
    devices: dict[str, dict[str, Device]] = field(default_factory=dict)
    """By plug-in and id."""
    registered: set[str] = field(default_factory=set)
    """Plug-ins that have a stream."""
    pods: list[str] = field(default_factory=list)
    number: int = 0
    answers: set[str] = field(default_factory=set)
    """Plug-ins that do not answer as usual."""

    def choose(self, options):
        return self.draw(st.sampled_from(sorted(options)))

    def chance(self, one_in: int) -> bool:
        return self.draw(st.integers(0, one_in - 1)) == one_in - 1

    # --- devices ---

    def device(self, id: str) -> Device:
        healthy = not self.chance(12)
        if self.mixed and self.chance(3):
            return Device(id, healthy, self.draw(st.sampled_from([None, ()])))
        first = self.draw(st.integers(0, self.nodes - 1))
        if self.nodes > 1 and self.chance(6):
            return Device(id, healthy, tuple(sorted({first, (first + 1) % self.nodes})))
        return Device(id, healthy, (first,))

    def text(self, plugin: str) -> str:
        return format_devices(tuple(self.devices[plugin].values()))

    # --- steps ---

    def steps(self) -> list[Callable[[], Step]]:
        """What can happen next; the likelier, the oftener it is named."""
        can: list[Callable[[], Step]] = [self.admit] * 6
        if len(self.registered) < len(RESOURCES):
            can += [self.register] * 3
        if self.registered:
            can += [self.list] * 3 + [self.flip] * 3 + [self.end, self.answer, self.register_again]
        if self.pods:
            can += [self.delete] * 3 + [self.start_again, self.resize]
        if self.devices:
            can += [self.restart]
        if self.devices.keys() - self.registered:
            can += [self.expire]
        return can

    def register(self) -> Step:
        plugin = self.choose(RESOURCES.keys() - self.registered)
        if plugin == "a-new" and "a" in self.devices and self.chance(2):
            self.devices[plugin] = dict(self.devices["a"])
        elif plugin not in self.devices or self.chance(3):
            count = self.draw(st.sampled_from(SIZES))
            self.devices[plugin] = {id: self.device(id) for id in (f"{plugin[0]}{n}" for n in range(count))}
        self.registered.add(plugin)
        return Register(plugin, RESOURCES[plugin], self.text(plugin) or None, prefers=True, prestart=self.chance(3))

    def register_again(self) -> Step:
        """Mostly it would be refused from then on (LIM-42), and nothing could be compared any more."""
        plugin = self.choose(self.registered)
        return Register(plugin, RESOURCES[plugin], prefers=True) if self.chance(5) else self.list()

    def list(self) -> Step:
        plugin = self.choose(self.registered)
        devices = self.devices[plugin]
        for _ in range(self.draw(st.integers(1, 3))):
            id = f"{plugin[0]}{self.draw(st.integers(0, 9))}"
            if id in devices and self.chance(2):
                del devices[id]
            else:
                devices[id] = self.device(id)
        return List(plugin, self.text(plugin))

    def flip(self) -> Step:
        plugin = self.choose(self.registered)
        if not self.devices[plugin]:
            return self.list()
        ids = self.draw(st.lists(st.sampled_from(sorted(self.devices[plugin])), min_size=1, max_size=3, unique=True))
        for id in ids:
            device = self.devices[plugin][id]
            self.devices[plugin][id] = Device(id, not device.healthy, device.nodes)
        return Flip(plugin, *ids)

    def end(self) -> Step:
        plugin = self.choose(self.registered)
        self.registered.discard(plugin)
        return Kill(plugin) if self.chance(2) else EndStream(plugin)

    def answer(self) -> Step:
        if self.answers:
            return Answers(self.answers.pop())
        plugin = self.choose(self.registered)
        self.answers.add(plugin)
        call, how = self.draw(st.sampled_from(FAULTS))
        return Answers(plugin, **{call: how})

    def admit(self) -> Step:
        self.number += 1
        name = f"p{self.number}"
        self.pods.append(name)
        left: dict[str, int] = {}
        shape = self.draw(st.sampled_from(SHAPES))
        return Admit(Pod(name, *(self.container(KINDS[kind], left) for kind in shape)))

    def container(self, kind: str, left: dict[str, int]) -> Container:
        """``left`` is what init containers before it leave."""
        limits = {}
        for resource in sorted({RESOURCES[plugin] for plugin in self.devices}):
            if not self.chance(3):
                limits[resource] = left.get(resource, 1 if not self.chance(20) else 0) + self.draw(st.integers(0, 2))
                left.pop(resource, None)
                if kind == "init":
                    left[resource] = limits[resource]
        return Container(kind, limits)

    def delete(self) -> Step:
        name = self.choose(self.pods)
        self.pods.remove(name)
        return Delete(name)

    def start_again(self) -> Step:
        return StartAgain(self.choose(self.pods))

    def resize(self) -> Step:
        return Resize(self.choose(self.pods))

    def restart(self) -> Step:
        self.registered.clear()
        return self.draw(st.sampled_from([Restart(), Handover(), Reboot()]))

    def expire(self) -> Step:
        return GracePeriodEnds()


@st.composite
def stories(draw) -> Story:
    numa = draw(st.sampled_from([1, 2, 2, 2, 4, 4]))
    policy = draw(st.sampled_from(POLICIES)) if numa > 1 else "none"
    node = _Node(draw, numa, mixed=draw(st.booleans()))
    steps: list[Step] = [node.register() for _ in range(draw(st.integers(1, 3)))]
    for _ in range(draw(st.sampled_from(LENGTHS))):
        steps.append(draw(st.sampled_from(node.steps()))())
        if draw(st.booleans()):
            steps.append(Look())
    steps.append(Look(*LOOKS, "metrics"))
    scope = draw(st.sampled_from(["container", "pod"]))
    closest = policy != "none" and draw(st.booleans())
    return Story("generated", *steps, numa=numa, policy=policy, scope=scope, closest=closest)
