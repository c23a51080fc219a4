"""Plug-ins that do something odd, as real ones do, and nothing wrong: no check may fail because of it."""

from __future__ import annotations

import random
import time
import uuid
from contextlib import suppress
from dataclasses import replace

import trio

from devicemgr.errors import ManagerUnavailable, RegistrationRefused
from devicemgr.model import DeviceSpec, Mount
from devicemgr.testing import open_simulated_plugin

from .mutants import Answerer, Honest, Lister, Streams, UsesOneName, made, take_refusals


class BuildsAnswersFromAMap(Answerer):
    """Device nodes, mounts and words in the order of a Go map; the keys of CDI annotations are unique, and there is a
    nonce (NVIDIA, ROCm)."""

    breaks = None

    async def answer(self, honest, ids):
        answer = await honest(random.sample(ids, len(ids)))
        specs = [*answer.device_specs, *(DeviceSpec(container_path=p, host_path=p) for p in ("/dev/full", "/dev/zero"))]
        mounts = [Mount(container_path=path, host_path=path) for path in ("/usr", "/etc", "/tmp")]
        return replace(
            answer,
            envs={**answer.envs, "SESSION": uuid.uuid4().hex},
            device_specs=tuple(random.sample(specs, len(specs))),
            mounts=tuple(random.sample(mounts, len(mounts))),
            annotations={f"cdi.k8s.io/gpu_{uuid.uuid4()}": "vendor.com/gpu=all"},
        )


class NamesItsSocketByTheSecond(Honest):
    """If it creates the socket again within that second, the end of the old server deletes the new socket (Go)."""

    @property
    def endpoint(self):
        return f"gpu-{int(time.time())}.sock"

    async def serve(self, directory, options):
        while True:
            if self.path.name == self.endpoint and self.plugin is not None:
                await trio.sleep_forever()
            self.path = directory / self.endpoint
            await super().serve(directory, options)

    async def start(self, directory):
        self.plugin = None
        await super().start(directory)

    async def stay_registered(self, plugin):
        await register_until_disrupted(self, plugin, period=0.2)


class ServesOnTwoSockets(Honest):
    """Registers both, as after a restart of the manager whose streams went on; and again when it has lost both."""

    second = None

    async def stay_registered(self, plugin):
        name = f"second-{self.process}.sock"
        async with open_simulated_plugin(
            plugin.directory, self.resource, devices=self.devices, options=plugin.options, endpoint=name
        ) as second:
            self.second = Streams(second)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(plugin.keep_registered)
                nursery.start_soon(second.keep_registered)

    async def mind_its_stream(self, plugin, streams):
        while True:
            await trio.sleep(0.2)
            if streams.are_lost and self.second.are_lost:
                with suppress(ManagerUnavailable, RegistrationRefused):
                    await plugin.register()


class GivesUpAfterManyErrors(Honest):
    """Counts errors within a minute: one absence of the kubelet causes fewer, but not together with earlier ones."""

    async def stay_registered(self, plugin):
        register, errors = plugin.register, []

        async def counted(**how):
            errors.extend([trio.current_time()] * 2)
            await register(**how)

        plugin.register = counted
        async with trio.open_nursery() as nursery:
            nursery.start_soon(plugin.keep_registered)
            while len([time for time in errors if time > trio.current_time() - 60]) < 24:
                was_there = plugin.registry.exists()
                await trio.sleep(0.5)
                if not was_there and not plugin.registry.exists():
                    errors.append(trio.current_time())
            nursery.cancel_scope.cancel()


class LooksEverySixSeconds(Honest):
    """Polls and pauses, so slowly that few restarts fit."""

    async def stay_registered(self, plugin):
        await keep_registered(self, plugin, period=1, pause=5)


async def keep_registered(subject, plugin, *, period, pause=0.0):
    """Runs until cancelled, with a new socket each time that it is gone."""
    while True:
        if plugin.restore_socket():
            plugin.end_stream()
            await plugin.drain()
        await register_until_disrupted(subject, plugin, period=period)
        await trio.sleep(pause)


async def register_until_disrupted(subject, plugin, *, period):
    """Registers once; returns when there is another kubelet.sock or its own socket is gone, or a moment after a
    refusal."""
    known = made(plugin.registry)
    try:
        await plugin.register()
    except (ManagerUnavailable, RegistrationRefused):
        await trio.sleep(period)
        return
    while subject.path.exists() and made(plugin.registry) in (known, None):  # noqa: ASYNC110 - as real ones do
        await trio.sleep(period)


