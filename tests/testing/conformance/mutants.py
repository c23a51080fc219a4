"""One plug-in that does everything right, and many that do one thing wrong, all in this process.

A mutant is a class whose name says what is wrong with it; ``breaks`` names the one check that must notice, and
``weight`` says how much it matters. They run on the test's clock, on which patience costs nothing.
"""

from __future__ import annotations

import itertools
import random
import socket
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import trio

from devicemgr.errors import ManagerUnavailable, RegistrationRefused, RpcFailed
from devicemgr.model import Device, Mount, PluginOptions, RunOptions
from devicemgr.testing.conformance import Skipped, Weight
from devicemgr.testing.plugin.simulated import open_simulated_plugin

RESOURCE = "vendor.com/gpu"
SECOND = "vendor.com/nic"
DEVICES = (
    *(Device(id=f"gpu-{number}", numa_nodes=(number % 2,)) for number in range(4)),
    Device(id="gpu-4", health="Unhealthy"),
)

LOST_AFTER = 0.5
"""A stream that has not come after so many seconds will not come: a restart of the manager would have shown by then."""


class Streams:
    """The streams that the manager has opened. A mutant changes the plug-in's calls before this wraps them."""

    def __init__(self, plugin) -> None:
        self._plugin = plugin
        self._open = 0
        self._lost_at: float | None = None
        self._registered_with: tuple[object, object] = None, None
        self._next_report, self._register = plugin.next_report, plugin.register
        plugin.next_report, plugin.register = self._noting_its_end, self._noting_the_sockets

    @property
    def are_lost(self) -> bool:
        """Has the manager dropped the last stream, and not come back, though both sockets are those of the last
        registration? It does not call again then (LW-8)."""
        if self._lost_at is None or self._open or self._sockets() != self._registered_with:
            return False
        return trio.current_time() - self._lost_at >= LOST_AFTER

    def _sockets(self) -> tuple[object, object]:
        return made(self._plugin.registry), made(self._plugin.directory / self._plugin.endpoint)

    async def _noting_its_end(self, seen):
        self._open += 1
        try:
            report = await self._next_report(seen)
        except trio.Cancelled:
            self._lost_at = trio.current_time()
            raise
        finally:
            self._open -= 1
        # A list that could not be sent is not followed by a call for the next one. None ends the stream from this side.
        self._lost_at = None if report is None else trio.current_time()
        return report

    async def _noting_the_sockets(self, **how):
        self._lost_at = None
        await self._register(**how)
        self._registered_with = self._sockets()


