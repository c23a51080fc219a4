"""The bench: a private manager, the plug-in under test, and everything the two said to each other."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

import trio

from ...arguments import checked
from ...core.numa import Numa
from ...daemon.directory import Layout, checked_endpoint, endpoint_of_found, file_name
from ...daemon.event_log import Recorded, Sink
from ...daemon.machine import read_numa
from ...daemon.manager import DeviceManager
from ...daemon.supervisor import open_device_manager
from ...errors import RegistrationRefused, require_trio
from ...events import (
    EndpointStopped,
    Event,
    ListReceived,
    PluginFound,
    PluginRefused,
    PluginRegistered,
    PluginSocketFailed,
    RegistrationRequested,
)
from ...model import Device, DeviceId, DeviceList, ResourceName
from ...rpc.plugin_client import Deadlines, connect_plugin
from ...rpc.transport.unix_socket import Place
from ..check_options import Timing
from .asking import Asking, CallAnswered
from .check import Failed, Skipped, some
from .evidence import RecordedInCheck, Seen
from .subject import Subject, tended

E = TypeVar("E", bound=Event)
SETTLING = 1.0
"""Seconds without another resource after which the plug-in has no more of them."""
LONGEST = 200
"""Characters of a line of the plug-in's that are quoted."""


class Bench:
    """Given to every check. Made by :func:`open_bench`."""

    def __init__(
        self,
        subject: Subject,
        directory: Path,
        resource: str | None,
        timing: Timing,
        numa: Numa,
        sinks: Sequence[Sink] = (),
    ) -> None:
        self.subject = subject
        self.directory = directory
        self.timing = timing
        self.numa = numa
        self.manager: DeviceManager
        self.history: list[Seen] = []
        self.started = trio.current_time()
        self.check: str | None = None
        """The one that is being made."""
        self.step = ""
        """What it is at, if it has several steps: the evidence begins with it when the plug-in ends."""
        self.sockets_left: list[str] | None = None
        """Those that were still there when the plug-in had ended on SIGTERM."""
        self.changed_lists: dict[ResourceName, tuple[frozenset[str], frozenset[str]]] = {}
        """The ids of a list that the plug-in sent after its first one, and those a new stream began with then."""
        self._sinks = sinks
        self._wanted = resource
        self._chosen: Sequence[ResourceName] | None = None
        self._not_waited_for: set[ResourceName] = set()
        self._changed = trio.Event()
        self._quiet_ends: float | None = None

    # --- what was said ----------------------------------------------------------------------------

    def record(self, recorded: Recorded) -> None:
        """A sink of the manager's event log."""
        self.history.append(Seen(trio.current_time(), recorded.event, self._accepts(recorded.event)))
        self._tell(recorded)
        self._changed.set()
        self._changed = trio.Event()

    def _tell(self, recorded: Recorded) -> None:
        """Whoever listens hears of it with the check during which it happened."""
        for sink in self._sinks:
            sink(RecordedInCheck(recorded.sequence, recorded.time, recorded.event, self.check))

    def _accepts(self, event: Event) -> bool:
        """Of a plug-in that makes itself known: does somebody listen where it says that it serves?"""
        if not isinstance(event, RegistrationRequested | PluginFound):
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(0)
            try:
                with self._place_of(event).opened() as plugin:
                    probe.connect(os.fspath(plugin))
            except (OSError, RegistrationRefused):
                return False
        return True

    def _place_of(self, event: RegistrationRequested | PluginFound) -> Place:
        """Raises RegistrationRefused."""
        if isinstance(event, PluginFound):
            return endpoint_of_found(self.manager.layout, Path(event.path), event.endpoint)
        return checked_endpoint(self.directory, event.endpoint)[1]

    def is_about(self, event: Event) -> bool:
        """Is it about the resource under test, or may it be?"""
        return self._wanted in (None, getattr(event, "resource", None))

    @property
    def known(self) -> list[ResourceName]:
        """All resources that somebody has registered, under test or not, in that order."""
        known = RegistrationRequested, PluginFound, PluginRegistered
        return list(dict.fromkeys(seen.event.resource for seen in self.history if isinstance(seen.event, known)))

    @property
    def resources(self) -> Sequence[ResourceName]:
        """Those under test: within :meth:`of` these, else the one that was asked for, else all."""
        if self._chosen is not None:
            return self._chosen
        return self.known if self._wanted is None else [self._wanted]

    @property
    def resource(self) -> ResourceName:
        """The one that a check is about, or the first of several. Raises Failed."""
        if not self.resources:
            raise Failed("no plug-in has called Register, and none was found in plugins_registry")
        return self.resources[0]

    @contextmanager
    def of(self, resources: Sequence[ResourceName]) -> Iterator[None]:
        """Within, only these are under test."""
        before, self._chosen = self._chosen, resources
        try:
            yield
        finally:
            self._chosen = before

    def registrations(self) -> list[tuple[Seen, RegistrationRequested | PluginFound]]:
        """What the plug-in said of itself, oldest first: by calling Register, or when it was found and asked."""
        return sorted([*self.seen(RegistrationRequested), *self.seen(PluginFound)], key=lambda one: one[0].time)

    @property
    def was_found(self) -> bool:
        """In plugins_registry, so that it has no need to call Register."""
        return bool(self.seen(PluginFound))

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

    def first_list(self) -> tuple[Device, ...]:
        """The first list of all. Raises Skipped when it is empty: there is nothing to check."""
        lists = self.seen(ListReceived)
        if not lists:
            raise Failed("no list of devices has come")
        if not lists[0][1].devices:
            raise Skipped("the plug-in has no devices here")
        return lists[0][1].devices

    def devices(self) -> tuple[Device, ...]:
        """The newest list."""
        self.first_list()
        return self.seen(ListReceived)[-1][1].devices

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

    async def quiet(self) -> tuple[float, float]:
        """Watch for a while after the first list, with nothing going on; returns when that began and ended.

        The same while for all who ask.
        """
        begin = self.seen(ListReceived)[0][0].time
        if self._quiet_ends is None:
            self._quiet_ends = max(begin, trio.current_time()) + self.timing.quiet
        await trio.sleep_until(self._quiet_ends)
        return begin, self._quiet_ends

    async def note_changed_list(self) -> None:
        """If the plug-in has sent another list by itself, remember it with what a new stream has."""
        lists = self.seen(ListReceived)
        if len(lists) > 1 and lists[-1][1].generation == lists[-2][1].generation:
            fresh = await self.fresh_list()
            sent = frozenset(d.id for d in lists[-1][1].devices)
            self.changed_lists[self.resource] = sent, frozenset(d.id for d in fresh)

    async def wait_for_list(self, *, since: float, what: str) -> float:
        """Wait until the plug-in has registered all its resources again and sent their lists; returns the seconds from
        ``since`` until those under test were there.

        Raises Failed, with what happened instead.
        """
        await self._wait_for_lists(self.resources, since)
        if late := [resource for resource in self.resources if not self._is_back(resource, since)]:
            which = f"{late[0]}: " if len(self.resources) > 1 else ""
            raise Failed(f"{what}; {which}{self.what_happened(since=since, of=late[0])}")
        took = max(self.seen(ListReceived, since=since, of=resource)[0][0].time for resource in self.resources) - since
        # What is not under test is not judged, but whoever is still busy with it is not disturbed.
        others = set(self.known) - set(self.resources) - self._not_waited_for
        await self._wait_for_lists(others, since)
        self._not_waited_for |= {resource for resource in others if not self._is_back(resource, since)}
        return took

    def _is_back(self, resource: ResourceName, since: float) -> bool:
        registered = self.seen(PluginRegistered, since=since, of=resource)
        return bool(registered and self.seen(ListReceived, since=since, of=resource))

    async def _wait_for_lists(self, resources: Collection[ResourceName], since: float) -> None:
        await self.wait_until(
            lambda: not self.subject.is_running or all(self._is_back(one, since) for one in resources),
            self.timing.patience,
        )

    async def restore(self) -> None:
        """After a check that failed: begin anew, if the plug-in is not serving any more. Raises Skipped."""
        once = [resource for resource in self.resources if self.seen(ListReceived, of=resource)]
        if not once:  # there is no better state to go back to
            return
        capacity = self.manager.capacity()
        if self.subject.is_running and all(one in capacity and capacity[one].endpoint == "serving" for one in once):
            return
        with self.of(once):
            try:
                await self.begin_anew()
            except Failed as failure:
                raise Skipped(str(failure)) from failure

    async def begin_anew(self) -> None:
        """End the plug-in and start it again, in a clean directory. Raises Failed when it does not come back, and
        Skipped when it is not ours."""
        await self.subject.kill()
        if self.subject.is_running:
            raise Skipped("the plug-in has to be started again, and is not ours (--attach)")
        for path in self.sockets:
            path.unlink(missing_ok=True)
        since = trio.current_time()
        await self.subject.start(self.directory)
        await self.wait_for_list(since=since, what="it did not come back when it was started again")

    def what_happened(self, *, since: float, of: ResourceName | None = None) -> str:
        """For evidence: how the plug-in tried to register, or that it did not."""
        if not self.subject.is_running:
            return self.obituary()
        if refused := self.seen(PluginRefused, since=since, of=of):
            return f"its registration was refused: {refused[-1][1].message}"
        if stops := self.seen(EndpointStopped, since=since, of=of):
            return f"its stream ended without a list: {stops[-1][1].reason}"
        if self.seen(PluginRegistered, since=since, of=of):
            return "it has registered, but sent no list"
        if self.seen(RegistrationRequested, since=since, of=of):
            return "it called Register, but did not answer"
        if failed := self._found_in_vain(since):
            return f"it was found in plugins_registry, but not registered: {failed[-1].problem}"
        took = f"it did not call Register within {trio.current_time() - since:.1f} s"
        if self.subject.ending:
            took += f"; its program has ended, {self.subject.ending}, but what that started goes on"
        return took + self._last_words()

    def _found_in_vain(self, since: float) -> list[PluginSocketFailed]:
        events = (seen.event for seen in self.history if seen.time >= since)
        return [event for event in events if isinstance(event, PluginSocketFailed)]

    @property
    def is_dead(self) -> bool:
        """Has the plug-in ended, with all that it started, though nobody asked it to?"""
        return self.subject.ending is not None and not self.subject.is_running

    def obituary(self) -> str:
        how = f", {self.subject.ending}" if self.subject.ending else ""
        return f"the plug-in has ended{how}{self._last_words()}"

    def _last_words(self) -> str:
        lines = [line for line in self.subject.output.splitlines() if line.strip()][-3:]
        shown = [line if len(line) <= LONGEST else line[: LONGEST - 1] + "…" for line in lines]
        return f"; its last words: {' | '.join(shown)}" if shown else ""

    # --- asking the plug-in itself ------------------------------------------------------------------

    @property
    def socket(self) -> Path:
        """Where the plug-in serves the resource, as it last said."""
        return self.sockets[0]

    @property
    def sockets(self) -> list[Path]:
        """One for each resource under test."""
        registered = [self.seen(PluginRegistered, of=resource) for resource in self.resources]
        if not all(registered):
            raise Failed("the plug-in was never registered")
        return [self.directory / file_name(events[-1][1].endpoint) for events in registered]

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Asking]:
        """A connection of our own, for questions a kubelet would ask through its own."""
        deadlines = Deadlines(dial=self.timing.prompt, allocate=self.timing.patience)
        real = self.socket.resolve()
        place = Place(real.parent, Path(real.name))
        async with connect_plugin(place, self.resource, deadlines=deadlines, on_call=lambda call: None) as client:
            yield Asking(client, self.resource, self._note)

    def _note(self, call: CallAnswered) -> None:
        """A call of our own: the manager's event log does not know of it."""
        self.history.append(Seen(trio.current_time(), call))
        self._tell(Recorded(0, time.time(), call))

    async def fresh_list(self) -> Sequence[Device]:
        """The first list of a new stream, which is cancelled then. Raises Failed when none comes in time."""
        lists: list[list[Device]] = []
        with trio.move_on_after(self.timing.prompt) as scope:
            async with self.client() as client:

                def receive(report: DeviceList) -> None:
                    lists.append(report.devices)
                    scope.cancel()

                await client.list_and_watch(receive)
        if not lists:
            raise Failed(f"a new ListAndWatch stream brought no list within {self.timing.prompt:g} s")
        return lists[0]


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
) -> AsyncIterator[Bench]:
    """A private manager with ``subject`` started against it; both end with the block.

    ``resource`` picks one where the plug-in registers several, which are all under test otherwise; ``numa`` is by
    default this machine's; ``root_dir`` by default a temporary directory. Raises SubjectUnusable, DirectoryInUse,
    DirectoryUnusable.
    """
    require_trio("open_bench")
    with tempfile.TemporaryDirectory(prefix="dm-") as made:
        root = root_dir or Path(made)
        plugins = Layout(root.absolute()).plugins
        bench = Bench(subject, plugins, resource, timing or Timing(), numa or read_numa(), sinks)
        async with open_device_manager(root, sinks=[bench.record]) as bench.manager, tended(subject):
            await subject.start(bench.directory)
            yield bench


def names(devices: Sequence[Device]) -> str:
    """Their ids, for evidence."""
    return some([device.id for device in devices])
