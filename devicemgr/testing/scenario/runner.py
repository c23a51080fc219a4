"""Runs the steps of a scenario on a manager of its own, on sockets, with a clock that only steps move."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from functools import partial
from itertools import groupby
from pathlib import Path

import trio
import trio.testing

from ...daemon.event_log import RecordedEvent
from ...daemon.manager import DeviceManager
from ...daemon.serving.trace import format_text
from ...daemon.supervisor import open_device_manager
from ...errors import DeviceManagerError, RpcFailed
from ...events import AssignmentRestored, CallFinished, NurseryClosed, NurseryOpened, PodRestored
from ...model import HEALTHY, UNHEALTHY, Container, ContainerKind, Device, PluginOptions, Pod, ResourceCounts
from ...rpc.deviceplugin.methods import Deadlines
from ..plugin.simulated import SimulatedPlugin, open_simulated_plugin
from .grammar import ScenarioLine, limit_of

_KINDS = {"init": ContainerKind.INIT, "side": ContainerKind.SIDECAR, "": ContainerKind.MAIN}
_HOOKS = {
    "options": "on_options",
    "allocate": "on_allocate",
    "preferred": "on_preferred",
    "pre-start": "on_pre_start",
    "list": "next_report",
}
_BESIDE_THE_LOG = NurseryOpened, NurseryClosed, PodRestored, AssignmentRestored
"""Events that the log does not keep, but a golden trace has."""
_SETTLED = 0.01
"""Seconds without anything to do after which a step has caused all that it causes."""


async def run_scenario(
    root_dir: Path,
    lines: Iterable[ScenarioLine],
    clock: trio.testing.MockClock,
    on_line: Callable[[ScenarioLine, Sequence[str]], None],
) -> None:
    """Run the steps, and call ``on_line`` for each line with what it caused. ``clock`` is the one Trio runs with."""
    recorded: list[RecordedEvent] = []

    def record(one: RecordedEvent) -> None:
        if one.event.is_remembered or isinstance(one.event, _BESIDE_THE_LOG):
            recorded.append(one)

    opened = open_device_manager(root_dir, deadlines=Deadlines(dial=10), sinks=[record])
    async with opened as manager, trio.open_nursery() as nursery:
        async with AsyncExitStack() as stack:
            scenario = _Scenario(manager, recorded, clock, stack, nursery)
            for line in lines:
                on_line(line, await scenario.run(line) if line.verb else ())
            nursery.cancel_scope.cancel()


class _Scenario:
    """``recorded`` grows with every event. ``written`` is what steps write beside the events."""

    def __init__(
        self,
        manager: DeviceManager,
        recorded: Sequence[RecordedEvent],
        clock: trio.testing.MockClock,
        stack: AsyncExitStack,
        nursery: trio.Nursery,
    ) -> None:
        self._manager, self._recorded, self._clock = manager, recorded, clock
        self._stack, self._nursery = stack, nursery
        self._plugins: dict[str, SimulatedPlugin] = {}
        self._written: list[str] = []
        self._seen = len(recorded)

    async def run(self, step: ScenarioLine) -> list[str]:
        await getattr(self, f"_{step.verb}")(*step.words)
        seen = -1
        while seen != len(self._recorded):  # a write to disk runs in a thread, and what waited for it goes on after it
            seen = len(self._recorded)
            await trio.testing.wait_all_tasks_blocked(_SETTLED)
            await self._manager.flush()
        events, self._seen = self._recorded[self._seen :], len(self._recorded)
        written, self._written = self._written, []
        return [*self._shown(events), *written]

    def _shown(self, events: Iterable[RecordedEvent]) -> list[str]:
        """Calls that follow each other are sorted by resource: those of one container run side by side."""
        lines = []
        for are_calls, some in groupby(events, key=lambda recorded: isinstance(recorded.event, CallFinished)):
            shown = [self._stable(format_text(recorded)) for recorded in some]
            lines += sorted(shown, key=_resource_of) if are_calls else shown
        return lines

    def _stable(self, line: str) -> str:
        """Without time stamps, durations and the directories of this run."""
        words = line.split(" ", 1)[1].split()
        words = [word for word in words if not word.startswith("seconds=")]
        return self._without_directories(" ".join(words))

    def _without_directories(self, text: str) -> str:
        layout = self._manager.layout
        return text.replace(str(layout.plugins), "DIR").replace(str(layout.root), "ROOT")

    # --- steps --------------------------------------------------------------------------------------

    async def _plugin(self, name: str, resource: str, *words: str) -> None:
        chosen = {
            option for word in words if word.startswith("options=") for option in word[len("options=") :].split(",")
        }
        options = PluginOptions(
            pre_start_required="pre-start" in chosen, get_preferred_allocation_available="preferred" in chosen
        )
        devices = _devices_of(word for word in words if not word.startswith("options="))
        opened = open_simulated_plugin(
            self._manager.layout.plugins, resource, devices=devices, options=options, endpoint=f"{name}.sock"
        )
        self._plugins[name] = await self._stack.enter_async_context(opened)

    async def _register(self, name: str, *words: str) -> None:
        given = dict(word.split("=", 1) for word in words)
        plugin = self._plugins[name]
        plugin.resource = given.pop("resource", plugin.resource)
        plugin.restore_socket()

        async def register() -> None:
            try:
                await plugin.register(**given)
            except DeviceManagerError as error:
                self._written.append(f"{name} was told: {self._without_directories(str(error))}")

        self._nursery.start_soon(register)

    async def _list(self, name: str, *ids: str) -> None:
        self._plugins[name].set_devices(_devices_of(ids))

    async def _end(self, name: str) -> None:
        self._plugins[name].end_stream()

    async def _fail(self, name: str, call: str, *text: str) -> None:
        async def fail(*arguments: object) -> None:
            raise RpcFailed(" ".join(text))

        setattr(self._plugins[name], _HOOKS[call], fail)

    async def _admit(self, name: str, *words: str) -> None:
        limits: dict[tuple[str, str], dict[str, int]] = {}
        for kind, container, resource, count in map(limit_of, words):
            limits.setdefault((kind, container), {})[resource] = count
        containers = tuple(
            Container(name=container, kind=_KINDS[kind], limits=wanted) for (kind, container), wanted in limits.items()
        )
        pod = Pod(name=name, uid=name, containers=containers)
        self._nursery.start_soon(partial(self._manager.admit, pod))

    async def _remove(self, name: str) -> None:
        if not await self._manager.remove("default", name):
            self._written.append(f"there was no pod {name}")

    async def _advance(self, seconds: str) -> None:
        self._clock.jump(float(seconds))

    async def _restart(self) -> None:
        await self._manager.faults.restart()

    async def _capacity(self) -> None:
        self._written += [f"{name} {counts_text(counts)}" for name, counts in self._manager.capacity().items()]


def counts_text(counts: ResourceCounts) -> str:
    return " ".join(f"{key}={value}" for key, value in asdict(counts).items() if value != ())


def _resource_of(line: str) -> str:
    return line.partition(" resource=")[2].partition(" ")[0]


def _devices_of(words: Iterable[str]) -> list[Device]:
    return [Device(id=word.removesuffix("!"), health=UNHEALTHY if word.endswith("!") else HEALTHY) for word in words]