class Honest:
    """A subject with everything that a check can look at: five devices, one of them unhealthy, both optional calls."""

    breaks: str | None = None
    weight = Weight.ERROR
    resource = RESOURCE
    devices = DEVICES
    ends_in_time = True
    removes_socket = True
    stands_stale_socket = True
    open_descriptors = 7
    unexpected_exit = None
    has_api_server = False
    folder = "device-plugins"
    processes = itertools.count(1)

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.run_scope: trio.CancelScope | None = None
        self.ended = trio.Event()
        self.output = "hello\n"
        self.start_count = 0
        self.process = 0
        self.registrations = 0

    # --- what a mutant may do differently ----------------------------------------------------------

    def prepare(self, plugin) -> None:
        """Before it serves."""

    async def stay_registered(self, plugin) -> None:
        """Runs while it serves."""
        await plugin.keep_registered()

    def another_name(self) -> str:
        """Another name of its socket, under which it can be registered though its stream is open."""
        name = f"{self.path.stem}.{self.registrations}"
        self.path.with_name(name).hardlink_to(self.path)
        return name

    async def mind_its_stream(self, plugin, streams: Streams) -> None:
        """Registers again when the stream is lost, however it notices a restart of the manager."""
        while True:
            await trio.sleep(0.2)
            if streams.are_lost:
                with suppress(ManagerUnavailable, RegistrationRefused):
                    await plugin.register()

    async def log_refusal(self, refusal) -> None:
        self.output += f"E0101 12:00:00 failed to register: {refusal}\n"

    @staticmethod
    async def keep_registered_with_kubelet_sock(plugin) -> None:
        """Watches nothing else."""
        known = None
        while True:
            if (current := made(plugin.registry)) not in (None, known):
                with suppress(ManagerUnavailable, RegistrationRefused):
                    plugin.restore_socket()
                    await plugin.register()
                    known = current
            await trio.sleep(0.2)

    # --- the subject --------------------------------------------------------------------------------

    @property
    def endpoint(self) -> str:
        """No other process has it, of any instance."""
        return f"gpu-{self.process}.sock"

    async def start(self, directory: Path) -> None:
        directory = directory.parent / self.folder
        self.process = next(self.processes)
        self.path = directory / self.endpoint
        self.ended = trio.Event()
        self.start_count += 1
        if self.path.exists() and not self.stands_stale_socket:
            self.output += "bind: address already in use\n"
            self.ended.set()
            return
        self.run_scope = trio.CancelScope()
        self.nursery.start_soon(self._run, directory)

    async def _run(self, directory: Path) -> None:
        options = PluginOptions(pre_start_required=True, get_preferred_allocation_available=True)
        run_scope, ended = self.run_scope, self.ended
        try:
            with run_scope:
                await self.serve(directory, options)
        finally:
            ended.set()

    async def serve(self, directory: Path, options: PluginOptions) -> None:
        async with open_simulated_plugin(
            directory, RESOURCE, devices=self.devices, options=options, endpoint=self.path.name
        ) as self.plugin:
            self.plugin.resource = self.resource
            register = self.plugin.register

            async def counted(**how):
                self.registrations += 1
                await register(**how)

            self.plugin.register = counted
            self.plugin.on_allocate = self.with_a_cdi_device(self.plugin.on_allocate)
            self.prepare(self.plugin)
            streams = Streams(self.plugin)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.mind_its_stream, self.plugin, streams)
                await self.stay_registered(self.plugin)
                nursery.cancel_scope.cancel()

    @staticmethod
    def with_a_cdi_device(usual):
        async def answer(ids):
            return replace(await usual(ids), cdi_devices=(f"{RESOURCE}=all",))

        return answer

    def new_instance(self) -> Honest | None:
        return type(self)(self.nursery)

    can_change = True

    async def run_in_background(self) -> None:
        """Nothing, since it runs in this process."""

    def without_secrets(self, text: str) -> str:
        return text

    async def terminate(self) -> int:
        if not self.ends_in_time:
            await trio.sleep_forever()
        self.run_scope.cancel()
        await self.ended.wait()
        if not self.removes_socket:
            leave_socket(self.path)
        return 0

    async def surge(self, directory: Path, ready, grace: float) -> None:
        first, ended = self.run_scope, self.ended
        await self.start(directory)
        await ready()
        with trio.move_on_after(grace):
            if not self.ends_in_time:
                await trio.sleep_forever()
        first.cancel()
        await ended.wait()
        self.clean_up()

    def clean_up(self) -> None:
        """Called at the end of the first of two processes."""

    def is_served(self) -> bool:
        """Does another process serve it?"""
        with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
            probe.connect(str(self.path))
            return True
        return False

    async def kill(self) -> None:
        if self.is_running:
            self.run_scope.cancel()
            await self.ended.wait()
            leave_socket(self.path)

    async def change(self) -> None:
        self.plugin.set_health("gpu-3", "Unhealthy")

    async def missing(self, paths):
        return [path for path in paths if not Path(path).exists()]

    @property
    def is_running(self) -> bool:
        return self.run_scope is not None and not self.ended.is_set()

    def descriptors(self) -> int:
        return self.open_descriptors


async def register_once(plugin) -> None:
    """Tries again only if that failed."""
    while True:
        with suppress(ManagerUnavailable, RegistrationRefused):
            return await plugin.register()
        await trio.sleep(0.2)


