"""Golden traces: a scenario is a file of steps, and under each step the events it caused.

The file name is the scenario. ``pytest tests/traces --rewrite-traces`` writes the events anew; read the difference
before you commit it. Everything is real but the clock, which moves only by ``> advance``.

Steps::

    > plugin NAME RESOURCE ID[!] …        serve a plug-in (``!``: unhealthy); ``options=pre-start,preferred`` may follow
    > register NAME [version=V] [endpoint=E] [resource=R]
    > list NAME ID[!] …                   send another list
    > end NAME                            end its streams, as a stopped plug-in does
    > fail NAME CALL TEXT                 from now on CALL (options, list, allocate, pre-start, preferred) fails
    > admit POD CONTAINER:RESOURCE=N …    ``init:``/``side:`` before a container's name gives its kind
    > remove POD
    > advance SECONDS
    > capacity
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import asdict
from functools import partial
from itertools import groupby
from pathlib import Path

import pytest
import trio
import trio.testing

from devicemgr import Container, ContainerKind, Deadlines, Device, Pod, open_device_manager
from devicemgr.daemon.serving.trace import format_text
from devicemgr.errors import DeviceManagerError, RpcFailed
from devicemgr.events import CallFinished
from devicemgr.model import PluginOptions
from devicemgr.testing import open_simulated_plugin

HERE = Path(__file__).parent
KINDS = {"init": ContainerKind.INIT, "side": ContainerKind.SIDECAR}
HOOKS = {
    "options": "on_options",
    "allocate": "on_allocate",
    "preferred": "on_preferred",
    "pre-start": "on_pre_start",
    "list": "next_report",
}


def devices_of(words):
    return [
        Device(id=word.removesuffix("!"), health="Unhealthy" if word.endswith("!") else "Healthy") for word in words
    ]


def resource_of(line):
    return line.partition(" resource=")[2].partition(" ")[0]


class Scenario:
    """Runs steps; ``out`` collects what is written under each."""

    def __init__(self, manager, clock, stack, nursery):
        self.manager, self.clock, self.stack, self.nursery = manager, clock, stack, nursery
        self.plugins, self.out, self.seen = {}, [], self.newest()

    async def step(self, line):
        verb, *words = line.split()
        await getattr(self, verb.replace("-", "_"))(*words)
        seen = -1
        while seen != self.newest():  # a write to disk runs in a thread, and what waited for it goes on after it
            seen = self.newest()
            await trio.testing.wait_all_tasks_blocked(0.01)
            await self.manager.flush()
        events = [recorded for recorded in self.manager.events() if recorded.sequence > self.seen]
        self.seen = self.newest()
        return self.out_of(events)

    def newest(self):
        return self.manager.events()[-1].sequence

    def out_of(self, events):
        """Calls that follow each other are sorted by resource: those of one container run side by side."""
        lines = []
        for are_calls, some in groupby(events, key=lambda recorded: isinstance(recorded.event, CallFinished)):
            shown = [self.stable(format_text(recorded)) for recorded in some]
            lines += sorted(shown, key=resource_of) if are_calls else shown
        lines += self.out
        self.out = []
        return lines

    def stable(self, line):
        """Without time stamps, durations and the directory of this run."""
        words = line.split(" ", 1)[1].split()
        words = [word for word in words if not word.startswith("seconds=")]
        return " ".join(words).replace(str(self.manager.layout.plugins), "DIR")

    async def plugin(self, name, resource, *words):
        wanted = [word.removeprefix("options=") for word in words if word.startswith("options=")]
        chosen = wanted[0].split(",") if wanted else []
        options = PluginOptions(
            pre_start_required="pre-start" in chosen, get_preferred_allocation_available="preferred" in chosen
        )
        devices = devices_of(word for word in words if not word.startswith("options="))
        opened = open_simulated_plugin(
            self.manager.layout.plugins, resource, devices=devices, options=options, endpoint=f"{name}.sock"
        )
        self.plugins[name] = await self.stack.enter_async_context(opened)

    async def register(self, name, *words):
        given = dict(word.split("=", 1) for word in words)
        plugin = self.plugins[name]
        plugin.resource = given.pop("resource", plugin.resource)

        async def register():
            try:
                await plugin.register(**given)
            except DeviceManagerError as error:
                self.out.append(f"{name} was told: {str(error).replace(str(self.manager.layout.plugins), 'DIR')}")

        self.nursery.start_soon(register)

    async def list(self, name, *ids):
        self.plugins[name].set_devices(devices_of(ids))

    async def end(self, name):
        self.plugins[name].end_stream()

    async def fail(self, name, call, *text):
        async def fail(*arguments):
            raise RpcFailed(" ".join(text))

        setattr(self.plugins[name], HOOKS[call], fail)

    async def admit(self, name, *words):
        containers = {}
        for word in words:
            container, _, limit = word.rpartition(":")
            resource, _, count = limit.partition("=")
            containers.setdefault(container, {})[resource] = int(count)
        made = []
        for container, limits in containers.items():
            kind, _, plain = container.rpartition(":")
            made.append(Container(name=plain, kind=KINDS.get(kind, ContainerKind.MAIN), limits=limits))
        pod = Pod(name=name, uid=name, containers=tuple(made))
        self.nursery.start_soon(partial(self.manager.admit, pod))

    async def remove(self, name):
        await self.manager.remove("default", name)

    async def advance(self, seconds):
        self.clock.jump(float(seconds))

    async def capacity(self):
        for name, counts in self.manager.capacity().items():
            shown = {key: value for key, value in asdict(counts).items() if value != ()}
            self.out.append(f"{name} " + " ".join(f"{key}={value}" for key, value in shown.items()))


@pytest.fixture
def clock():
    return trio.testing.MockClock()


@pytest.mark.parametrize("path", sorted(HERE.glob("*.trace")), ids=lambda path: path.stem)
async def test_scenario(path, root_dir, clock, request):
    written = path.read_text().splitlines()
    steps = [line for line in written if line.startswith((">", "#")) or not line]
    got = []
    async with open_device_manager(root_dir, deadlines=Deadlines(dial=10)) as manager, trio.open_nursery() as nursery:
        async with AsyncExitStack() as stack:
            scenario = Scenario(manager, clock, stack, nursery)
            for line in steps:
                got.append(line)
                if line.startswith(">"):
                    got += [f"    {event}" for event in await scenario.step(line[1:])]
            nursery.cancel_scope.cancel()
    if request.config.getoption("--rewrite-traces"):
        path.write_text("\n".join(got) + "\n")
    assert got == written
