"""One task per registration of a plug-in: connect, ask for its options, read its lists until the stream ends.

The task contains the plug-in's failures. If the plug-in fails before it has answered, that is the answer to Register;
afterwards the endpoint stops. The rest of the manager never sees the failure itself.

The task follows the life of its endpoint (``core.devices.endpoint``). A new registration connects first, and then takes
over in one step, so a resource that has a serving endpoint always has one. What served before stands by, with its
stream open, and takes over in the same step in which the newer one ends. If it is on the same socket it drains: it
closes its stream, waits for answers to calls in flight, and closes the connection. A task whose stream has ended, while
nobody stands by, waits for the end of the grace period, unless a newer registration cancels the wait.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import trio

from ...concurrency.steps import Steps
from ...concurrency.task_descriptions import describes_task
from ...core.devices.contention import Claimant, Contention
from ...core.devices.endpoint import Endpoint, State, Trigger
from ...core.devices.store import DeviceStore
from ...errors import AllocationRefused, PluginUnavailable, RegistrationRefused
from ...events import CallFinished, DeviceListReceived, PluginRefused, RegistrationRequested, ResourceContended
from ...model import API_VERSION, DeviceList, Peer, PluginOptions, Registration, ResourceName
from ...resource_names import why_not_extended
from ...rpc.deviceplugin.client import PluginClient, connect_plugin
from ...rpc.deviceplugin.methods import Deadlines
from ...rpc.transport.server import CALLER
from ...rpc.transport.unix_socket import Inode, Place, SocketFile
from ..access.control import AccessControl
from ..event_log import EventLog
from ..faults.injection import FaultInjection
from ..layout import checked_endpoint
from .handler import SOCKET_REMOVED, DiscoveredPlugin, RegistrationHandle

_JUST_AFTER = 0.001
"""Seconds by which the sweep follows the end of the grace period, which must have passed strictly (LW-11)."""


@dataclass(slots=True, eq=False)
class _EndpointTask:
    """An endpoint, and what its task shares with others."""

    endpoint: Endpoint
    place: Place
    caller: Peer | None
    client: PluginClient | None = None  # None until the plug-in is connected
    contention: Contention = field(default_factory=Contention)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    reading: trio.CancelScope = field(default_factory=trio.CancelScope)
    end_reason: str = "the plug-in ended the stream"
    heard_at: float | None = None  # when its plug-in sent the last list, or began to be listened to
    stream_closed: trio.Event = field(default_factory=trio.Event)
    answered: trio.Event = field(default_factory=trio.Event)
    refusal: RegistrationRefused | None = None

    @property
    def resource(self) -> ResourceName:
        return self.endpoint.resource

    @property
    def state(self) -> State:
        return self.endpoint.state

    @property
    def claimant(self) -> Claimant:
        return Claimant(self.endpoint.socket, 0 if self.client is None else self.client.peer.pid)

    def stop_reading(self, reason: str) -> None:
        """End the stream, from our side."""
        self.end_reason = reason
        self.reading.cancel()


class Endpoints:
    """Registers plug-ins and keeps their tasks in ``nursery``. ``directory`` is where their sockets are.

    For plug-ins in plugins_registry it is the handler of their type (``handler``).
    """

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
        kubernetes_version: str,
    ) -> None:
        self._directory = directory
        self._store = store
        self._log = log
        self._nursery = nursery
        self._deadlines = deadlines
        self._access = access
        self._fault_injection = fault_injection
        self._kubernetes_version = kubernetes_version
        self._tasks: dict[ResourceName, list[_EndpointTask]] = {}  # those that have answered, in this order
        self._connected: dict[_EndpointTask, Inode] = {}
        self._generations = 0

    def client_of(self, resource: ResourceName) -> PluginClient:
        """The client of the plug-in that serves the resource now. Raises AllocationRefused (ALLOC-E8, ALLOC-E9)."""
        if (client := self._serving_client(resource)) is not None:
            return client
        endpoint = self._store.endpoint(resource)
        if endpoint is None:
            raise AllocationRefused(f"unknown Device Plugin {resource}", rule="ALLOC-E8")
        socket = "" if self._kubernetes_version == "1.36" else endpoint.socket  # D37-9
        name = f"endpoint {socket} of" if socket else "endpoint of"  # one from before a restart has none
        raise AllocationRefused(f"{name} {resource} has been stopped", rule="ALLOC-E9")

    async def register(self, registration: Registration) -> None:
        """Answer one Register call: returns when the plug-in has answered and serves (REG-3).

        Raises RegistrationRefused with the kubelet's text. Then the plug-in that served before is not affected.
        """
        self._log.record([RegistrationRequested(**asdict(registration))])
        with self._refusals_recorded(registration.resource, registration.endpoint):
            name, place = self._checked(registration)
            if self._fault_injection.refuse_registration(registration.resource):
                raise RegistrationRefused("failed to dial device plugin: context deadline exceeded", rule="REG-7")
            await self._wait_answered(self._start(registration.resource, place, name, CALLER.get()))

    def validate_plugin(self, plugin: DiscoveredPlugin) -> None:
        """Check a plug-in that was discovered (REG-16). Raises RegistrationRefused."""
        with self._refusals_recorded(plugin.name, str(plugin.place)):
            if API_VERSION not in plugin.supported_versions:
                raise RegistrationRefused(
                    f"version {API_VERSION!r} is not among plugin supported versions {list(plugin.supported_versions)}",
                    rule="REG-16",
                )
            if problem := why_not_extended(plugin.name):
                raise RegistrationRefused(
                    f"invalid name of device plugin socket: {plugin.name!r}: {problem}", rule="API-12"
                )

    async def register_plugin(self, plugin: DiscoveredPlugin) -> RegistrationHandle:
        """Register a valid plug-in that was discovered (REG-16). Raises RegistrationRefused."""
        with self._refusals_recorded(plugin.name, str(plugin.place)):
            self._access.check_resources(plugin.name, self._tasks)
            task = self._start(plugin.name, plugin.place, str(plugin.place))
            try:
                await self._wait_answered(task)
            except trio.Cancelled:  # its socket was removed, and there is no handle to deregister
                task.stop_reading(SOCKET_REMOVED)
                raise
            return RegistrationHandle(plugin.name, task.endpoint.generation)

    def deregister_plugin(self, handle: RegistrationHandle, reason: str) -> None:
        """This registration ends; others of the same resource do not (LIM-4)."""
        for task in self._tasks.get(handle.name, ()):
            if task.endpoint.generation == handle.generation:
                task.stop_reading(reason)

    def disconnect(self, resource: ResourceName) -> bool:
        """Close the connections to the plug-ins that serve the resource or stand by. Returns False if none does."""
        live = [task.client for task in self._tasks.get(resource, ()) if task.endpoint.is_live]
        for client in filter(None, live):
            client.disconnect()
        return bool(live)

    def _serving_client(self, resource: ResourceName) -> PluginClient | None:
        for task in self._tasks.get(resource, ()):
            if task.state is State.SERVING:
                return task.client
        return None

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
        endpoint = Endpoint(resource=resource, generation=self._generations, socket=name)
        task = _EndpointTask(endpoint, place, caller)
        self._nursery.start_soon(self._run, task)
        return task

    @describes_task(about="{task.resource}", waits_for="the endpoint to serve")
    async def _wait_answered(self, task: _EndpointTask) -> None:
        """Return when the endpoint serves. Raises RegistrationRefused.

        A caller that hangs up cancels a registration that is not complete. A plug-in that serves already goes on.
        """
        try:
            await task.answered.wait()
        finally:
            if task.state is State.CONNECTING:
                task.scope.cancel()
        if task.refusal is not None:
            raise task.refusal

    @describes_task(name="restored resources", waits_for="plug-ins of an earlier run")
    async def wait_for_restored(self) -> None:
        """Remove restored resources whose plug-ins have not registered within the grace period (REG-19)."""
        expected = list(filter(self._store.is_expected_back, self._store.capacity()))
        with trio.move_on_after(self._store.grace + _JUST_AFTER):
            await self._log.wait_until(lambda: not any(map(self._store.is_expected_back, expected)))
        self._log.record(self._store.sweep(now=trio.current_time()))

    def _checked(self, registration: Registration) -> tuple[str, Place]:
        """Check version, resource name and endpoint, in this order and before dialling (REG-3, LIM-27)."""
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

    def _check_same_socket(self, task: _EndpointTask) -> None:
        """A fault that can be injected. As in the kubelet, the refusal comes after GetDevicePluginOptions (D37-4)."""
        if self._fault_injection.refuse_same_socket and any(
            other.endpoint.is_live for other in self._on_same_socket(task)
        ):
            raise RegistrationRefused(f"device plugin already connected: {task.place}", rule="D37-4")

    @contextmanager
    def _socket_reserved(self, task: _EndpointTask, socket: SocketFile) -> Iterator[None]:
        """A socket has one list of devices, so it serves one resource, whatever names the socket has (LIM-27)."""
        for other, inode in self._connected.items():
            if inode == socket.inode and other.resource != task.resource:
                raise RegistrationRefused(
                    f"endpoint {task.endpoint.socket!r} is invalid: it already serves {other.resource}", rule="LIM-27"
                )
        self._connected[task] = socket.inode
        try:
            yield
        finally:
            del self._connected[task]

    @describes_task(name="{task.resource} #{task.endpoint.generation}", state="{task.state.value}")
    async def _run(self, task: _EndpointTask) -> None:
        """The life of one endpoint, as described in ``core.devices.endpoint``."""
        try:
            with task.scope:
                async with self._connection(task) as client:
                    options = await self._get_options_in_turn(task, client)
                    await trio.lowlevel.checkpoint_if_cancelled()
                    predecessors = self._take_over(task, options)
                    task.answered.set()
                    reason = await self._list_and_watch(task, client, predecessors)
                    if task.state is State.DRAINING:
                        await client.wait_idle()
                        task.endpoint.advance(Trigger.IDLE)
                    else:
                        self._stop(task, reason)
                if task.state is State.STOPPED:
                    await self._wait_out_grace_period(task)
        except RegistrationRefused as refusal:
            task.refusal = refusal
        finally:
            if task.state is State.CONNECTING:
                task.endpoint.advance(Trigger.FAILED)
            self._forget(task)
            task.answered.set()

    @asynccontextmanager
    @describes_task(waits_for="a connection to {task.endpoint.socket}")
    async def _connection(self, task: _EndpointTask) -> AsyncIterator[PluginClient]:
        """Connect to the plug-in. Raises RegistrationRefused if that fails, or the registration is not allowed."""
        async with AsyncExitStack() as stack:
            connecting = connect_plugin(
                task.place,
                task.resource,
                deadlines=self._deadlines,
                endpoint=task.endpoint.socket,
                on_call=self._record_call,
                policy=self._access.plugin_policy(task.resource),
                interceptor=self._fault_injection,
            )
            try:
                task.client = client = await stack.enter_async_context(connecting)
            except PluginUnavailable as error:
                raise RegistrationRefused(f"failed to dial device plugin: {error}", rule="REG-7") from error
            self._access.check_registered_by(task.caller, client.peer, client.socket.owner, task.endpoint.socket)
            with self._socket_reserved(task, client.socket):
                task.endpoint.aliases = frozenset([str(task.place), client.socket.inode])
                yield client

    @describes_task(waits_for="its turn to serve")
    async def _get_options_in_turn(self, task: _EndpointTask, client: PluginClient) -> PluginOptions:
        """While plug-ins contend, the one that serves must not be replaced for some time. Wait until that has passed or
        its stream has ended, and ask for the options afterwards: meanwhile another one may have taken over. If that
        registered later, this one is refused: its plug-in would have to wait for another turn."""
        while True:
            if (holder := self._holder(task)) is not None and (pause := _remaining_turn(holder, task)):
                if holder.endpoint.generation > task.endpoint.generation:
                    raise _superseded(task.resource)
                with trio.move_on_after(pause):
                    await holder.stream_closed.wait()
                continue
            options = await _get_options(client)
            if (holder := self._holder(task)) is None or not _remaining_turn(holder, task):
                return options

    def _take_over(self, task: _EndpointTask, options: PluginOptions) -> list[_EndpointTask]:
        """This endpoint serves from now on. Returns the tasks on the same socket, which it replaces. Raises
        RegistrationRefused if a newer registration has taken over.

        There is no await in it: at no time do two endpoints serve a resource, or none between one and the next.
        """
        holder = self._holder(task)
        self._check_same_socket(task)
        if holder is not None:
            if _remaining_turn(holder, task):
                raise _superseded(task.resource)
            self._note_contention(holder, task)
        task.endpoint.options = options
        self._log.record(self._store.connect(task.endpoint))
        replaced, others = self._on_same_socket(task), self._tasks.setdefault(task.resource, [])
        for other in others:
            if other.state is State.GONE:  # it has waited for the end of its grace period
                other.scope.cancel()
            elif other.state is State.DRAINING:
                if other not in replaced and not other.reading.cancel_called:
                    self._access.standby_disconnected(task.resource, other.endpoint.socket)
                other.reading.cancel()
        others.append(task)
        return replaced

    def _holder(self, task: _EndpointTask) -> _EndpointTask | None:
        """The task that holds the resource: it serves, or has stopped. Raises RegistrationRefused if a newer
        registration on the same socket has taken over."""
        if any(other.endpoint.generation > task.endpoint.generation for other in self._on_same_socket(task)):
            raise _superseded(task.resource)
        holders = (
            other for other in self._tasks.get(task.resource, ()) if other.state in (State.SERVING, State.STOPPED)
        )
        return next(holders, None)

    def _on_same_socket(self, task: _EndpointTask) -> list[_EndpointTask]:
        """The other tasks of the resource whose plug-in is or was on the socket of this one."""
        return [
            other
            for other in self._tasks.get(task.resource, ())
            if other is not task and other.endpoint.is_on_same_socket(task.endpoint)
        ]

    def _forget(self, task: _EndpointTask) -> None:
        others = [other for other in self._tasks.get(task.resource, ()) if other is not task]
        if others:
            self._tasks[task.resource] = others
        else:
            self._tasks.pop(task.resource, None)

    def _note_contention(self, old: _EndpointTask, new: _EndpointTask) -> None:
        now = trio.current_time()
        new.contention = old.contention
        if old.state is not State.SERVING:
            new.contention.turn_begins(now=now)
        elif claimants := new.contention.taken_over(old=old.claimant, new=new.claimant, now=now):
            self._log.record([ResourceContended(resource=new.resource, claimants=tuple(map(str, claimants)))])

    @describes_task(waits_for="the next list of {task.resource}", since="task.heard_at")
    async def _list_and_watch(
        self, task: _EndpointTask, client: PluginClient, predecessors: Sequence[_EndpointTask]
    ) -> str:
        """Apply each list until the stream ends. Returns why it ended (LW-8)."""

        def receiving(report: DeviceList) -> Steps[None]:
            task.heard_at, generation = trio.current_time(), task.endpoint.generation
            received = DeviceListReceived(resource=task.resource, generation=generation, devices=tuple(report.devices))
            events = yield from self._store.applying(task.resource, generation, report)
            self._log.record([received, *events])

        try:
            with task.reading:
                for predecessor in predecessors:  # a plug-in that registers again may support one stream only
                    await predecessor.stream_closed.wait()
                task.heard_at = trio.current_time()
                await client.list_and_watch(receiving)
            return task.end_reason
        except PluginUnavailable as error:
            return error.rpc_error
        finally:
            task.stream_closed.set()

    def _stop(self, task: _EndpointTask, reason: str) -> None:
        """The stream has ended. If the endpoint served, and another one stands by, that one serves from now on."""
        now, served = trio.current_time(), task.state is State.SERVING
        self._log.record(self._store.stop_endpoint(task.resource, task.endpoint.generation, reason=reason, now=now))
        if served and task.state is State.GONE:
            task.contention.turn_begins(now=now)

    @describes_task(waits_for="the end of the grace period", since="task.endpoint.stopped_at")
    async def _wait_out_grace_period(self, task: _EndpointTask) -> None:
        """It began when the stream ended, and may end before its time: a fault, or another stopped plug-in's sweep."""
        assert task.endpoint.stopped_at is not None
        with trio.move_on_at(task.endpoint.stopped_at + self._store.grace + _JUST_AFTER):
            await self._log.wait_until(lambda: task.state is State.GONE)
        self._log.record(self._store.sweep(now=trio.current_time()))

    def _record_call(self, call: CallFinished) -> None:
        self._log.record([call])


def _remaining_turn(holder: _EndpointTask, task: _EndpointTask) -> float:
    """Seconds for which ``holder`` must not be replaced by this task."""
    if holder.state is not State.SERVING or holder.claimant == task.claimant:
        return 0.0
    return holder.contention.pause(now=trio.current_time())


def _superseded(resource: ResourceName) -> RegistrationRefused:
    return RegistrationRefused(f"another registration for {resource} has been accepted meanwhile", rule="REG-10")


async def _get_options(client: PluginClient) -> PluginOptions:
    try:
        return await client.get_options()
    except PluginUnavailable as error:
        raise RegistrationRefused(f"failed to get device plugin options: {error.rpc_error}", rule="REG-8") from error