def made(path: Path) -> tuple[int, int] | None:
    """A different value for each file that is created there; None if there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def leave_socket(path: Path) -> None:
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))


class UsesOneName:
    """The same for its socket in each process, as most plug-ins have it."""

    endpoint = "gpu.sock"
    second_endpoint = "nic.sock"


class NeverRegisters(Honest):
    breaks = "registers"

    async def stay_registered(self, plugin):
        await trio.sleep_forever()


class EndsAtOnce(Honest):
    breaks = "registers"

    async def stay_registered(self, plugin):
        self.output += "no devices found\n"


class SaysAnotherVersion(Honest):
    breaks = "api-version"

    def prepare(self, plugin):
        plugin.register = partial(plugin.register, version="v1alpha1")


class HasNoDomain(Honest):
    breaks = "resource-name"
    resource = "gpu"


class SaysItsFullPath(Honest):
    breaks = "endpoint-name"

    def prepare(self, plugin):
        plugin.register = partial(plugin.register, endpoint=str(self.path))


class KeepsItsSocketElsewhere(Honest):
    """It learns where kubelet.sock is, but has the place of its own socket compiled in."""

    breaks = "endpoint-name"

    def prepare(self, plugin):
        plugin.register = partial(plugin.register, endpoint="elsewhere.sock")


class RegistersBeforeItServes(Honest):
    breaks = "serves-first"

    def prepare(self, plugin):
        register = plugin.register

        async def too_early(**how):
            self.path.unlink(missing_ok=True)
            problems = []

            async def call():
                try:
                    await register()
                except (ManagerUnavailable, RegistrationRefused) as problem:
                    problems.append(problem)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
                await trio.sleep(3)  # the manager has the call by then, on a busy machine as well
                plugin.restore_socket()
            for problem in problems:
                raise problem

        plugin.register = too_early


class ServesWhenItWasRefused(Honest):
    """It waits for the answer to Register, and calls it again."""

    breaks = "serves-first"

    async def start(self, directory):
        self.is_new = True
        await super().start(directory)

    def prepare(self, plugin):
        register = plugin.register

        async def too_early(**how):
            if self.is_new:
                self.is_new = False
                self.path.unlink(missing_ok=True)
                with suppress(ManagerUnavailable, RegistrationRefused):
                    await register(**how)
                plugin.restore_socket()
            await register(**how)

        plugin.register = too_early


class HasNoOptions(Honest):
    breaks = "options"

    def prepare(self, plugin):
        async def fail():
            raise RpcFailed("method not implemented")

        plugin.on_options = fail


class TakesItsTimeForOptions(Honest):
    breaks = "options"

    def prepare(self, plugin):
        async def slow():
            await trio.sleep(15)
            return plugin.options

        plugin.on_options = slow


class RegistersInALoop(Honest):
    """Registers the same socket under one name after another."""

    breaks = "registers-once"
    period = 5.0

    async def stay_registered(self, plugin):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(plugin.keep_registered)
            while True:
                await trio.sleep(self.period)
                with suppress(ManagerUnavailable, RegistrationRefused, FileNotFoundError):
                    await plugin.register(endpoint=self.another_name())


class Lister(Honest):
    """Replaces the lists of a stream: ``say(plugin, honest, seen)`` is ``next_report``."""

    def prepare(self, plugin):
        honest = plugin.next_report
        plugin.next_report = lambda seen: self.say(plugin, honest, seen)

    async def say(self, plugin, honest, seen):
        return await honest(seen)


class SaysNothing(Lister):
    breaks = "first-list"

    async def say(self, plugin, honest, seen):
        await trio.sleep_forever()


class SaysItsListLate(Lister):
    breaks = "first-list-complete"

    async def say(self, plugin, honest, seen):
        await trio.sleep(11 if seen < 0 else 0)
        return await honest(seen)


class SaysThatThereIsNothingAtFirst(Lister):
    """As every plug-in on Intel's framework."""

    breaks = "first-list-complete"

    async def say(self, plugin, honest, seen):
        if seen == -1:
            return -1_000, ()
        return await honest(-1 if seen == -1_000 else seen)


class FindsItsDevicesBitByBit(Lister):
    """At the beginning of each stream."""

    breaks = "first-list-complete"

    async def say(self, plugin, honest, seen):
        if seen == -1:
            return -1_000, plugin.devices[:2]
        if seen == -1_000:
            await trio.sleep(1)  # so that both lists are seen on a busy machine as well
        return await honest(-1 if seen == -1_000 else seen)


class GivesAnIdTwice(Honest):
    breaks = "ids-unique"
    devices = (*DEVICES, DEVICES[0])


class HasAnEmptyId(Honest):
    breaks = "ids-valid"
    devices = (*DEVICES, Device(id="", health="Unhealthy"))


class HasACommaInAnId(Honest):
    breaks = "ids-valid"
    weight = Weight.WARNING
    devices = (*DEVICES, Device(id="gpu-5,gpu-6"))


class SaysOk(Honest):
    breaks = "health-valid"
    devices = (*DEVICES, Device(id="gpu-5", health="healthy"))


class SaysMinusOne(Honest):
    breaks = "numa-plausible"
    devices = (*DEVICES, Device(id="gpu-5", numa_nodes=(-1,)))


class SaysANodeTwice(Honest):
    breaks = "numa-plausible"
    devices = (*DEVICES, Device(id="gpu-5", numa_nodes=(1, 1)))


class SaysANodeThatNoKubeletKnows(Honest):
    breaks = "numa-plausible"
    devices = (*DEVICES, Device(id="gpu-5", numa_nodes=(64,)))


class SaysANodeThatIsNotThere(Honest):
    breaks = "numa-plausible"
    weight = Weight.WARNING
    devices = (*DEVICES, Device(id="gpu-5", numa_nodes=(2,)))


class SendsFiveMebibytes(Honest):
    breaks = "message-size"
    devices = (*DEVICES, *(Device(id=f"{number}-" + "x" * 1_000_000, health="Unhealthy") for number in range(5)))
    work = 1.0
    """Such a list takes the processor longer than half a second of a faster clock, after which a stream counts as lost.
    """


class ReturnsFromListAndWatch(Lister):
    breaks = "stream-stays-open"
    first = True

    async def say(self, plugin, honest, seen):
        if seen < 0:
            return await honest(seen)
        if self.first:  # its first stream only: what a restart does is another matter
            self.first = False
            await trio.sleep(0.5)
            return None
        return await honest(seen)


class FloodsTheStream(Lister):
    breaks = "stream-silent"

    async def say(self, plugin, honest, seen):
        with trio.move_on_after(4 if seen >= 0 else 0):  # twice in the quiet period, on a busy machine too
            return await honest(seen)
        return max(seen, 0), plugin.devices


class ShufflesItsList(Lister):
    """Sends the same devices every few seconds, in the order of a map."""

    breaks = "stream-silent"

    async def say(self, plugin, honest, seen):
        with trio.move_on_after(4 if seen >= 0 else 0):
            return await honest(seen)
        return max(seen, 0), random.sample(plugin.devices, len(plugin.devices))


