"""The bench: a private manager, the plug-in under test, and everything the two said to each other."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import trio

from ...arguments import checked
from ...condition_variable import ConditionVariable
from ...core.topology.numa import Numa
from ...daemon.event_log import RecordedEvent, Sink
from ...daemon.host_numa import read_numa
from ...daemon.layout import Layout, checked_endpoint, endpoint_of_found, file_name
from ...daemon.manager import DeviceManager
from ...daemon.supervisor import open_device_manager
from ...errors import RegistrationRefused, require_trio
from ...events import (
    DeviceListReceived,
    EndpointStopped,
    Event,
    PluginDiscovered,
    PluginRefused,
    PluginRegistered,
    PluginSocketFailed,
    RegistrationRequested,
)
from ...model import Device, DeviceId, DeviceList, ResourceName
from ...rpc.deviceplugin.client import connect_plugin
from ...rpc.deviceplugin.methods import Deadlines
from ...rpc.transport.unix_socket import Place
from ..timing import Timing
from .abbreviation import first_few
from .evidence import RecordedInCheck, Seen, of_instance
from .exit_message import exit_message
from .recording_client import CheckCallFinished, RecordingClient
from .respawn import open_respawning
from .socket_names import differ_by_timestamp_only
from .subject import Subject, open_subject
from .verdicts import Failed, Skipped

E = TypeVar("E", bound=Event)
SETTLING = 1.0
"""Seconds without another resource after which the plug-in has no more of them."""
REACTION_TIME = 2.0
"""Seconds in which a plug-in does what it does after a disruption."""
_RESPAWN_HINT = "; one that relies on being started again is checked with --respawn"
MAX_LINE = 200
"""Characters of a line of the plug-in's that are quoted."""


@dataclass(frozen=True, slots=True)
class Termination:
    """How the plug-in took SIGTERM: its exit status, None if it did not end; and its sockets, with those of them that
    were still there then."""

    status: int | None
    seconds: float
    sockets: Sequence[str]
    left: Sequence[str]


