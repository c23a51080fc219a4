"""Whatever happens, the views agree: what the manager shows, and what the recorded events show of the same moment. Of a
trace that begins later they show less, and nothing else."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from devicemgr import Device, open_device_manager
from devicemgr.concurrency.steps import run_steps
from devicemgr.core.conversation.stream import Conversation
from devicemgr.core.views.overview import overview
from devicemgr.core.views.recorded_tree import TreeMoment
from devicemgr.core.views.replay import Replay
from devicemgr.testing import open_simulated_plugin
from tests.helpers import GPU, NIC, pod

STEPS = 30


class Story:
    """Random things happen to a manager, and each of its events goes into the views, through JSON as in a file."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.replay, self.tree, self.conversation = Replay(), TreeMoment(), Conversation()
        self.plugins, self.scopes = {}, {}
        self.pods = 0
        self.events = []

    def note(self, recorded):
        event = json.loads(json.dumps(recorded.as_json()))
        self.events.append(event)
        run_steps(self.replay.applying(event))
        self.tree.apply(event, event["time"])
        self.conversation.tell(event)

    async def live(self, manager, nursery):
        self.manager, self.nursery = manager, nursery
        ways = [self.start, self.start, self.stop, self.register, self.flip, self.flip, self.replace_list]
        ways += [self.admit, self.admit, self.give_up, self.remove, self.expire, self.restart]
        for _ in range(STEPS):
            await self.random.choice(ways)()
            await self.agree()
        nursery.cancel_scope.cancel()

    async def agree(self):
        """As soon as the plug-ins have nothing more to say: what they send is on its way through sockets."""
        with trio.fail_after(60):
            while self.differences():
                await wait_all_tasks_blocked()
                await trio.sleep(0.001)

    def differences(self):
        pairs = {
            "devices and pods": (
                without_containers(run_steps(self.manager.overview_steps())),
                without_containers(run_steps(overview(self.replay.store))),
            ),
            "plug-ins": (endpoints(self.manager.task_tree()), endpoints(self.tree.tree())),
        }
        self.different = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
        return self.different

    # --- what may happen ---

    def any_plugin(self):
        return self.plugins.get(self.random.choice([(GPU, "a"), (GPU, "b"), (NIC, "a"), (NIC, "b")]))

    def any_devices(self):
        return [Device(id=f"d{n}", numa_nodes=(self.random.randrange(2),)) for n in range(self.random.randrange(5))]

    async def start(self):
        key = resource, socket = self.random.choice([GPU, NIC]), self.random.choice("ab")
        if key not in self.plugins:
            self.plugins[key] = await self.nursery.start(self._plugin, key, f"{resource[-3:]}-{socket}.sock")
            await self.plugins[key].register()

    async def _plugin(self, key, endpoint, *, task_status):
        opened = open_simulated_plugin(
            self.manager.layout.plugins, key[0], devices=self.any_devices(), endpoint=endpoint
        )
        with trio.CancelScope() as self.scopes[key]:
            async with opened as plugin:
                task_status.started(plugin)
                await trio.sleep_forever()

    async def stop(self, most=1):
        for key in list(self.plugins)[:most]:
            del self.plugins[key]
            self.scopes.pop(key).cancel()

    async def register(self):
        if plugin := self.any_plugin():
            await plugin.register()

    async def flip(self):
        if (plugin := self.any_plugin()) and plugin.devices:
            device = self.random.choice(plugin.devices)
            plugin.set_health(device.id, self.random.choice(["Healthy", "Unhealthy"]))

    async def replace_list(self):
        if plugin := self.any_plugin():
            plugin.set_devices(self.any_devices())

    def any_pod(self):
        """A new one, or one that may be there already."""
        self.pods += 1
        number = self.random.choice([self.pods, self.pods, self.random.randint(1, self.pods)])
        return pod(f"p{number}", gpu=self.random.randrange(3), nic=self.random.randrange(2))

    async def admit(self):
        await self.manager.admit(self.any_pod())

    async def give_up(self):
        async def hang(ids):
            asked.set()
            await trio.sleep_forever()

        if plugin := self.any_plugin():
            asked, answer = trio.Event(), plugin.on_allocate
            plugin.on_allocate = hang
            async with trio.open_nursery() as waiting:
                waiting.start_soon(self._admit, waiting.cancel_scope)
                await asked.wait()
                waiting.cancel_scope.cancel()
            plugin.on_allocate = answer

    async def _admit(self, scope):
        await self.manager.admit(self.any_pod())
        scope.cancel()

    async def remove(self):
        await self.manager.remove("default", f"p{self.random.randint(1, self.pods + 1)}")

    async def expire(self):
        self.manager.faults.expire_grace()

    async def restart(self):
        """It removes the sockets of plug-ins."""
        await self.stop(most=4)
        await self.manager.faults.restart()


def without_containers(found):
    """A trace does not have their kinds, nor those without devices."""
    return replace(found, pods=tuple(replace(one, containers=()) for one in found.pods))


def endpoints(tree):
    return {node.name: node.state for node in tree.walk() if node.nursery == "readers" and "#" in node.name}


@pytest.mark.parametrize("seed", range(6))
async def test_at_every_moment_of_a_random_story(root_dir, seed):
    story = Story(seed)
    async with open_device_manager(root_dir, sinks=[story.note], restart_wait=0) as manager:
        async with trio.open_nursery() as nursery:
            try:
                await story.live(manager, nursery)
            except trio.TooSlowError:
                pytest.fail(f"the views differ: {story.different}")
    for begin in story.random.sample(range(len(story.events)), 10):
        assert_tail_says_nothing_else(story.events, begin)


class Views:
    def __init__(self):
        self.replay, self.tree = Replay(), TreeMoment()

    def take(self, event):
        run_steps(self.replay.applying(event))
        self.tree.apply(event, event["time"])
        self.resources = {one.name: one for one in run_steps(self.replay.overview()).resources}
        self.pods = {pod.uid for pod in self.replay.store.pods}
        self.endpoints = endpoints(self.tree.tree())


def assert_tail_says_nothing_else(events, begin):
    whole, tail = Views(), Views()
    for place, event in enumerate(events):
        whole.take(event)
        if place < begin:
            continue
        tail.take(event)
        where = f"the trace from event {begin} on, after event {place}: {event}"
        for name, seen in tail.resources.items():
            assert_says_nothing_else(seen, whole.resources[name], where)
        assert tail.pods <= whole.pods, where
        for name, state in tail.endpoints.items():
            assert state in ("", whole.endpoints[name]), where
        if not tail.replay.missing:
            assert (tail.resources, tail.pods) == (whole.resources, whole.pods), where


def assert_says_nothing_else(seen, there, where):
    assert seen.counts.endpoint in ("unknown", there.counts.endpoint), where
    assert seen.counts.allocated <= there.counts.allocated, where
    assert set(seen.counts.standbys) <= set(there.counts.standbys), where
    assert seen.held.keys() <= there.held.keys(), where
    assert all(set(ids) <= set(there.held[owner]) for owner, ids in seen.held.items()), where
    if seen.knows_devices:
        for kind in ("capacity", "allocatable"):
            assert getattr(seen.counts, kind) == getattr(there.counts, kind), where
        assert seen.counts.available >= there.counts.available, where
