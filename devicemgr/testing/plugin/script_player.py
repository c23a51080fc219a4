"""Plays a script: a simulated plug-in that answers, changes and fails as the file describes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import trio

from ...arguments import checked
from ...concurrency.exception_groups import collapse_exception_group
from ...concurrency.trio_program import require_trio
from ...errors import ManagerUnavailable, RegistrationRefused, RpcFailed
from ...model import DeviceId, PluginOptions, RunOptions
from ...rpc.deviceplugin.methods import ALLOCATE, GET_OPTIONS, GET_PREFERRED_ALLOCATION, PRE_START_CONTAINER
from .script import TRIGGERS, CallRule, Script, Step
from .simulated import SimulatedPlugin, open_simulated_plugin
from .strategies import STRATEGIES, PreferredAllocationRequest


class ScriptedCrash(Exception):
    """The script makes the plug-in crash now; its program should end without cleaning up."""


class ScriptedPlugin:
    """A simulated plug-in and its script. Made by :func:`open_scripted_plugin`."""

    def __init__(self, plugin: SimulatedPlugin, script: Script) -> None:
        self.plugin = plugin
        self.script = script
        self._matches: Counter[int] = Counter()
        waiting = {on: [step for step in script.schedule if step.on == on] for on in TRIGGERS}
        self._triggered = {on: cycle(steps) for on, steps in waiting.items() if steps}
        plugin.on_options = self._options
        plugin.on_preferred = self._preferred
        plugin.on_allocate = self._allocate
        plugin.on_pre_start = self._pre_start

    # --- the schedule -------------------------------------------------------------------------------

    async def play(self) -> None:
        """Apply each timed step at its time, until there are none. Raises ScriptedCrash."""
        began = trio.current_time()
        steps = sorted((step for step in self.script.schedule if step.at is not None), key=lambda step: step.at or 0.0)
        while steps:
            for step in steps:
                await trio.sleep_until(began + (step.at or 0.0))
                await self._apply(step)
            if math.isinf(self.script.repeat):
                return
            began += self.script.repeat

    @checked
    async def trigger(self, on: str) -> bool:
        """Apply the next step that waits for this signal; False if there is none. Raises ScriptedCrash."""
        if on not in self._triggered:
            return False
        await self._apply(next(self._triggered[on]))
        return True

    async def _apply(self, step: Step) -> None:
        if step.crash:
            raise ScriptedCrash(self.script.resource)
        if step.health or step.remove or step.add:
            kept = [device for device in self.plugin.devices if device.id not in step.remove]
            there = {device.id for device in kept}
            kept += [device for device in step.add if device.id not in there]
            self.plugin.set_devices(replace(d, health=step.health.get(d.id, d.health)) for d in kept)
        if step.end_stream:
            self.plugin.end_stream()
        if step.register:
            with suppress(ManagerUnavailable, RegistrationRefused):  # as a plug-in that tries again would
                await self.plugin.register()

    # --- the answers --------------------------------------------------------------------------------

    async def _options(self) -> PluginOptions:
        await self._follow_rules(GET_OPTIONS.name, ())
        return self.script.options

    async def _preferred(
        self, available: Sequence[DeviceId], must_include: Sequence[DeviceId], size: int
    ) -> Sequence[DeviceId]:
        rule = await self._follow_rules(GET_PREFERRED_ALLOCATION.name, available)
        if rule and rule.ids is not None:
            return rule.ids
        nodes = {device.id: device.numa_nodes for device in self.plugin.devices}
        request = PreferredAllocationRequest(available=available, must_include=must_include, size=size, nodes=nodes)
        return STRATEGIES[self.script.preferred](request)

    async def _allocate(self, devices: Sequence[DeviceId]) -> RunOptions:
        rule = await self._follow_rules(ALLOCATE.name, devices)
        self.plugin.require_healthy(devices)
        answer = rule.answer if rule and rule.answer else self.script.answer
        return fill_template(answer, devices) if answer else self.plugin.default_answer(devices)

    async def _pre_start(self, devices: Sequence[DeviceId]) -> None:
        await self._follow_rules(PRE_START_CONTAINER.name, devices)

    async def _follow_rules(self, call: str, devices: Iterable[DeviceId]) -> CallRule | None:
        """Apply the first rule for this call, and return it. Raises RpcFailed."""
        rule = self._rule(call, set(devices))
        if rule is None:
            return None
        await trio.sleep(math.inf if rule.hang else rule.delay)
        if rule.error:
            raise RpcFailed(rule.error, status=rule.status)
        return rule

    def _rule(self, call: str, devices: set[DeviceId]) -> CallRule | None:
        for index, rule in enumerate(self.script.calls):
            if rule.call == call and (not rule.devices or rule.devices & devices):
                self._matches[index] += 1
                if rule.skip < self._matches[index] <= rule.skip + rule.times:
                    return rule
        return None


def fill_template(template: RunOptions, ids: Sequence[DeviceId]) -> RunOptions:
    """The answer for these devices: ``{ids}`` becomes all ids; an entry with ``{id}`` in it is repeated for each id."""

    def one(text: str) -> str:
        return text.replace("{ids}", ",".join(ids))

    def per_device(text: str, id: DeviceId) -> str:
        return one(text).replace("{id}", id)

    def copies(*texts: str) -> Iterable[Callable[[str], str]]:
        if any("{id}" in text for text in texts):
            return [lambda text, id=id: per_device(text, id) for id in ids]  # type: ignore[misc]
        return [one]

    return RunOptions(
        envs={fill(k): fill(v) for k, v in template.envs.items() for fill in copies(k, v)},
        annotations={fill(k): fill(v) for k, v in template.annotations.items() for fill in copies(k, v)},
        mounts=tuple(
            replace(mount, container_path=fill(mount.container_path), host_path=fill(mount.host_path))
            for mount in template.mounts
            for fill in copies(mount.container_path, mount.host_path)
        ),
        device_specs=tuple(
            replace(spec, container_path=fill(spec.container_path), host_path=fill(spec.host_path))
            for spec in template.device_specs
            for fill in copies(spec.container_path, spec.host_path)
        ),
        cdi_devices=tuple(fill(name) for name in template.cdi_devices for fill in copies(name)),
    )


@checked
@asynccontextmanager
async def open_scripted_plugin(directory: Path | str, script: Script) -> AsyncIterator[ScriptedPlugin]:
    """Serve the plug-in of a script in ``directory``; its schedule begins when you call ``play``."""
    require_trio("open_scripted_plugin")
    with collapse_exception_group():
        async with open_simulated_plugin(
            directory, script.resource, devices=script.devices, options=script.options, endpoint=script.endpoint
        ) as plugin:
            yield ScriptedPlugin(plugin, script)
