"""The bench: a private manager with the plug-in under test, and what a check can do with the two."""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import trio

from ...arguments import checked
from ...concurrency.condition_variable import ConditionVariable
from ...concurrency.trio_program import require_trio
from ...core.topology.numa import Numa
from ...daemon.event_log import RecordedEvent, Sink
from ...daemon.host_numa import read_numa
from ...daemon.layout import Layout, file_name
from ...daemon.manager import DeviceManager
from ...daemon.supervisor import open_device_manager
from ...events import DeviceListReceived, PluginRegistered
from ...model import Device, DeviceId, DeviceList, ResourceName
from ...rpc.deviceplugin.client import connect_plugin
from ...rpc.deviceplugin.methods import Deadlines
from ..timing import Timing
from .findings import Findings, RunningCheck
from .observation.diagnosis import exit_report, what_happened
from .observation.evidence import RecordedInCheck, Seen, of_instance
from .observation.history import History
from .observation.listening import is_announced_socket_served, is_listening, place_at
from .observation.quiet_period import QuietPeriod
from .observation.recording_client import CheckCallFinished, RecordingClient
from .observation.socket_names import differ_by_timestamp_only
from .subject.interface import Subject, open_subject
from .subject.lifecycle import Lifecycle
from .verdicts import Failed, Skipped

SETTLING = 1.0
"""A plug-in that registers no further resource for so many seconds has no more, unless it took longer for the first."""
LONGEST_SETTLING = 5.0
WATCH_SETUP_TIME = 0.3
"""Seconds after its registration in which a plug-in begins to watch its devices."""
OUT_OF_STEP = 1.137
"""Seconds. Not a whole second, so that a plug-in which has looked once a second since it registered does not look at
that moment."""
REACTION_TIME = 2.0
"""Seconds that a plug-in has to react to a disruption."""