class ShufflesItsNumaNodes(Lister):
    """Sends the same devices every few seconds, each with its nodes in the order of a map."""

    breaks = "stream-silent"
    devices = tuple(Device(id=f"gpu-{number}", numa_nodes=(0, 1)) for number in range(4)) + DEVICES[-1:]

    async def say(self, plugin, honest, seen):
        with trio.move_on_after(4 if seen >= 0 else 0):
            return await honest(seen)
        turned = self.numbers = -self.numbers
        return max(seen, 0), [
            replace(one, numa_nodes=one.numa_nodes and one.numa_nodes[::turned]) for one in plugin.devices
        ]

    numbers = 1


class CountsItsIdsUp(Honest):
    breaks = "ids-stable"

    @property
    def devices(self):
        return [replace(device, id=f"{device.id}-{self.start_count}") for device in DEVICES]

    async def change(self):
        self.plugin.set_health(f"gpu-3-{self.start_count}", "Unhealthy")


class Delta(Lister):
    """Sends only some devices after the first list."""

    breaks = "lists-complete"
    changing = ("gpu-3",)

    async def say(self, plugin, honest, seen):
        report = await honest(seen)
        if seen < 0 or report is None:
            return report
        return report[0], [device for device in report[1] if device.id in self.changing]


class SendsWhatChangedOnly(Delta):
    """When it is made to change."""


class SendsWhatChangedOnlyByItself(Delta):
    """Changes by itself in the quiet period."""

    changing = ("gpu-3", "gpu-4")

    async def stay_registered(self, plugin):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(plugin.keep_registered)
            await trio.sleep(2)
            plugin.set_health("gpu-4", "Unhealthy")

    async def change(self):
        raise Skipped("no command is given")


class ForgetsWhatDoesNotChange(Honest):
    """Takes what has changed for all that there is, also for new streams."""

    breaks = "lists-complete"

    async def change(self):
        health = next(device.health for device in self.plugin.devices if device.id == "gpu-3")
        changed = replace(DEVICES[3], health="Unhealthy" if health == "Healthy" else "Healthy")
        self.plugin.set_devices([changed])


class LosesItsListWithAStream(Lister):
    breaks = "stream-cancel"

    def prepare(self, plugin):
        super().prepare(plugin)
        self.streams = 0

    async def say(self, plugin, honest, seen):
        if seen < 0:
            self.streams = self.streams + 1 if self.streams_of_one_life == self.registrations else 1
            self.streams_of_one_life = self.registrations
        if self.streams > 3:
            return 0, ()
        return await honest(seen)

    streams_of_one_life = 0


class CountsItsStreams(Lister):
    """Later streams of a process begin with a list, but get no changes."""

    breaks = "changes-arrive"

    def prepare(self, plugin):
        super().prepare(plugin)
        self.streams = 0

    async def say(self, plugin, honest, seen):
        self.streams += seen < 0
        report = await honest(seen)
        while seen >= 0 and self.streams > 1 and report is not None:
            report = await honest(report[0])
        return report


class KeepsItsFirstStream(CountsItsStreams):
    """Its exit is not noticed."""


class PanicsAtAChange(CountsItsStreams):
    """Sends changes to its first stream, which is closed."""

    async def start(self, directory):
        self.unexpected_exit = None
        await super().start(directory)

    async def change(self):
        if self.streams > 1:
            self.unexpected_exit = "with exit status 2"
            self.run_scope.cancel()
        await super().change()


class Answerer(Honest):
    """Replaces its answer to Allocate: ``answer(honest, ids)``."""

    def prepare(self, plugin):
        honest = plugin.on_allocate
        plugin.on_allocate = lambda ids: self.answer(honest, ids)


class AnswersForNoContainer(Answerer):
    breaks = "allocate-answers"

    async def answer(self, honest, ids):
        return None


class AnswersForOneDeviceOnly(Answerer):
    breaks = "allocate-answers"

    async def answer(self, honest, ids):
        if len(ids) > 1:
            raise RpcFailed("one device at a time, please")
        return await honest(ids)


class AnswersForTheFirstContainerOnly(Honest):
    breaks = "allocate-answers"

    def prepare(self, plugin):
        honest, previous = plugin.on_allocate, []

        async def answer(ids):
            if list(ids) == ["gpu-1"] and previous and previous[-1] == ["gpu-0"]:
                return None
            previous.append(list(ids))
            return await honest(ids)

        plugin.on_allocate = answer


class KnowsEveryDevice(Answerer):
    breaks = "allocate-unknown"

    async def answer(self, honest, ids):
        known = {device.id for device in self.plugin.devices}
        return await honest(ids) if set(ids) <= known else RunOptions()


class NeverAnswersForUnknownIds(Answerer):
    """It waits for the device to appear."""

    breaks = "allocate-unknown"

    async def answer(self, honest, ids):
        if set(ids) - {device.id for device in self.plugin.devices}:
            await trio.sleep_forever()
        return await honest(ids)