class EndsWithItsStream(Lister):
    """Exits with status 1, so that it is started again (ROCm)."""

    breaks = None
    is_asked = False

    async def start(self, directory):
        self.is_asked = False
        await super().start(directory)

    @property
    def unexpected_exit(self):
        return None if self.is_asked or self.is_running else "with exit status 1"

    async def terminate(self):
        self.is_asked = True
        return await super().terminate()

    async def kill(self):
        self.is_asked = True
        await super().kill()

    def prepare(self, plugin):
        super().prepare(plugin)
        plugin.run_scope = self.run_scope  # of two processes each ends with its own stream

    async def say(self, plugin, honest, seen):
        try:
            return await honest(seen)
        except trio.Cancelled:
            plugin.run_scope.cancel()
            raise


class DeletesWhateverHasItsName(UsesOneName, Honest):
    """Deletes the socket at its end, as grpc-go and gRPC's C core do. But it watches its own socket, and creates
    another one."""

    def clean_up(self):
        self.path.unlink(missing_ok=True)


class EndsBesideAnother(UsesOneName, Honest):
    """And is started again, as every pod of a DaemonSet is."""

    unexpected_exit = None

    async def start(self, directory):
        self.unexpected_exit = None
        await super().start(directory)

    async def serve(self, directory, options):
        if self.is_served():
            self.unexpected_exit = "with exit status 1"
            return
        await super().serve(directory, options)


class EndsWhenItIsRefused(Honest):
    """And is started again, as every pod of a DaemonSet is: it panics."""

    unexpected_exit = None

    async def start(self, directory):
        self.unexpected_exit = None
        await super().start(directory)

    def prepare(self, plugin):
        run_scope = self.run_scope

        async def panic(refusal):
            self.unexpected_exit = "with exit status 2"
            run_scope.cancel()
            raise refusal

        take_refusals(plugin, panic)


class TriesAgainLater(Honest):
    """Tries again some time after a refusal, and watches nothing meanwhile (NVIDIA)."""

    def prepare(self, plugin):
        async def wait(refusal):
            await trio.sleep(10)
            raise refusal

        take_refusals(plugin, wait)


class WaitsForTheOther(UsesOneName, Honest):
    """Waits while another process serves its socket."""

    async def serve(self, directory, options):
        while self.is_served():  # noqa: ASYNC110 - as real ones do
            await trio.sleep(0.5)
        await super().serve(directory, options)


class WaitsBeforeItRegistersAgain(Honest):
    """Registers again some seconds after its stream is lost, which may have been a restart."""

    async def stay_registered(self, plugin):
        await keep_registered(self, plugin, period=0.2)

    async def mind_its_stream(self, plugin, streams):
        while True:
            await trio.sleep(0.2)
            if streams.are_lost:
                await trio.sleep(4)
            if streams.are_lost:
                with suppress(ManagerUnavailable, RegistrationRefused):
                    await plugin.register()


class BeginsToLookALittleLater(Honest):
    """For what changes, when it has registered (NVIDIA's for KubeVirt)."""

    registered_at = 0.0

    def prepare(self, plugin):
        register = plugin.register

        async def noted(**how):
            self.registered_at = trio.current_time()  # at the latest: the clock may jump until it returns
            await register(**how)

        plugin.register = noted

    async def change(self):
        if trio.current_time() - self.registered_at > 0.2:
            await super().change()


class EndsWhenItsStreamIsLost(Honest):
    """And is started again, as every pod of a DaemonSet is. It minds its stream in no other way."""

    unexpected_exit = None

    async def start(self, directory):
        self.unexpected_exit = None
        await super().start(directory)

    async def stay_registered(self, plugin):
        await keep_registered(self, plugin, period=0.2)

    async def mind_its_stream(self, plugin, streams):
        while not streams.are_lost:  # noqa: ASYNC110 - as real ones do
            await trio.sleep(0.2)
        self.unexpected_exit = "with exit status 1"
        self.run_scope.cancel()


def all_oddities() -> list[type[Honest]]:
    """Those that work without options, and on any clock."""
    return [
        *(BuildsAnswersFromAMap, GivesUpAfterManyErrors, LooksEverySixSeconds),
        *(EndsBesideAnother, WaitsForTheOther),
        *(EndsWhenItIsRefused, TriesAgainLater, WaitsBeforeItRegistersAgain, BeginsToLookALittleLater),
    ]