class Bench:
    """Given to every check. Made by :func:`open_bench`."""

    def __init__(
        self,
        subject: Subject,
        layout: Layout,
        resource: str | None,
        timing: Timing,
        numa: Numa,
        sinks: Sequence[Sink] = (),
        respawns: bool = False,  # by somebody else
    ) -> None:
        self.subject = subject
        self.directory = layout.plugins
        self.registry = layout.registration_socket
        self.timing = timing
        self.numa = numa
        self.manager: DeviceManager
        self.history: list[Seen] = []
        self.started = trio.current_time()
        self.check: str | None = None
        """The one that is running."""
        self.step = ""
        """What it is at, if it has several steps: the evidence begins with it when the plug-in ends."""
        self.has_given_directory = False
        """Has somebody chosen where the manager lives, as where the plug-in looks for it?"""
        self.start_times: list[float] = []
        """When the plug-in was started."""
        self._written_before = 0  # before that start
        self.disruptions: list[float] = []
        """When something was broken on purpose that makes it register again."""
        self.overlaps: list[tuple[float, float]] = []
        """From when until when two of it ran, and neither is to be judged by what both did."""
        self.termination: Termination | None = None
        self.allocate_skip_reasons: dict[ResourceName, str] = {}
        """Why Allocate cannot be answered here at all, where that is so."""
        self.has_parallel_instances = False
        """Is there another instance of the plug-in, on another bench?"""
        self.runs_change_in_parallel = False
        """And is the command of --change run for it?"""
        self.conclusive_failures: set[str] = set()
        """The checks whose failure another instance cannot be the reason of."""
        self.failed_in_parallel: dict[str, str] = {}
        """What was found when a check ran while there was one."""
        self.respawn_causes: list[str] = []
        """How it exited, each time that it was started again for that."""
        self._respawns = respawns
        self.changed_lists: dict[ResourceName, tuple[frozenset[str], frozenset[str]]] = {}
        """The ids of a list that the plug-in sent after its first one, and those a new stream began with then."""
        self._sinks = sinks
        self._requested = resource
        self._selected: Sequence[ResourceName] | None = None
        self._given_up: set[ResourceName] = set()
        self._watched: set[ResourceName] = set()
        self.watched_since = 0.0
        """What was before that is nothing that was watched."""
        self.watching_since: float | None = None
        """When the while began that the check which is running watches."""
        self._changed = ConditionVariable()
        self._quiet_ends: float | None = None

    # --- what was said ----------------------------------------------------------------------------

    def record(self, recorded: RecordedEvent) -> None:
        """A sink of the manager's event log."""
        served = self._accepts(recorded.event)
        self.history.append(Seen(trio.current_time(), recorded.event, served, recorded.time))
        self._forward(recorded)
        self._changed.notify()

    def _forward(self, recorded: RecordedEvent) -> None:
        """Whoever listens hears of it with the check during which it happened."""
        for sink in self._sinks:
            hide = self.subject.without_secrets
            sink(RecordedInCheck(recorded.sequence, recorded.time, recorded.event, self.check, hide))

    def _accepts(self, event: Event) -> bool:
        """Of a plug-in that makes itself known: does somebody listen where it says that it serves?"""
        if not isinstance(event, RegistrationRequested | PluginDiscovered):
            return False
        try:
            return _is_listening(self._place_of(event))
        except RegistrationRefused:
            return False

    def _place_of(self, event: RegistrationRequested | PluginDiscovered) -> Place:
        """Raises RegistrationRefused."""
        if isinstance(event, PluginDiscovered):
            return endpoint_of_found(self.manager.layout, Path(event.path), event.endpoint)
        return checked_endpoint(self.directory, event.endpoint)[1]

    def is_about(self, event: Event) -> bool:
        """Is it about the resource under test, or may it be?"""
        return self._requested in (None, getattr(event, "resource", None))

    @property
    def known(self) -> list[ResourceName]:
        """All resources that somebody has registered, under test or not, in that order."""
        known = RegistrationRequested, PluginDiscovered, PluginRegistered
        return list(dict.fromkeys(seen.event.resource for seen in self.history if isinstance(seen.event, known)))

    @property
    def resources(self) -> Sequence[ResourceName]:
        """Those under test: within :meth:`of` these, else the one that was asked for, else all."""
        if self._selected is not None:
            return self._selected
        return self.known if self._requested is None else [self._requested]

    @property
    def resource(self) -> ResourceName:
        """The one that a check is about, or the first of several. Raises Failed."""
        if not self.resources:
            raise Failed("no plug-in has called Register, and none was found in plugins_registry")
        return self.resources[0]

    @contextmanager
    def of(self, resources: Sequence[ResourceName]) -> Iterator[None]:
        """Within, only these are under test."""
        before, self._selected = self._selected, resources
        try:
            yield
        finally:
            self._selected = before

    def registrations(self, *, since: float = 0.0) -> list[tuple[Seen, RegistrationRequested | PluginDiscovered]]:
        """What the plug-in said of itself, oldest first: by calling Register, or when it was found and asked."""
        return sorted(
            [*self.seen(RegistrationRequested, since=since), *self.seen(PluginDiscovered, since=since)],
            key=lambda one: one[0].time,
        )

    @property
    def was_discovered(self) -> bool:
        """In plugins_registry, so that it has no need to call Register."""
        return bool(self.seen(PluginDiscovered))

    def seen(self, kind: type[E], *, since: float = 0.0, of: ResourceName | None = None) -> list[tuple[Seen, E]]:
        """The events of one kind about a resource, by default the one under test, oldest first."""
        if of is None and not self.resources:
            return []
        resource = self.resource if of is None else of
        return [
            (seen, seen.event)
            for seen in self.history
            if isinstance(seen.event, kind) and seen.time >= since and getattr(seen.event, "resource", None) == resource
        ]

    def devices(self) -> tuple[Device, ...]:
        """The newest list. Raises Skipped when it is empty: there is nothing to check."""
        lists = self.seen(DeviceListReceived)
        if not lists:
            raise Failed("no list of devices has come")
        if not lists[-1][1].devices:
            raise Skipped("the plug-in has no devices here")
        return lists[-1][1].devices

    def healthy(self) -> list[DeviceId]:
        """Ids that can be allocated, in the order of the list, each once."""
        found = list(dict.fromkeys(device.id for device in self.devices() if device.is_healthy))
        if not found:
            raise Skipped("no device is healthy")
        return found

    # --- waiting ----------------------------------------------------------------------------------

    async def wait_until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """True when ``condition`` held within ``seconds``; it is looked at after every event and now and then."""
        with trio.move_on_after(seconds):
            while not condition():
                with trio.move_on_after(0.2):
                    await self._changed.wait()
            return True
        return condition()

    async def settle(self) -> None:
        """Wait until the plug-in registers no more resources that were not known."""
        known: list[ResourceName] = []
        while known != self.known:
            known = self.known
            await trio.sleep(SETTLING)

    async def quiet_period(self) -> tuple[float, float]:
        """Watch for a while after the first list, with nothing going on; returns when that began and ended.

        The same while for all who ask, and whether somebody asks yet or not; it ends when the plug-in is started anew.
        If the plug-in changes by itself meanwhile, that is noted.
        """
        begin, end = self._quiet_period_bounds()
        self.watching_since = begin
        await trio.sleep_until(end)
        if self.resource not in self._watched:
            self._watched.add(self.resource)
            await self._record_changed_list()
        return begin, min([end, *(time for time in (*self.start_times, *self.disruptions) if time > begin)])

    async def until_devices(self) -> None:
        """Until the newest list has devices, or for that while: an empty list may be the first of several."""
        _, end = self._quiet_period_bounds()
        left = max(0.0, end - trio.current_time())
        await self.wait_until(lambda: bool(self.seen(DeviceListReceived)[-1][1].devices), left)

    def _quiet_period_bounds(self) -> tuple[float, float]:
        if (begin := self._first_list(self.resource)) is None:  # of a resource that came later than others
            raise Failed("no list of devices has come")
        if self._quiet_ends is None:
            first_lists = (time for resource in self.known if (time := self._first_list(resource)) is not None)
            asked = (seen.time for seen in self.history if isinstance(seen.event, CheckCallFinished))
            self._quiet_ends = max(*first_lists, *asked, self.watched_since) + self.timing.quiet_period
        return begin, self._quiet_ends

    def _first_list(self, resource: ResourceName) -> float | None:
        lists = self.seen(DeviceListReceived, since=self.watched_since, of=resource)
        return lists[0][0].time if lists else None

    async def restart_observation(self) -> None:
        """Begin anew, and with it what is watched. Raises Skipped."""
        await self.restart_plugin()
        self.watched_since, self._quiet_ends = self.start_times[-1], None
        self._watched.clear()
        self.changed_lists.clear()

    async def _record_changed_list(self) -> None:
        """With what a new stream has then."""
        lists = self.seen(DeviceListReceived)
        if len(lists) > 1 and lists[-1][1].generation == lists[-2][1].generation:
            fresh = await self.list_of_new_stream()
            sent = frozenset(d.id for d in lists[-1][1].devices)
            self.changed_lists[self.resource] = sent, frozenset(d.id for d in fresh)

    async def wait_for_list(self, *, since: float, what: str) -> float:
        """Wait until the plug-in has registered all its resources again and sent their lists, with devices where it
        had some; returns the seconds from ``since`` until those under test were there.

        Raises Failed, with what happened instead.
        """
        await self._wait_for_lists(self.resources, since)
        if late := self.not_back(since):
            which = f"{late[0]}: " if len(self.resources) > 1 else ""
            raise Failed(f"{what}; {which}{self.what_happened(since=since, of=late[0])}")
        took = (
            max(self.seen(DeviceListReceived, since=since, of=resource)[0][0].time for resource in self.resources)
            - since
        )
        # What is not under test is not judged, but whoever is still busy with it is not disrupted.
        others = set(self.known) - set(self.resources) - self._given_up
        await self._wait_for_lists(others, since)
        self._given_up |= {resource for resource in others if not self._is_back(resource, since)}
        return took

    def are_back(self, since: float) -> bool:
        """Have all resources under test been registered since, and their lists come?"""
        return not self.not_back(since)

    def not_back(self, since: float) -> list[ResourceName]:
        """Those that have not, or whose lists have not."""
        return [resource for resource in self.resources if not self._is_back(resource, since)]

    def _is_back(self, resource: ResourceName, since: float) -> bool:
        had_devices = any(event.devices for _, event in self.seen(DeviceListReceived, of=resource))
        lists = self.seen(DeviceListReceived, since=since, of=resource)
        has_devices = bool(lists and (lists[-1][1].devices or not had_devices))
        return bool(self.seen(PluginRegistered, since=since, of=resource) and has_devices)

    async def _wait_for_lists(self, resources: Collection[ResourceName], since: float) -> None:
        await self.wait_until(
            lambda: self.is_down or all(self._is_back(one, since) for one in resources), self.timing.patience
        )

    # --- starting and ending it --------------------------------------------------------------------

    async def start(self) -> None:
        """Run the plug-in. Raises SubjectUnusable."""
        self.start_times.append(trio.current_time())
        self._written_before = len(self.subject.output)
        await self.subject.start(self.directory)

    async def respawn(self) -> None:
        """Run it again, as what starts containers does. Raises SubjectUnusable."""
        self.respawn_causes.append(self.subject.unexpected_exit or "")
        self.start_times.append(trio.current_time())
        self._written_before = len(self.subject.output)
        await self.subject.start(self.directory)

    @asynccontextmanager
    async def respawning(self) -> AsyncIterator[None]:
        """Within, the plug-in is started again when it ends, though nobody asked for that."""
        before, self._respawns = self._respawns, True
        try:
            async with open_respawning(None if before else self):
                yield
        finally:
            self._respawns = before

    async def surge(self, ready: Callable[[], Awaitable[object]]) -> None:
        """Run a second one beside it, as a rolling update with ``maxSurge`` does, and end the first when ``ready``
        returns. Raises Skipped, SubjectUnusable."""
        begin = trio.current_time()
        self.start_times.append(begin)
        try:
            await self.subject.surge(self.directory, ready, self.timing.termination_grace_period)
        except Skipped:
            self.start_times.pop()
            raise
        self.overlaps.append((begin, trio.current_time()))

    def was_alone(self, time: float) -> bool:
        """Did only one of it run then?"""
        return not any(begin <= time <= end for begin, end in self.overlaps)

    @property
    def requested_starts(self) -> int:
        """How often it was started, by checks and before them."""
        return len(self.start_times) - len(self.respawn_causes)

    @property
    def is_disrupted(self) -> bool:
        """Has anything been broken since it was started?"""
        return bool(self.disruptions) and self.disruptions[-1] >= self.start_times[-1]

    async def begin_disruption(self) -> float:
        """To be called before something is broken; returns when that is.

        A socket whose name changes with the second, as many do, cannot be made twice within that second: no kubelet
        restarts so often.
        """
        for resource in self.known:
            registered = self.seen(PluginRegistered, of=resource)
            if differ_by_timestamp_only((event.endpoint, seen.at) for seen, event in registered):
                await trio.sleep_until(registered[-1][0].time + 1.0)
        self.disruptions.append(trio.current_time())
        return self.disruptions[-1]

    async def restart_plugin(self) -> None:
        """Kill the plug-in, and start it without its old sockets. Raises Skipped when that cannot be, or what it has
        served does not come back."""
        if not await self._kill():
            raise Skipped("the plug-in has to be started again, and is not ours (--attach)")
        await self._start_afresh()

    async def _kill(self) -> bool:
        """One that is not ours is not."""
        await self.subject.kill()
        return not self.subject.is_running

    async def _start_afresh(self) -> None:
        self.delete_sockets()
        since = trio.current_time()
        await self.start()
        with self.of(self._served()):
            try:
                await self.wait_for_list(since=since, what="it did not come back when it was started again")
            except Failed as failure:
                raise Skipped(str(failure)) from failure

    async def ensure_serving(self) -> None:
        """Before a check: begin anew, if the plug-in does not serve any more. For one that is not ours it is enough
        that we can ask it. Raises Skipped."""
        if not self._served():
            return  # there is no better state to go back to
        with self.of(self._served()):
            if self._respawns and self.has_exited:
                await self._until_served_again()
            if self.subject.is_running and self.serves():
                return
            if await self._kill():
                await self._start_afresh()
            elif not self.accepts():
                raise Skipped("the plug-in does not serve any more, and is not ours to start again (--attach)")

    def delete_sockets(self) -> None:
        """All that the plug-in serves on, whether that is under test or not."""
        for resource in self.known:
            if self.seen(PluginRegistered, of=resource):
                self._socket_of(resource).unlink(missing_ok=True)

    async def until_respawned(self) -> None:
        """After a stream has ended: if the plug-in ends of it, and is started again, until it serves all it has, for as
        long as patience lasts."""
        if self._respawns and await self.wait_until(lambda: self.has_exited, REACTION_TIME):
            with self.of([resource for resource in self.known if resource not in self._given_up]):
                await self._until_served_again()

    async def _until_served_again(self) -> None:
        with self.of(self._served()):
            # The manager may not have read yet that the stream of the one that has ended is over.
            await self.wait_until(lambda: not self.has_exited and self.serves(), self.timing.patience)

    def _served(self) -> list[ResourceName]:
        """Of the resources under test those that once had a list."""
        return [resource for resource in self.resources if self.seen(DeviceListReceived, of=resource)]

    def serving(self) -> list[ResourceName]:
        """Those of which the manager has a stream, and would find the socket again."""
        capacity = self.manager.capacity()
        return [
            resource
            for resource in self.resources
            if resource in capacity and capacity[resource].endpoint == "serving" and self._socket_of(resource).exists()
        ]

    def serves(self) -> bool:
        """All that is under test?"""
        return len(self.serving()) == len(self.resources)

    def accepts(self) -> bool:
        """Does somebody listen on every socket under test?"""
        return all(_is_listening(_place_at(socket)) for socket in self.sockets)

    def what_happened(self, *, since: float, of: ResourceName | None = None) -> str:
        """For evidence: how the plug-in tried to register, or that it did not."""
        if not self.subject.is_running:
            return self.exit_report()
        if refused := self.seen(PluginRefused, since=since, of=of):
            return f"its registration was refused: {refused[-1][1].message}"
        if stops := self.seen(EndpointStopped, since=since, of=of):
            return f"its stream ended without a list: {stops[-1][1].reason}"
        if self.seen(PluginRegistered, since=since, of=of):
            lists = self.seen(DeviceListReceived, since=since, of=of)
            return "it has registered, but " + ("sent no devices" if lists else "sent no list")
        if self.seen(RegistrationRequested, since=since, of=of):
            return "it called Register, but did not answer"
        if failed := self._failed_discoveries(since):
            return f"it was found in plugins_registry, but not registered: {failed[-1].problem}"
        took = f"it did not call Register within {trio.current_time() - since:.1f} s"
        if self.subject.unexpected_exit:
            took += f"; its program has ended, {self.subject.unexpected_exit}, but what that started goes on"
        return took + self._last_output("it last wrote")

    def _failed_discoveries(self, since: float) -> list[PluginSocketFailed]:
        events = (seen.event for seen in self.history if seen.time >= since)
        return [event for event in events if isinstance(event, PluginSocketFailed)]

    @property
    def has_exited(self) -> bool:
        """Has the plug-in ended, with all that it started, though nobody asked it to?"""
        return self.subject.unexpected_exit is not None and not self.subject.is_running

    @property
    def has_exited_for_good(self) -> bool:
        """Has it, and nobody starts it again?"""
        return self.has_exited and not self._respawns

    @property
    def is_down(self) -> bool:
        """Does it not run, and will not by itself?"""
        if self.subject.is_running:  # asked once: while it is started again the answer changes at any time
            return False
        return not self._respawns or self.subject.unexpected_exit is None

    def exit_report(self) -> str:
        how = f", {self.subject.unexpected_exit}" if self.subject.unexpected_exit else ""
        served = any(
            self.seen(DeviceListReceived, since=self.start_times[-1], of=resource) for resource in self.resources
        )
        # One that could not even start would not the next time.
        hint = _RESPAWN_HINT if self.has_exited_for_good and served else ""
        return f"the plug-in has ended{how}{self._last_output('its last output')}{hint}"

    def _last_output(self, what: str) -> str:
        """The last of it since this start: why an earlier process exited is not why this one has."""
        written, before = self.subject.output, self._written_before
        is_cut = len(written) < before  # of very much there is only the beginning and the end
        lines = exit_message(written if is_cut else written[before:])
        return f"; {what}: {' | '.join(map(shortened_line, lines))}" if lines else ""

    # --- calling the plug-in ------------------------------------------------------------------------

    @property
    def socket(self) -> Path:
        """Where the plug-in serves the resource, as it last said."""
        return self._socket_of(self.resource)

    @property
    def sockets(self) -> list[Path]:
        """One for each resource under test."""
        return [self._socket_of(resource) for resource in self.resources]

    def _socket_of(self, resource: ResourceName) -> Path:
        registered = self.seen(PluginRegistered, of=resource)
        if not registered:
            raise Failed("the plug-in was never registered")
        return self.directory / file_name(registered[-1][1].endpoint)

    def open_parallel(self, subject: Subject, instance: int) -> AbstractAsyncContextManager[Bench]:
        """Another bench, with another instance of the plug-in and no patience with it. Raises as :func:`open_bench`."""
        return open_bench(
            subject,
            resource=self._requested,
            timing=replace(self.timing, patience=min(self.timing.patience, self.timing.prompt)),
            numa=self.numa,
            sinks=[of_instance(sink, instance) for sink in self._sinks],
            respawn=self._respawns,
        )

    @asynccontextmanager
    async def client(self) -> AsyncIterator[RecordingClient]:
        """A connection of our own, for questions a kubelet would ask through its own."""
        deadlines = Deadlines(dial=self.timing.prompt, allocate=self.timing.patience)
        async with connect_plugin(
            _place_at(self.socket), self.resource, deadlines=deadlines, on_call=lambda call: None
        ) as client:
            yield RecordingClient(client, self.resource, self._record_call)

    def _record_call(self, call: CheckCallFinished) -> None:
        """A call of our own: the manager's event log does not know of it."""
        self.history.append(Seen(trio.current_time(), call))
        self._forward(RecordedEvent(0, time.time(), call))

    async def list_of_new_stream(self) -> Sequence[Device]:
        """The first list of a new stream, which is cancelled then; an empty one only when no other follows, where the
        manager has another. Raises Failed when none comes in time."""
        lists: list[list[Device]] = []
        has_none = not any(event.devices for _, event in self.seen(DeviceListReceived)[-1:])
        with trio.move_on_after(self.timing.patience) as scope:
            async with self.client() as client:

                def receive(report: DeviceList) -> None:
                    lists.append(report.devices)
                    soon = trio.current_time() + (0.0 if report.devices or has_none else self.timing.prompt)
                    scope.deadline = min(scope.deadline, soon)

                await client.list_and_watch(receive)
        await self.until_respawned()
        if not lists:
            raise Failed(f"a new ListAndWatch stream brought no list within {self.timing.patience:g} s")
        return lists[-1]