class DiesOfUnknownIds(Answerer):
    """And a loop in a shell, which goes on, starts it again."""

    breaks = "allocate-unknown"

    async def serve(self, directory, options):
        while True:
            self.has_died = trio.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(super().serve, directory, options)
                await self.has_died.wait()
                nursery.cancel_scope.cancel()
            await trio.sleep(1)

    async def answer(self, honest, ids):
        if set(ids) - {device.id for device in self.plugin.devices}:
            self.has_died.set()
            await trio.sleep_forever()
        return await honest(ids)


class LooksAtTheFirstIdOnly(Answerer):
    breaks = "allocate-unknown"

    async def answer(self, honest, ids):
        known = {device.id for device in self.plugin.devices}
        return await honest([id for id in ids if id in known] if ids[0] in known else ids)


class AnswersForBrokenDevices(Answerer):
    breaks = "allocate-unhealthy"
    weight = Weight.WARNING

    async def answer(self, honest, ids):
        good = [id for id in ids if id != "gpu-4"]
        return await honest(good) if good else RunOptions()


class AnswersForBrokenDevicesAmongOthers(Answerer):
    breaks = "allocate-unhealthy"
    weight = Weight.WARNING

    async def answer(self, honest, ids):
        return await honest([id for id in ids if id != "gpu-4"] if len(ids) > 1 else ids)


class CountsItsAnswers(Answerer):
    breaks = "allocate-same"
    number = itertools.count()

    async def answer(self, honest, ids):
        answer = await honest(ids)
        return replace(answer, envs={**answer.envs, "ALLOCATION": str(next(self.number))})


class HandsOutAnotherDevice(Answerer):
    """Has ids that look random; and remembers which pod it gave which device."""

    breaks = "allocate-same"
    devices = (
        *(Device(id=f"GPU-{number}c1f{number}a09-7de{number}-4b1a-9f55-0e0{number}e1d7a8b2") for number in range(1, 4)),
        Device(id="gpu-4", health="Unhealthy"),
    )
    number = itertools.count()

    async def answer(self, honest, ids):
        others = [self.devices[next(self.number) % 3].id for _ in ids]
        await honest(ids)
        return await honest(others)

    async def change(self):
        self.plugin.set_health(self.devices[0].id, "Unhealthy")


class NumbersItsDevicesAnew(Answerer):
    """In the order of a map: the ids stay, and each time belong to other devices."""

    breaks = "ids-stable"
    nodes = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random")

    async def answer(self, honest, ids):
        answer, first = await honest(ids), self.registrations + self.start_count
        nodes = [self.nodes[(int(id[-1]) + first) % 4] for id in ids]
        specs = [replace(spec, host_path=node) for spec, node in zip(answer.device_specs, nodes, strict=True)]
        return replace(answer, device_specs=tuple(specs))


class MixesUpAnswers(Answerer):
    breaks = "allocate-concurrent"
    last = ()

    async def answer(self, honest, ids):
        await honest(ids)
        self.last = ids
        await trio.sleep(0.5)  # the other call is here by then, on a busy machine as well
        return await honest(self.last)


def with_spec(**fields):
    async def answer(self, honest, ids):
        answer = await honest(ids)
        return replace(answer, device_specs=(replace(answer.device_specs[0], **fields), *answer.device_specs[1:]))

    return answer


class NamesARelativePath(Answerer):
    breaks = "paths-absolute"
    answer = with_spec(container_path="gpu0")


class ClimbsOutOfAMount(Answerer):
    breaks = "paths-absolute"

    async def answer(self, honest, ids):
        return replace(await honest(ids), mounts=(Mount(container_path="/opt", host_path="/usr/../usr/share"),))


class WantsToExecute(Answerer):
    breaks = "permissions"
    answer = with_spec(permissions="rwx")


class WantsNothing(Answerer):
    breaks = "permissions"
    answer = with_spec(permissions="")


class NamesAHostPathThatIsNotThere(Answerer):
    breaks = "host-paths-exist"
    answer = with_spec(host_path="/dev/no-such-device")


class NamesACdiDeviceInShort(Answerer):
    breaks = "cdi-names"

    async def answer(self, honest, ids):
        return replace(await honest(ids), cdi_devices=("gpu0",))


class Preferring(Honest):
    """Replaces its preference: ``prefer(available, must, size)``."""

    breaks = "preferred-allocation"

    def prepare(self, plugin):
        plugin.on_preferred = self.prefer


class PrefersAllOfThem(Preferring):
    async def prefer(self, available, must, size):
        return available


class PrefersWhatIsTaken(Preferring):
    async def prefer(self, available, must, size):
        return [device.id for device in self.plugin.devices][:size]


class ForgetsWhatMustBe(Preferring):
    async def prefer(self, available, must, size):
        return [id for id in available if id not in must][:size]