class Bench(History):
    """What every check is given; :func:`open_bench` makes it. As a :class:`History` it has what was said."""

    manager: DeviceManager

    def __init__(
        self,
        subject: Subject,
        layout: Layout,
        *,
        resource: str | None = None,
        timing: Timing,
        numa: Numa,
        sinks: Sequence[Sink] = (),
    ) -> None:
        super().__init__(resource)
        self.subject = subject
        self.layout = layout
        self.timing = timing
        self.numa = numa
        self.started = trio.current_time()
        self.lifecycle = Lifecycle(subject, layout.plugins)
        self.quiet = QuietPeriod(self, timing.quiet_period)
        self.findings = Findings()
        self.running = RunningCheck()
        self.has_given_directory = False
        """Was a root directory given, perhaps because the plug-in looks for it there?"""
        self.has_parallel_instances = False
        """Do other instances of the plug-in run, on other benches?"""
        self.runs_change_in_parallel = False
        """Is the command of --change run for one of them?"""
        self.spare_until = 0.0
        """Until then it makes the run no longer to wait on this bench: another instance is watched anyway."""
        self._sinks = sinks
        self._given_up: set[ResourceName] = set()
        self._changed = ConditionVariable()

    # --- what is said -----------------------------------------------------------------------------

    def record(self, recorded: RecordedEvent) -> None:
        """A sink of the manager's event log."""
        served = is_announced_socket_served(self.layout, recorded.event)
        self.entries.append(Seen(trio.current_time(), recorded.event, served, recorded.time))
        self._forward(recorded)
        self._changed.notify()

    def _record_call(self, call: CheckCallFinished) -> None:
        """A call of a check: it is not in the manager's event log."""
        self.entries.append(Seen(trio.current_time(), call))
        self._forward(RecordedEvent(0, time.time(), call))

    def _forward(self, recorded: RecordedEvent) -> None:
        """Send the event to the sinks, with the check during which it happened."""
        hide = self.subject.without_secrets
        for sink in self._sinks:
            sink(RecordedInCheck(recorded.sequence, recorded.time, recorded.event, self.running.name, hide))

    def what_happened(self, *, since: float, of: ResourceName | None = None) -> str:
        """For evidence: how the plug-in tried to register, or that it did not try."""
        return what_happened(self, self.lifecycle, since=since, of=of)

    def exit_report(self) -> str:
        """For evidence: how it exited, and what it wrote last."""
        return exit_report(self, self.lifecycle)

    # --- waiting ----------------------------------------------------------------------------------

    async def wait_until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """True as soon as ``condition`` holds, False after ``seconds``. It is evaluated after every event and five
        times a second."""
        with trio.move_on_after(seconds):
            while not condition():
                with trio.move_on_after(0.2):
                    await self._changed.wait()
            return True
        return condition()

    async def settle(self) -> None:
        """Wait until the plug-in registers no further resources."""
        known: list[ResourceName] = []
        pause = min(max(SETTLING, trio.current_time() - self.lifecycle.start_times[-1]), LONGEST_SETTLING)
        while known != self.known:
            known = self.known
            await trio.sleep(pause)

    async def quiet_period(self) -> tuple[float, float]:
        """Watch the plug-in during the quiet period; returns when that began and ended.

        It ends early if the plug-in is started again. If the plug-in changes its list by itself meanwhile, that is
        recorded.
        """
        begin, end = self.quiet.bounds()
        self.running.watching_since = begin
        await trio.sleep_until(end)
        if self.quiet.is_first_watch(self.resource):
            await self._note_changed_list()
        interruptions = (*self.lifecycle.start_times, *self.lifecycle.disruptions)
        return begin, min([end, *(time for time in interruptions if time > begin)])

    async def _note_changed_list(self) -> None:
        """Together with the list of a new stream."""
        lists = self.seen(DeviceListReceived)
        if len(lists) > 1 and lists[-1][1].generation == lists[-2][1].generation:
            fresh = await self.list_of_new_stream()
            sent = frozenset(d.id for d in lists[-1][1].devices)
            self.findings.changed_lists[self.resource] = sent, frozenset(d.id for d in fresh)

    async def until_devices(self) -> None:
        """Wait until the latest list has devices, at most until the quiet period ends: an empty list may be the first
        of several."""
        _, end = self.quiet.bounds()
        left = max(0.0, end - trio.current_time())
        await self.wait_until(lambda: bool(self.seen(DeviceListReceived)[-1][1].devices), left)

    async def wait_for_list(self, *, since: float, what: str) -> float:
        """Wait until the plug-in has registered all its resources again and sent their lists, with devices if it had
        any; returns the seconds from ``since`` until those under test were there.

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
        # Resources that are not under test are not judged, but the plug-in must not be disrupted while it serves them.
        others = set(self.known) - set(self.resources) - self._given_up
        await self._wait_for_lists(others, since)
        self._given_up |= {resource for resource in others if not self.is_back(resource, since)}
        return took

    async def _wait_for_lists(self, resources: Collection[ResourceName], since: float) -> None:
        await self.wait_until(
            lambda: self.lifecycle.is_down or all(self.is_back(one, since) for one in resources), self.timing.patience
        )

    # --- disrupting and restarting -----------------------------------------------------------------

    async def begin_disruption(self) -> float:
        """Call this before something is broken; returns the time."""
        await self.until_another_second()
        return self.lifecycle.record_disruption()

    async def until_another_second(self) -> None:
        """Many socket names contain the time in seconds, so the same name would be used twice if the plug-in were
        disrupted or started again within that second. No kubelet restarts, or starts a container, so quickly."""
        for resource in self.known:
            registered = self.seen(PluginRegistered, of=resource)
            if differ_by_timestamp_only((event.endpoint, seen.at) for seen, event in registered):
                await trio.sleep_until(registered[-1][0].time + OUT_OF_STEP)

    async def change(self) -> float:
        """Make the plug-in report a change, when it has begun to watch its devices; returns when that was. Raises
        Skipped, Failed."""
        registered = [self.seen(PluginRegistered, of=resource) for resource in self.resources]
        await trio.sleep_until(max((seen[-1][0].time for seen in registered if seen), default=0.0) + WATCH_SETUP_TIME)
        since = trio.current_time()
        await self.subject.change()
        self.lifecycle.changes.append(since)
        return since

    async def restart_plugin(self) -> None:
        """Kill the plug-in, and start it without its old sockets. Raises Skipped if that is not possible, or if a
        resource that was served does not come back."""
        if not await self._kill():
            raise Skipped("the plug-in has to be started again, and is not ours (--attach)")
        await self._start_afresh()

    async def _kill(self) -> bool:
        """False for a plug-in that is not ours to kill."""
        await self.subject.kill()
        return not self.subject.is_running

    async def _start_afresh(self) -> None:
        self.delete_sockets()
        await self.until_another_second()
        since = trio.current_time()
        await self.lifecycle.start()
        with self.of(self.served()):
            try:
                await self.wait_for_list(since=since, what="it did not come back when it was started again")
            except Failed as failure:
                raise Skipped(str(failure)) from failure

    async def ensure_serving(self) -> None:
        """Before a check: start the plug-in again if it does not serve any more. A plug-in that is not ours only has to
        accept connections. Raises Skipped."""
        if not self.served():
            return  # there is no better state to go back to
        with self.of(self.served()):
            if self.lifecycle.is_respawned and self.lifecycle.has_exited:
                await self._until_served_again()
            if self.subject.is_running and self.serves():
                return
            if await self._kill():
                await self._start_afresh()
            elif not self.accepts():
                raise Skipped("the plug-in does not serve any more, and is not ours to start again (--attach)")

    async def restart_quiet_period(self) -> None:
        """Start the plug-in again, and a new quiet period with it. Raises Skipped."""
        await self.restart_plugin()
        self.quiet.restart(self.lifecycle.start_times[-1])
        self.findings.changed_lists.clear()

    async def until_respawned(self) -> None:
        """After a stream has ended: if the plug-in exits because of that and is started again, wait until it serves all
        its resources."""
        if self.lifecycle.is_respawned and await self.wait_until(lambda: self.lifecycle.has_exited, REACTION_TIME):
            with self.of([resource for resource in self.known if resource not in self._given_up]):
                await self._until_served_again()

    async def _until_served_again(self) -> None:
        with self.of(self.served()):
            # The manager may not have noticed yet that the stream of the old process has ended.
            await self.wait_until(lambda: not self.lifecycle.has_exited and self.serves(), self.timing.patience)

    # --- its sockets --------------------------------------------------------------------------------

    @property
    def sockets(self) -> list[Path]:
        """The socket of each resource under test."""
        return [self._socket_of(resource) for resource in self.resources]

    def _socket_of(self, resource: ResourceName) -> Path:
        registered = self.seen(PluginRegistered, of=resource)
        if not registered:
            raise Failed("the plug-in was never registered")
        return self.layout.plugins / file_name(registered[-1][1].endpoint)

    def delete_sockets(self) -> None:
        """The sockets of all resources, under test or not."""
        for resource in self.known:
            if self.seen(PluginRegistered, of=resource):
                self._socket_of(resource).unlink(missing_ok=True)

    def serving(self) -> list[ResourceName]:
        """The resources under test whose stream is open and whose socket exists."""
        capacity = self.manager.capacity()
        return [
            resource
            for resource in self.resources
            if resource in capacity and capacity[resource].endpoint == "serving" and self._socket_of(resource).exists()
        ]

    def serves(self) -> bool:
        """Are all resources under test served?"""
        return len(self.serving()) == len(self.resources)

    def accepts(self) -> bool:
        """Does a server listen on every socket under test?"""
        return all(is_listening(place_at(socket)) for socket in self.sockets)

    # --- calling it, and another one ----------------------------------------------------------------

    @asynccontextmanager
    async def client(self) -> AsyncIterator[RecordingClient]:
        """A connection of the check itself, apart from that of the manager."""
        deadlines = Deadlines(dial=self.timing.prompt, allocate=self.timing.patience)
        async with connect_plugin(
            place_at(self._socket_of(self.resource)), self.resource, deadlines=deadlines, on_call=lambda call: None
        ) as client:
            yield RecordingClient(client, self.resource, self._record_call)

    def latest_ids(self) -> frozenset[DeviceId]:
        """Those of the latest list, on the manager's stream."""
        return frozenset(device.id for _, event in self.seen(DeviceListReceived)[-1:] for device in event.devices)

    async def list_of_new_stream(self, *, expected: frozenset[DeviceId] = frozenset()) -> Sequence[Device]:
        """The first list of a new stream, which is cancelled then. An empty list, or one without some ``expected``
        devices, is returned only if no other follows. Raises Failed if none comes in time."""
        lists: list[list[Device]] = []
        has_none = not self.latest_ids()
        with trio.move_on_after(self.timing.patience) as scope:
            async with self.client() as client:

                def receive(report: DeviceList) -> None:
                    lists.append(report.devices)
                    is_whole = expected.issubset(device.id for device in report.devices)
                    is_last = is_whole and (bool(report.devices) or has_none)
                    soon = trio.current_time() + (0.0 if is_last else self.timing.prompt)
                    scope.deadline = min(scope.deadline, soon)

                await client.list_and_watch(receive)
        await self.until_respawned()
        if not lists:
            raise Failed(f"a new ListAndWatch stream brought no list within {self.timing.patience:g} s")
        return lists[-1]

    def open_parallel(self, subject: Subject, instance: int) -> AbstractAsyncContextManager[Bench]:
        """Another bench, with another instance of the plug-in and a short patience. Raises the same as
        :func:`open_bench`."""
        return open_bench(
            subject,
            resource=self.requested,
            timing=replace(self.timing, patience=min(self.timing.patience, self.timing.prompt)),
            numa=self.numa,
            sinks=[of_instance(sink, instance) for sink in self._sinks],
            respawn=self.lifecycle.is_respawned,
        )


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

    With ``respawn`` the plug-in is started again when it exits, as a kubelet does with a container. ``resource``
    selects one if the plug-in registers several, all of which are tested otherwise; ``numa`` is by default this
    machine's; ``root_dir`` by default a temporary directory. Raises SubjectUnusable, DirectoryInUse, DirectoryUnusable.
    """
    require_trio("open_bench")
    with tempfile.TemporaryDirectory(prefix="dm-") as made:
        root = root_dir or Path(made)
        layout = Layout(root.absolute())
        timing, numa = timing or Timing(), numa or read_numa()
        bench = Bench(subject, layout, resource=resource, timing=timing, numa=numa, sinks=sinks)
        bench.has_given_directory = root_dir is not None
        async with open_device_manager(root, sinks=[bench.record]) as bench.manager, open_subject(subject):
            async with bench.lifecycle.respawning() if respawn else nullcontext():
                await bench.lifecycle.start()
                yield bench