@checked
@asynccontextmanager
async def open_bench(
    subject: Subject,
    *,
    resource: str | None = None,
    timing: Timing | None = None,
    numa: Numa | None = None,
    root_dir: Path | None = None,
    sinks: Sequence[Sink] = (),
    respawn: bool = False,
) -> AsyncIterator[Bench]:
    """A private manager with ``subject`` started against it; both end with the block.

    With ``respawn`` it is started again when it ends, as a kubelet does with a container. ``resource`` picks one where
    the plug-in registers several, which are all under test otherwise; ``numa`` is by default this machine's;
    ``root_dir`` by default a temporary directory. Raises SubjectUnusable, DirectoryInUse, DirectoryUnusable.
    """
    require_trio("open_bench")
    with tempfile.TemporaryDirectory(prefix="dm-") as made:
        root = root_dir or Path(made)
        layout = Layout(root.absolute())
        bench = Bench(subject, layout, resource, timing or Timing(), numa or read_numa(), sinks, respawn)
        bench.has_given_directory = root_dir is not None
        async with open_device_manager(root, sinks=[bench.record]) as bench.manager, open_subject(subject):
            await bench.start()
            async with open_respawning(bench if respawn else None):
                yield bench


def _place_at(path: Path) -> Place:
    real = path.resolve()
    return Place(real.parent, Path(real.name))


def _is_listening(place: Place) -> bool:
    """Does somebody?"""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        try:
            with place.opened() as plugin:
                probe.connect(os.fspath(plugin))
        except OSError:
            return False
    return True


def shortened_line(line: str) -> str:
    """A line of the plug-in's, for evidence."""
    return line if len(line) <= MAX_LINE else line[: MAX_LINE - 1] + "…"


def ids_of(devices: Sequence[Device]) -> str:
    """Their ids, for evidence."""
    return first_few([device.id for device in devices])