class FailsToPrefer(Preferring):
    async def prefer(self, available, must, size):
        raise RpcFailed("no opinion")


class ResetsForAMinute(Honest):
    breaks = "pre-start"

    def prepare(self, plugin):
        async def reset(ids):
            await trio.sleep(60)

        plugin.on_pre_start = reset


class NeverComesBack(Honest):
    breaks = "restart"

    async def stay_registered(self, plugin):
        await register_once(plugin)
        await trio.sleep_forever()


class ClosesItsHardwareWithItsServer(Answerer):
    """And opens it again only in a new process."""

    breaks = "allocate-after-restart"

    def prepare(self, plugin):
        super().prepare(plugin)
        self.is_closed, ensure_serving = False, plugin.restore_socket

        def restored():
            is_new = ensure_serving()
            self.is_closed = self.is_closed or is_new
            return is_new

        plugin.restore_socket = restored

    async def answer(self, honest, ids):
        if self.is_closed:
            raise RpcFailed("invalid handle")
        return await honest(ids)


class ComesBackOnItsOldSocket(Honest):
    breaks = "restart"

    def prepare(self, plugin):
        def forget():
            return False

        server = plugin.restore_socket.__self__
        server.ensure_serving = plugin.restore_socket = forget


def tell_of_its_end(mutant, plugin):
    """``mutant.stream_ended`` is set when a stream of the plug-in is cancelled."""
    mutant.stream_ended, honest = trio.Event(), plugin.next_report

    async def watched(seen):
        try:
            return await honest(seen)
        except trio.Cancelled:
            mutant.stream_ended.set()
            raise

    plugin.next_report = watched


class WaitsForTheEndOfItsStream(Honest):
    """Registers again when the stream has ended, which is enough for a restart, but not for a wiped directory."""

    breaks = "wiped"

    async def stay_registered(self, plugin):
        def nothing():
            return False

        own, plugin.restore_socket = plugin.restore_socket, nothing
        while True:
            own()
            plugin.end_stream()
            await plugin.drain()
            try:
                await plugin.register()
            except (ManagerUnavailable, RegistrationRefused):
                await trio.sleep(0.2)
                continue
            known = made(plugin.registry)
            while made(plugin.registry) in (known, None):
                self.stream_ended = trio.Event()
                await self.stream_ended.wait()
                with trio.move_on_after(10):
                    while made(plugin.registry) in (known, None):  # noqa: ASYNC110 - as real ones do
                        await trio.sleep(0.2)

    def prepare(self, plugin):
        tell_of_its_end(self, plugin)


class WatchesKubeletSockOnly(Honest):
    """Does not notice that its own socket is gone, as long as there is no new kubelet.sock."""

    breaks = "socket-deleted"

    async def stay_registered(self, plugin):
        await self.keep_registered_with_kubelet_sock(plugin)


class EndsWithKubeletSock(Honest):
    """When there is a new kubelet.sock and its own socket is unchanged."""

    breaks = "registry-deleted"

    def prepare(self, plugin):
        ensure_serving, register = plugin.restore_socket, plugin.register
        self.is_known, self.has_restored = False, False

        def restored():
            self.has_restored = ensure_serving()
            return self.has_restored

        async def only_after_a_wipe():
            if self.is_known and not self.has_restored:
                self.run_scope.cancel()
            self.is_known = False
            await register()
            self.is_known = True

        plugin.restore_socket, plugin.register = restored, only_after_a_wipe


class TakesEndsOfStreamsForRestarts(Honest):
    """Each registration ends a stream, so this never stops."""

    breaks = "returns-once"
    work = 1.0  # it goes round as fast as the processor lets it
    pause = 0.0

    async def stay_registered(self, plugin):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(plugin.keep_registered)
            while True:
                await self.stream_ended.wait()
                await trio.sleep(self.pause)
                self.stream_ended = trio.Event()
                with suppress(ManagerUnavailable, RegistrationRefused, FileNotFoundError):
                    await plugin.register(endpoint=self.another_name())

    def prepare(self, plugin):
        tell_of_its_end(self, plugin)


class TakesTheEndOfAStreamForARestart(TakesEndsOfStreamsForRestarts):
    """At once."""


class TakesTheEndOfAStreamForARestartAfterAPause(TakesEndsOfStreamsForRestarts):
    """So that few of its calls come soon after a disruption."""

    pause = 0.8


class TakesTheEndOfAStreamForARestartSomeSecondsLater(TakesEndsOfStreamsForRestarts):
    """So that none of them comes within the time that its check alone would take."""

    pause = 2.6


class RegistersOverAnOpenStream(Honest):
    """Creates its socket again when it is gone, and does not end the old server."""

    breaks = "endpoint-fresh"

    def prepare(self, plugin):
        plugin.end_stream = lambda: None
        plugin.drain = trio.lowlevel.checkpoint


