"""One task per registration of a plug-in: connect, ask its options, read its lists until the stream ends.

This is *the* place where a plug-in's failure stops. Before the plug-in has answered, its failure is the answer to
Register; after that it marks the endpoint stopped. Nothing else of the manager ever sees it.

Each resource has at most one such task that serves. A new one connects first and only then takes over: the old one
has read its last list before the new one reads its first (LIM-2, LIM-3, LIM-4). What the old plug-in was asked, it may
still answer; then its connection is closed. A task whose stream has ended keeps its resource and waits out the grace
period, then sweeps; a newer registration cancels that wait.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import trio

from ...core.devices.contention import Claimant, Contention
from ...core.devices.endpoint import Endpoint
from ...core.devices.store import DeviceStore
from ...errors import AllocationRefused, PluginUnavailable, RegistrationRefused
from ...events import CallFinished, DeviceListReceived, PluginRefused, RegistrationRequested, ResourceContended
from ...model import API_VERSION, DeviceList, Peer, PluginOptions, Registration, ResourceName
from ...resource_names import why_not_extended
from ...rpc.deviceplugin.client import Deadlines, PluginClient, connect_plugin
from ...rpc.transport.server import CALLER
from ...rpc.transport.unix_socket import Inode, Place, SocketFile
from ...steps import Steps
from ..access.control import AccessControl
from ..event_log import EventLog
from ..faults.injection import FaultInjection
from ..layout import checked_endpoint

_JUST_AFTER = 0.001
"""Seconds by which the sweep follows the end of the grace period, which must have passed strictly (LW-11)."""
SOCKET_REMOVED = "its socket was removed or recreated"


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveredPlugin:
    """What a plug-in said in GetInfo; nothing of it is validated yet."""

    resource: str
    supported_versions: tuple[str, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class RegistrationHandle:
    """One registration, by identity: what the watcher needs to end it."""

    resource: ResourceName
    generation: int


@dataclass(slots=True, eq=False)
class _EndpointTask:
    generation: int
    name: str
    caller: Peer | None = None
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    reading: trio.CancelScope = field(default_factory=trio.CancelScope)
    stream_ended: trio.Event = field(default_factory=trio.Event)
    is_replaced: bool = False
    end_reason: str = "the plug-in ended the stream"
    finished: trio.Event = field(default_factory=trio.Event)
    decided: trio.Event = field(default_factory=trio.Event)
    refusal: RegistrationRefused | None = None
    is_taking_over: bool = False
    client: PluginClient | None = None
    pid: int = 0
    contention: Contention = field(default_factory=Contention)

    @property
    def claimant(self) -> Claimant:
        return Claimant(self.name, self.pid)

    def end(self, reason: str) -> None:
        """Read no more, now or when it would begin."""
        self.end_reason = reason
        self.reading.cancel()


class Endpoints:
    """Registers plug-ins and keeps their tasks in ``nursery``. ``directory`` is where their sockets are."""

    def __init__(
        self,
        *,
        directory: Path,
        store: DeviceStore,
        log: EventLog,
        nursery: trio.Nursery,
        deadlines: Deadlines,
        access: AccessControl,
        fault_injection: FaultInjection,
    ) -> None:
        self._directory = directory
        self._store = store
        self._log = log
        self._nursery = nursery
        self._deadlines = deadlines
        self._access = access
        self._fault_injection = fault_injection
        self._tasks: dict[ResourceName, _EndpointTask] = {}
        self._connected: dict[_EndpointTask, tuple[ResourceName, Inode]] = {}
        self._generations = 0

    def client_of(self, resource: ResourceName) -> PluginClient:
        """The connection to the plug-in that serves the resource now. Raises AllocationRefused (ALLOC-E8, ALLOC-E9)."""
        task = self._tasks.get(resource)
        if task is not None and task.client is not None:
            return task.client
        endpoint = self._store.endpoint(resource)
        if endpoint is None:
            raise AllocationRefused(f"unknown Device Plugin {resource}", rule="ALLOC-E8")
        raise AllocationRefused(f"endpoint {endpoint.socket} of {resource} has been stopped", rule="ALLOC-E9")

    async def register(self, registration: Registration) -> None:
        """Answer one Register call: returns when the plug-in has answered and serves (REG-3).

        Raises RegistrationRefused with the kubelet's text; what served before is then untouched.
        """
        self._log.record([RegistrationRequested(**asdict(registration))])
        with self._refusals_recorded(registration.resource, registration.endpoint):
            name, place = self._checked(registration)
            if self._fault_injection.refuse_registration(registration.resource):
                raise RegistrationRefused("failed to dial device plugin: context deadline exceeded", rule="REG-7")
            await self._wait_decided(self._start(registration.resource, place, name, CALLER.get()))

    async def register_discovered(self, plugin: DiscoveredPlugin) -> RegistrationHandle:
        """Register a plug-in that the watcher discovered (REG-16). Raises RegistrationRefused."""
        with self._refusals_recorded(plugin.resource, str(plugin.place)):
            if API_VERSION not in plugin.supported_versions:
                raise RegistrationRefused(
                    f"version {API_VERSION!r} is not among plugin supported versions {list(plugin.supported_versions)}",
                    rule="REG-16",
                )
            if problem := why_not_extended(plugin.resource):
                raise RegistrationRefused(
                    f"invalid name of device plugin socket: {plugin.resource!r}: {problem}", rule="API-12"
                )
            resource = plugin.resource
            self._access.check_resources(resource, self._tasks)
            task = self._start(resource, plugin.place, str(plugin.place))
            try:
                await self._wait_decided(task)
            except trio.Cancelled:  # its socket is gone, and nobody else would end it
                task.end(SOCKET_REMOVED)
                raise
            return RegistrationHandle(resource, task.generation)

    def disconnect(self, handle: RegistrationHandle, *, reason: str) -> None:
        """This registration ends; a newer one of the same resource is none of its business (LIM-4)."""
        task = self._tasks.get(handle.resource)
        if task is not None and task.generation == handle.generation:
            task.end(reason)

    def cut(self, resource: ResourceName) -> bool:
        """Close the connection to the plug-in that serves the resource; False when none does."""
        task = self._tasks.get(resource)
        if task is None or task.client is None:
            return False
        task.client.disconnect()
        return True

    @contextmanager
    def _refusals_recorded(self, resource: str, endpoint: str) -> Iterator[None]:
        try:
            yield
        except RegistrationRefused as refusal:
            self._log.record(
                [PluginRefused(resource=resource, endpoint=endpoint, rule=refusal.rule, message=str(refusal))]
            )
            raise

    def _start(self, resource: ResourceName, place: Place, name: str, caller: Peer | None = None) -> _EndpointTask:
        """Start the endpoint task."""
        self._generations += 1
        task = _EndpointTask(self._generations, name, caller)
        self._nursery.start_soon(self._run, resource, place, task)
        return task

    async def _wait_decided(self, task: _EndpointTask) -> None:
        """Return when it serves. Raises RegistrationRefused.

        A caller that hangs up ends it, but not when it takes over already: half of that would leave a resource that is
        said to serve, and nobody who does.
        """
        try:
            await task.decided.wait()
        finally:
            if not task.is_taking_over:
                task.scope.cancel()
        if task.refusal is not None:
            raise task.refusal

    async def wait_for_restored(self) -> None:
        """Remove, when their grace period is over, the resources of an earlier run that did not come back (REG-19)."""
        await trio.sleep(self._store.grace + _JUST_AFTER)
        self._log.record(self._store.sweep(now=trio.current_time()))

    def _checked(self, registration: Registration) -> tuple[str, Place]:
        """Version, resource name, endpoint: in this order, and before anybody is dialled (REG-3, LIM-27)."""
        if registration.version != API_VERSION:
            raise RegistrationRefused(
                f"requested API version {registration.version!r} is not supported by kubelet. "
                f"Supported version is {API_VERSION!r}",
                rule="REG-4",
            )
        if problem := why_not_extended(registration.resource):
            raise RegistrationRefused(
                f"the ResourceName {registration.resource!r} is invalid: {problem}", rule="API-12"
            )
        self._access.check_resources(registration.resource, self._tasks)
        return checked_endpoint(self._directory, registration.endpoint)

    def _check_caller(self, task: _EndpointTask, client: PluginClient) -> None:
        """Nobody but root, or our own user, registers what is not his: a socket serves one resource, and a member of
        the group could give another one's socket a name before its plug-in does (LIM-27).

        His is what he serves, and what belongs to him: with socket activation it is systemd that listens, and who calls
        us is the plug-in, to whom the file was given.
        """
        peer, owner = client.peer, client.socket.owner
        if task.caller is not None and task.caller.uid not in (0, os.geteuid(), peer.uid, owner):
            raise RegistrationRefused(
                f"endpoint {task.name!r} is invalid: user {peer.uid} serves it, its file belongs to user {owner}, and "
                f"user {task.caller.uid} registers it; only these two, root, and the manager's own user may do that",
                rule="LIM-27",
            )

    def _check_same_socket(self, resource: ResourceName, task: _EndpointTask, place: Place) -> None:
        """Only when somebody wants to see what becomes of it: the kubelet, too, asks for the options first (D37-4)."""
        holder = self._tasks.get(resource) if self._fault_injection.refuse_same_socket else None
        if holder is not None and holder.client is not None and holder.name == task.name:
            raise RegistrationRefused(f"device plugin already connected: {place}", rule="D37-4")

    @contextmanager
    def _socket_reserved(self, resource: ResourceName, task: _EndpointTask, socket: SocketFile) -> Iterator[None]:
        """One socket has one list of devices, so it serves one resource, by whatever names it is known (LIM-27)."""
        for other, inode in self._connected.values():
            if inode == socket.inode and other != resource:
                raise RegistrationRefused(
                    f"endpoint {task.name!r} is invalid: it already serves {other}", rule="LIM-27"
                )
        self._connected[task] = resource, socket.inode
        try:
            yield
        finally:
            del self._connected[task]

    async def _run(self, resource: ResourceName, place: Place, task: _EndpointTask) -> None:
        """The endpoint task: serve, then wait out the grace period, then sweep."""
        try:
            with task.scope:
                reason = await self._serve(resource, place, task)
                if task.is_replaced:
                    return
                now = trio.current_time()
                self._log.record(self._store.stop_endpoint(resource, task.generation, reason=reason, now=now))
                await trio.sleep(self._store.grace + _JUST_AFTER)
                self._access.release_list(resource)
                self._log.record(self._store.sweep(now=trio.current_time()))
        except RegistrationRefused as refusal:
            task.refusal = refusal
        finally:
            if self._tasks.get(resource) is task:
                del self._tasks[resource]
            task.finished.set()
            task.decided.set()

    async def _serve(self, resource: ResourceName, place: Place, task: _EndpointTask) -> str:
        """Connect, take over, read lists; returns why the stream ended (LW-8)."""
        connected = False
        try:
            async with connect_plugin(
                place,
                resource,
                deadlines=self._deadlines,
                on_call=self._record_call,
                policy=self._access.plugin_policy(resource),
                interceptor=self._fault_injection,
            ) as client:
                connected = True
                self._check_caller(task, client)
                with self._socket_reserved(resource, task, client.socket):
                    return await self._serve_connected(resource, place, task, client)
        except PluginUnavailable as error:
            if connected:
                raise
            raise RegistrationRefused(f"failed to dial device plugin: {error}", rule="REG-7") from error

    async def _serve_connected(
        self, resource: ResourceName, place: Place, task: _EndpointTask, client: PluginClient
    ) -> str:
        task.pid = client.peer.pid
        options = await self._get_options_in_turn(resource, task, client)
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_same_socket(resource, task, place)
        task.is_taking_over = True
        await self._take_over(resource, task)
        self._install(resource, task, client, options)
        task.decided.set()
        try:
            with task.reading:
                await self._list_and_watch(client, resource, task)
        except PluginUnavailable as error:
            return error.rpc_error
        finally:
            task.client = None
            task.stream_ended.set()
        if task.is_replaced:
            await client.wait_idle()
        return task.end_reason

    async def _get_options_in_turn(
        self, resource: ResourceName, task: _EndpointTask, client: PluginClient
    ) -> PluginOptions:
        """While plug-ins contend, leave the one that serves alone for a while, or until it serves no more. Only who
        answers after that may take over, and then another one may have been faster."""
        while True:
            if (holder := self._holder(resource, task)) is not None and (pause := _remaining_turn(holder, task)):
                with trio.move_on_after(pause):
                    await holder.stream_ended.wait()
                continue
            options = await _get_options(client)
            if (holder := self._holder(resource, task)) is None or not _remaining_turn(holder, task):
                return options

    async def _take_over(self, resource: ResourceName, task: _EndpointTask) -> None:
        """Make the resource ours; after each wait look again, since another registration may have come first."""
        while (holder := self._holder(resource, task)) is not None:
            if _remaining_turn(holder, task):
                raise _superseded(resource)
            task.contention = holder.contention
            if holder.client is None:  # it waits out its grace period
                holder.scope.cancel()
                await holder.finished.wait()
                task.contention.turn_begins(now=trio.current_time())
            else:
                holder.is_replaced = True
                holder.reading.cancel()
                await holder.stream_ended.wait()
                self._note_take_over(resource, holder, task)
            if self._tasks.get(resource) is holder:
                del self._tasks[resource]
        self._tasks[resource] = task

    def _holder(self, resource: ResourceName, task: _EndpointTask) -> _EndpointTask | None:
        """The task that holds the resource. Raises RegistrationRefused when that is a newer registration."""
        holder = self._tasks.get(resource)
        if holder is not None and holder.generation > task.generation:
            raise _superseded(resource)
        return holder

    def _note_take_over(self, resource: ResourceName, old: _EndpointTask, new: _EndpointTask) -> None:
        now = trio.current_time()
        if claimants := new.contention.taken_over(old=old.claimant, new=new.claimant, now=now):
            self._log.record([ResourceContended(resource=resource, claimants=tuple(map(str, claimants)))])

    def _install(
        self, resource: ResourceName, task: _EndpointTask, client: PluginClient, options: PluginOptions
    ) -> None:
        task.client = client
        endpoint = Endpoint(resource=resource, generation=task.generation, socket=task.name, options=options)
        self._log.record(self._store.connect(endpoint))

    async def _list_and_watch(self, client: PluginClient, resource: ResourceName, task: _EndpointTask) -> None:
        """Apply list after list until the stream ends; of a flood the newest."""

        def receiving(report: DeviceList) -> Steps[None]:
            received = DeviceListReceived(resource=resource, generation=task.generation, devices=tuple(report.devices))
            events = yield from self._store.applying(resource, task.generation, report)
            self._log.record([received, *events])

        await client.list_and_watch(receiving)

    def _record_call(self, call: CallFinished) -> None:
        self._log.record([call])


def _remaining_turn(holder: _EndpointTask, task: _EndpointTask) -> float:
    """Seconds for which ``holder`` must not be replaced by this task."""
    if holder.client is None or holder.claimant == task.claimant:
        return 0.0
    return holder.contention.pause(now=trio.current_time())


def _superseded(resource: ResourceName) -> RegistrationRefused:
    return RegistrationRefused(f"another registration for {resource} has been accepted meanwhile", rule="REG-10")


async def _get_options(client: PluginClient) -> PluginOptions:
    try:
        return await client.get_options()
    except PluginUnavailable as error:
        raise RegistrationRefused(f"failed to get device plugin options: {error.rpc_error}", rule="REG-8") from error
