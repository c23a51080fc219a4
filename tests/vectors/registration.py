"""The group of scripts in which several plug-ins register for one resource, end and report, on a real manager.

Beside it a model says what is right: each live registration has its own last list, the newest is asked, and the end of
any other one changes nothing. The manager must always do that. Where the file expects something else, the case must
say that one can do better than the kubelet.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from devicemgr import Deadlines, open_device_manager
from devicemgr.daemon.plugins.handler import DEVICE_PLUGIN, SOCKET_REMOVED, DiscoveredPlugin
from devicemgr.errors import AllocationRefused, PluginUnavailable, RegistrationRefused
from devicemgr.events import ResourceRemoved
from devicemgr.model import Device, PluginOptions
from devicemgr.rpc.transport.unix_socket import Place
from devicemgr.testing import open_simulated_plugin

WAIT = 3.5
LONGER_THAN_GRACE = 310.0


def devices_of(mapping):
    return [Device(id=id, health=health) for id, health in mapping.items()]


@dataclass
class Model:
    """What is right. ``live`` has plug-in and socket of each registration, the newest last."""

    live: list = field(default_factory=list)
    lists: dict = field(default_factory=dict)
    streams: dict = field(default_factory=dict)
    shown: dict | None = None
    removed: bool = False

    def register(self, plugin, socket):
        self.live = [one for one in self.live if one[1] != socket] + [(plugin, socket)]
        self.streams[plugin] = self.streams.get(plugin, 0) + 1
        self.removed = False
        self._show()

    def end(self, leaves):
        was, self.live = self.live, [one for one in self.live if not leaves(*one)]
        if self.live:
            self._show()
        elif was:
            self.shown = dict.fromkeys(self.shown, "Unhealthy")

    def list(self, plugin, devices):
        self.lists[plugin] = devices
        if self.live:
            self._show()

    def grace_over(self):
        if not self.live and self.shown is not None:
            self.shown, self.removed = None, True

    def _show(self):
        self.shown = dict(self.lists[self.live[-1][0]])

    def healthy(self):
        return sorted(id for id, health in (self.shown or {}).items() if health == "Healthy")


class Script:
    """A method for each kind of step; it returns what happened, and what should have."""

    def __init__(self, case, manager, nursery, clock):
        self.case, self.manager, self.nursery, self.clock = case, manager, nursery, clock
        self.name, self.model = case["resource"], Model()
        self.endpoints = manager.watcher.handlers[DEVICE_PLUGIN]
        self.plugins, self.scopes, self.failing, self.answers, self.handles = {}, {}, set(), {}, {}

    async def step(self, op, **arguments):
        found = await getattr(self, op)(**arguments)
        await wait_all_tasks_blocked(0.01)
        await self.manager.flush()
        return found

    # --- what plug-ins do ---

    async def serve(self, plugin, socket, devices):
        self.model.lists[plugin] = devices
        self.plugins[plugin] = await self.nursery.start(self._serve, plugin, socket, devices)

    async def _serve(self, plugin, socket, devices, *, task_status):
        with trio.CancelScope() as self.scopes[plugin]:
            opened = open_simulated_plugin(
                self.manager.layout.plugins, self.name, devices=devices_of(devices), endpoint=socket
            )
            async with opened as served:

                async def answer(ids):  # also for devices that it does not have, as the plug-ins of the file
                    return served.default_answer(ids)

                served.on_allocate = answer
                task_status.started(served)
                await trio.sleep_forever()

    async def register(self, plugin):
        answer = await self._register(plugin)
        return answer, self._accepted(plugin)

    async def _register(self, plugin):
        try:
            await self.plugins[plugin].register()
        except RegistrationRefused as refusal:
            return {"accepted": False, "text": str(refusal)}
        return {"accepted": True}

    def _accepted(self, plugin):
        if plugin in self.failing:
            return {"accepted": False, "text_contains": "failed to get device plugin options"}
        self.model.register(plugin, self.plugins[plugin].endpoint)
        return {"accepted": True}

    async def register_begins(self, plugin):
        async def begin():
            self.answers[plugin] = await self._register(plugin)

        self.nursery.start_soon(begin)

    async def register_answer(self, plugin):
        while plugin not in self.answers:
            await wait_all_tasks_blocked(0.01)
            self.clock.jump(0.25)
        return self.answers.pop(plugin), self._accepted(plugin)

    async def watcher_register(self, plugin):
        place = Place(self.manager.layout.plugins.resolve(), Path(self.plugins[plugin].endpoint))
        found = DiscoveredPlugin(name=self.name, supported_versions=("v1beta1",), place=place)
        self.handles[self.plugins[plugin].endpoint] = await self.endpoints.register_plugin(found)
        self.model.register(plugin, self.plugins[plugin].endpoint)

    async def watcher_deregister(self, socket):
        if socket in self.handles:
            self.endpoints.deregister_plugin(self.handles[socket], SOCKET_REMOVED)
            self.model.end(lambda _, its: its == socket)

    async def list(self, plugin, devices):
        self.plugins[plugin].set_devices(devices_of(devices))
        self.model.list(plugin, devices)

    async def process_ends(self, plugin):
        self.scopes[plugin].cancel()
        self.model.end(lambda its, _: its == plugin)

    async def graceful_stop_begins(self, plugin):
        """Its socket is not listened on from now on; another process serves there."""

    async def stream_ends(self, plugin):
        self.plugins[plugin].end_stream()
        self.model.end(lambda its, _: its == plugin)

    async def options_fail(self, plugin):
        async def fail():
            raise PluginUnavailable("no options today")

        self.plugins[plugin].on_options = fail
        self.failing.add(plugin)

    async def options_delay(self, plugin, seconds=WAIT):
        async def slowly():
            await trio.sleep(seconds)
            return PluginOptions()

        self.plugins[plugin].on_options = slowly

    async def wait(self):
        self.clock.jump(WAIT)

    async def grace_over(self):
        self.clock.jump(LONGER_THAN_GRACE)
        self.model.grace_over()

    # --- what can be seen ---

    async def capacity(self):
        deleted = sorted(
            {one.event.resource for one in self.manager.events() if isinstance(one.event, ResourceRemoved)}
        )
        deleted = [name for name in deleted if self.manager.capacity().get(name) and self._is_removed(name)]
        for name in deleted:
            await self.manager.acknowledge_removed(name)
        counts = self.manager.capacity()
        found = {
            "capacity": {name: one.capacity for name, one in counts.items()},
            "allocatable": {name: one.allocatable for name, one in counts.items()},
            "deleted": deleted,
        }
        shown = self.model.shown
        right = {
            "capacity": {} if shown is None else {self.name: len(shown)},
            "allocatable": {} if shown is None else {self.name: len(self.model.healthy())},
            "deleted": [self.name] if self.model.removed else [],
        }
        self.model.removed = False
        return found, right

    def _is_removed(self, name):
        return self.manager.capacity()[name].endpoint == "removed"

    async def healthy(self):
        return sorted(one.device for one in await self.manager.pod_resources.allocatable()), self.model.healthy()

    async def allocate(self, device):
        before = {name: len(plugin.calls) for name, plugin in self.plugins.items()}
        try:
            await self.endpoints.client_of(self.name).allocate([device])
        except AllocationRefused as refusal:
            found = {"error": "stopped" if "has been stopped" in str(refusal) else str(refusal)}
        except PluginUnavailable as error:
            found = {"error": f"not reachable: {error}"}
        else:
            (by,) = [n for n, plugin in self.plugins.items() if "Allocate" in dict(plugin.calls[before[n] :])]
            found = {"answered_by": by}
        live = self.model.live
        return found, {"answered_by": live[-1][0]} if live else {
            "error": "stopped",
            "text_contains": "has been stopped",
        }

    async def list_and_watch_calls(self, plugin):
        calls = [name for name, _ in self.plugins[plugin].calls].count("ListAndWatch")
        return calls, self.model.streams.get(plugin, 0)

    async def open_connections(self, plugin):
        live = sum(its == plugin for its, _ in self.model.live)
        return len(self.plugins[plugin].drain.__self__._connections), live


def agrees(found, expect):
    """A text is only part of what was said; the code of every refusal is UNKNOWN (REG-5)."""
    if not isinstance(expect, dict) or "capacity" in expect:
        return found == expect
    if (any_of := expect.get("answered_by_any_of")) is not None:
        return found.get("answered_by") in any_of
    return all(found.get(key) == expect[key] for key in ("accepted", "answered_by", "error") if key in expect) and (
        "accepted" not in expect or expect.get("text_contains", "") in found.get("text", "")
    )


async def play(case, root, clock):
    async with open_device_manager(root, deadlines=Deadlines(dial=10)) as manager, trio.open_nursery() as nursery:
        script = Script(case, manager, nursery, clock)
        for number, step in enumerate(case["steps"]):
            if step["op"] == "manager_stops":
                break
            given = {key: value for key, value in step.items() if not key.startswith("expect")}
            shown = await script.step(**given)
            if shown is None or "expect" not in step:
                continue
            found, right = shown
            assert agrees(found, right), f"step {number}, {step}: {found}, and not {right}"
            assert agrees(found, step["expect"]) or "better_than_go" in case, f"step {number}, {step}: {found}"
        nursery.cancel_scope.cancel()


def registration_script(case):
    """REG-9…REG-12, REG-16a, LW-8, LW-11, LIM-40…LIM-43, D37-1…D37-6."""
    clock = MockClock()
    with tempfile.TemporaryDirectory(prefix="dm-") as root:
        trio.run(partial(play, case, Path(root), clock), clock=clock)


RUNNERS = (registration_script,)