class GivesUp(Honest):
    breaks = "away"

    async def stay_registered(self, plugin):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(plugin.keep_registered)
            missing = 0
            while missing < 20:
                await trio.sleep(0.1)
                missing = 0 if plugin.registry.exists() else missing + 1
            nursery.cancel_scope.cancel()


class LeaksADescriptor(Honest):
    breaks = "descriptors"

    @property
    def open_descriptors(self):
        return 7 + self.registrations // 3


class LooksAtFilesOnly(Honest):
    """Does nothing while both sockets are those of its registration, as most plug-ins do."""

    breaks = "stream-lost"
    weight = Weight.WARNING

    def prepare(self, plugin):
        self.forget_nothing(plugin, self.path)

    @staticmethod
    def forget_nothing(plugin, path):
        register, known = plugin.register, None

        async def once(**how):
            nonlocal known
            if (now := (made(plugin.registry), made(path))) != known:
                await register(**how)
                known = now

        plugin.register = once


class StumblesOverItsSocket(UsesOneName, Honest):
    breaks = "kill-restart"
    stands_stale_socket = False


class WaitsForeverBesideAnother(UsesOneName, Honest):
    """Leaves the socket to the other process, and does not look again."""

    breaks = "rolling-update"

    async def serve(self, directory, options):
        if self.is_served():
            await trio.sleep_forever()
        await super().serve(directory, options)


def is_of_v1_37(refusal) -> bool:
    """Was it refused because of another process, whose stream is open?"""
    return "already connected" in str(refusal)


def is_not_of_v1_37(refusal) -> bool:
    return not is_of_v1_37(refusal)


def take_refusals(plugin, take, *, when=lambda refusal: True) -> None:
    """``take`` gets these refusals of Register, instead of the caller."""
    register = plugin.register

    async def taken(**how):
        try:
            await register(**how)
        except RegistrationRefused as refusal:
            if not when(refusal):
                raise
            await take(refusal)

    plugin.register = taken


class HasOneName(UsesOneName, Honest):
    """Registers again after each refusal; but v1.37 goes on refusing its name."""

    breaks = "rolling-update"
    weight = Weight.WARNING


class OnlyLogsARefusal(UsesOneName, Honest):
    """Serves, and takes itself for registered: it is not called when the other process has ended. If it could not be
    dialled it tries again."""

    breaks = "rolling-update"

    def prepare(self, plugin):
        take_refusals(plugin, self.log_refusal, when=is_of_v1_37)


class HangsAfterARefusal(UsesOneName, Honest):
    """Waits for what it has started, which waits for its registration."""

    breaks = "rolling-update"

    def prepare(self, plugin):
        async def hang(refusal):
            await trio.sleep_forever()

        take_refusals(plugin, hang, when=is_of_v1_37)


class TakesItselfForRegistered(Honest):
    """Remembers kubelet.sock before Register has succeeded, and only logs a refusal."""

    breaks = "registers-again"
    weight = Weight.WARNING

    def prepare(self, plugin):
        take_refusals(plugin, self.log_refusal, when=is_not_of_v1_37)


class GivesUpAfterARestart(Honest):
    """At its start it tries until it is registered; later only once for each kubelet.sock."""

    breaks = "registers-again"
    weight = Weight.WARNING

    def prepare(self, plugin):
        register, self.was_registered = plugin.register, False

        async def once(**how):
            try:
                await register(**how)
            except RegistrationRefused as refusal:
                if not self.was_registered or is_of_v1_37(refusal):
                    raise
            self.was_registered = True

        plugin.register = once


class FightsAndLosesHeart(UsesOneName, Honest):
    """The first process takes its socket back, and the second one has stopped watching."""

    breaks = "rolling-update"
    weight = Weight.WARNING

    async def stay_registered(self, plugin):
        with trio.CancelScope() as self.watch:
            await plugin.keep_registered()
        await trio.sleep_forever()

    async def surge(self, directory, ready, grace):
        first, calls = self.plugin, len(self.plugin.calls)

        async def fight():
            await ready()
            self.watch.cancel()
            self.path.unlink()
            while len(first.calls) == calls:  # noqa: ASYNC110 - the first one looks now and then
                await trio.sleep(0.1)

        await super().surge(directory, fight, grace)


class IgnoresSigterm(Honest):
    breaks = "sigterm-ends"
    ends_in_time = False


class FailsAtTheEnd(Honest):
    breaks = "sigterm-ends"
    weight = Weight.WARNING

    async def terminate(self):
        await super().terminate()
        return 2


class LeavesItsSocket(Honest):
    breaks = "sigterm-removes-socket"
    weight = Weight.WARNING
    removes_socket = False


class Found(Honest):
    """Waits in plugins_registry, and does not call Register."""

    folder = "plugins_registry"

    async def stay_registered(self, plugin):
        await trio.sleep_forever()


class SaysAnotherVersionWhenFound(Found):
    breaks = "api-version"

    def prepare(self, plugin):
        plugin.info = replace(plugin.info, supported_versions=("v1alpha1",))


class SaysItsFileNameWhenFound(Found):
    breaks = "endpoint-name"

    def prepare(self, plugin):
        plugin.info = replace(plugin.info, endpoint=self.path.name)


class TellsOnceWhoItIs(Found):
    """Removes its socket, as if it need not be found again."""

    breaks = "restart"

    def prepare(self, plugin):
        def told(registered, error):
            plugin.info = replace(plugin.info, type="")

        plugin.notify = told


class HasASecondResource(Honest):
    """In the same process, on a socket of its own."""

    @property
    def second_endpoint(self) -> str:
        return f"nic-{self.process}.sock"

    async def stay_registered(self, plugin):
        async with open_simulated_plugin(
            plugin.directory, SECOND, devices=self.devices, options=plugin.options, endpoint=self.second_endpoint
        ) as self.second:
            self.prepare_second(self.second)
            streams = Streams(self.second)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.mind_its_stream, self.second, streams)
                await self.keep_both_registered(plugin, self.second)
                nursery.cancel_scope.cancel()

    def prepare_second(self, plugin):
        """Before it is registered."""

    async def keep_both_registered(self, first, second):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first.keep_registered)
            nursery.start_soon(second.keep_registered)


class RegistersOneAfterTheOther(HasASecondResource):
    """Is slow, and exits if Register fails, which is not wrong."""

    unexpected_exit = None

    async def start(self, directory):
        self.unexpected_exit = None
        await super().start(directory)

    async def keep_both_registered(self, first, second):
        registered_on = None
        while True:
            lost = not all((one.directory / one.endpoint).exists() for one in (first, second))
            with suppress(FileNotFoundError):
                status = first.registry.stat()
                now = status.st_ino, status.st_mtime_ns
                if lost or now != registered_on:
                    registered_on = now
                    for one in (first, second):
                        if one.restore_socket():
                            one.end_stream()
                            await one.drain()
                        await trio.sleep(3)
                        try:
                            await one.register()
                        except (ManagerUnavailable, RegistrationRefused) as error:
                            self.output += f"Register failed: {error}\n"
                            self.unexpected_exit = "with exit status 1"
                            return
            await trio.sleep(0.1)


class FailsToAllocateItsSecond(HasASecondResource):
    breaks = "allocate-answers"

    def prepare_second(self, plugin):
        async def fail(ids):
            raise RpcFailed("out of order")

        plugin.on_allocate = fail


class FailsToAllocateItsSecondWhichComesLate(HasASecondResource):
    """So late that the first one's checks are over by then."""

    breaks = "allocate-answers"

    def prepare_second(self, plugin):
        FailsToAllocateItsSecond.prepare_second(self, plugin)

    async def keep_both_registered(self, first, second):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first.keep_registered)
            await trio.sleep(7)
            nursery.start_soon(second.keep_registered)


class ForgetsItsSecond(HasASecondResource):
    breaks = "restart"

    async def keep_both_registered(self, first, second):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first.keep_registered)
            await register_once(second)


class HasNothingOfItsSecondAtFirst(HasASecondResource):
    breaks = "first-list-complete"

    def prepare_second(self, plugin):
        honest = plugin.next_report

        async def empty_at_first(seen):
            if seen == -1:
                return -1_000, ()
            return await honest(-1 if seen == -1_000 else seen)

        plugin.next_report = empty_at_first


class DoesNotMissItsSecondStream(HasASecondResource):
    breaks = "stream-lost"
    weight = Weight.WARNING

    def prepare_second(self, plugin):
        LooksAtFilesOnly.forget_nothing(plugin, plugin.directory / plugin.endpoint)


class DoesNotMissItsSecondSocket(HasASecondResource):
    """While there is no new kubelet.sock."""

    breaks = "socket-deleted"

    async def keep_both_registered(self, first, second):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first.keep_registered)
            nursery.start_soon(self.keep_registered_with_kubelet_sock, second)


class TakesTheEndOfItsSecondStreamForARestart(HasASecondResource):
    breaks = "returns-once"
    work = 1.0  # it goes round as fast as the processor lets it
    numbers = itertools.count()

    def prepare_second(self, plugin):
        tell_of_its_end(self, plugin)

    async def keep_both_registered(self, first, second):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(super().keep_both_registered, first, second)
            own = second.directory / second.endpoint
            while True:
                await self.stream_ended.wait()
                self.stream_ended = trio.Event()
                with suppress(ManagerUnavailable, RegistrationRefused, FileNotFoundError):
                    name = f"nic.{next(self.numbers)}"  # also while two of it run
                    own.with_name(name).hardlink_to(own)
                    await second.register(endpoint=name)


def all_mutants(kind: type[Honest] = Honest) -> list[type[Honest]]:
    """Every leaf below ``kind`` that breaks something."""
    found, queue = [], [kind]
    while queue:
        for mutant in queue.pop().__subclasses__():
            queue.append(mutant)
            if not mutant.__subclasses__() and mutant.breaks:
                found.append(mutant)
    return sorted(found, key=lambda mutant: mutant.__name__)
