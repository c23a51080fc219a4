"""The serving end: one nursery has a task for each connection, and one inside has a task for each call.

A handler is cancelled when its caller has hung up, when its deadline has passed, and when its nursery is cancelled. An
unexpected exception of a handler propagates through the nursery to where the server was opened, instead of to a log.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import trio
from grpclib import GRPCError, Status
from grpclib.const import Handler

from ...concurrency.exception_groups import collapse_exception_group
from ...concurrency.task_descriptions import describes_task
from ...errors import DeviceManagerError
from ...model import Peer
from .accepting import pause_after
from .connection import Connection
from .limits import ConnectionLimits
from .metering import metered
from .peer_credentials import peer_of
from .server_call import ServerCall
from .stream import Stream
from .unix_socket import Identity, closed_on_error, identity, listen

ACCEPT_TIME = 0.0005
"""Seconds of CPU time that a new connection is charged for."""
MAX_FORMER = 16
"""Lost sockets that are recognized when they come back."""
FLUSH_TIME = 0.2
"""Seconds that calls and their answers have when the server closes."""
SHUTDOWN_MESSAGE = "the server is shutting down"
CALLER: ContextVar[Peer | None] = ContextVar("CALLER", default=None)
"""The process whose call the current task handles, else None. Generated services do not pass it on."""


class Server:
    """Generated services on one unix socket; its connections run in one nursery, their handlers in another one inside.

    The socket exists, and connections queue, as soon as there is a Server; :meth:`serve` accepts them. Raises OSError
    when ``path`` cannot be bound. :func:`open_server` opens the nurseries as well.
    """

    def __init__(
        self,
        path: Path,
        services: Collection[Any],
        connections: trio.Nursery,
        handlers: trio.Nursery,
        *,
        limits: ConnectionLimits = ConnectionLimits(),  # noqa: B008 - frozen
        group: int | None = None,
        replace: bool = False,
        shutdown_message: str = SHUTDOWN_MESSAGE,
    ) -> None:
        self.path = path
        self._methods: dict[str, Handler] = {
            name: h for service in services for name, h in service.__mapping__().items()
        }
        self._nursery = connections
        self._handlers = handlers
        self._limits = limits
        self._group = group
        self._replace = replace
        self._shutdown_message = shutdown_message
        self._connections: set[Connection] = set()
        self._former: deque[Identity | None] = deque(maxlen=MAX_FORMER)
        self._listener = self._listen()

    def _listen(self) -> socket.socket:
        listener = listen(self.path, group=self._group, replace=self._replace)
        self._identity = identity(self.path)
        return listener

    @describes_task(name="accept on {self.path.parent.name}/{self.path.name}")
    async def serve(self) -> None:
        """Accept until cancelled, then remove the socket. Open connections go on."""
        try:
            while True:
                listener = self._listener
                try:
                    await self._accept(listener)
                except trio.ClosedResourceError:
                    if listener is self._listener:
                        raise
        finally:
            self.stop_listening()

    def stop_listening(self) -> None:
        """Remove the socket. Idempotent. If it cannot be removed, on a read-only file system for example, it stays."""
        if self.owns_socket():
            with suppress(OSError):
                self.path.unlink()
        _close(self._listener)

    def restore(self) -> bool:
        """Make the socket again if it is lost. Returns whether it was. Raises OSError when it cannot be made.

        Not once we have stopped listening, though another task may not know that yet.
        """
        if self._listener.fileno() < 0 or not self.is_lost():
            return False
        self.path.unlink(missing_ok=True)
        lost, former = self._listener, self._identity
        self._listener = self._listen()
        self._former.append(former)
        self._nursery.start_soon(self._drain_backlog, lost)
        return True

    def is_lost(self) -> bool:
        """Whether there is nothing at our path, or a socket of ours that we have replaced since. Such a socket comes
        back when a file system that was mounted over it is unmounted, or when a directory is moved back."""
        return not os.path.lexists(self.path) or identity(self.path) in self._former

    def owns_socket(self) -> bool:
        """Whether the file at our path is still the socket we made, and was not removed or replaced (LIM-36)."""
        return self._identity is not None and identity(self.path) == self._identity

    async def drain(self) -> None:
        """Refuse new calls, and return when the open ones have ended and their answers are sent."""
        for connection in self._connections:
            connection.go_away()
        while working := [connection for connection in self._connections if connection.has_work]:
            await working[0].work_finished.park()

    @describes_task(waits_for="a connection")
    async def _accept(self, listener: socket.socket) -> None:
        while listener is self._listener:
            await trio.lowlevel.wait_readable(listener)
            if listener is not self._listener:
                return
            with suppress(BlockingIOError):
                if pause := self._accept_next(listener):
                    await trio.sleep(pause)

    @describes_task(name="accept on the lost {self.path.name}", waits_for="a connection")
    async def _drain_backlog(self, listener: socket.socket) -> None:
        """Accept the connections that still queue at a lost socket; no more can come."""
        try:
            with suppress(BlockingIOError):
                while True:
                    if pause := self._accept_next(listener):
                        await trio.sleep(pause)
        finally:
            _close(listener)

    def _accept_next(self, listener: socket.socket) -> float:
        """Returns the seconds until the next one may be accepted. Raises BlockingIOError when no connection waits."""
        try:
            sock, _ = listener.accept()
            with closed_on_error(sock):
                sock.setblocking(False)
                peer = peer_of(sock)
        except BlockingIOError:
            raise
        except OSError as error:
            return pause_after(error)
        if self._limits.policy.admit(peer):
            self._nursery.start_soon(self._serve, sock, peer)
        else:
            sock.close()
        return 0.0

    @describes_task(name="connection of process {peer.pid} to {self.path.parent.name}/{self.path.name}")
    async def _serve(self, sock: socket.socket, peer: Peer) -> None:
        self._limits.policy.charge(peer, ACCEPT_TIME)

        def on_request(stream: Stream) -> None:
            call = ServerCall(stream, peer, self._limits.policy)
            try:
                self._handlers.start_soon(self._answer, call)
            except RuntimeError:  # that nursery is closed
                call.finish(Status.UNAVAILABLE, self._shutdown_message)

        connection = Connection(sock, peer, self._limits, on_request)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
            self._limits.policy.leave(peer)

    @describes_task(name="{call.method_name}", waits_for="the request", since="call.began")
    async def _answer(self, call: ServerCall) -> None:
        CALLER.set(call.peer)
        try:
            with collapse_exception_group(), call.scope:
                handler = call.begin(self._methods)
                await self._limits.policy.begin_call(call.peer, call.method)
                await self._metered(call, handler.func(call))
                call.finish()
            call.finish(Status.DEADLINE_EXCEEDED, "the call's deadline has passed")
        except GRPCError as error:
            call.finish(error.status, error.message)
        except DeviceManagerError as error:
            call.finish(Status[error.status], str(error))
        except Exception:
            call.finish(Status.INTERNAL, "the server failed; its log has the traceback")
            raise
        finally:
            call.finish(Status.UNAVAILABLE, self._shutdown_message)

    async def _metered(self, call: ServerCall, answering: Coroutine[Any, Any, None]) -> None:
        policy = self._limits.policy
        if policy.quota_exempt:
            await answering
        else:
            await metered(answering, lambda seconds: policy.charge_call(call.peer, call.method, seconds))


@asynccontextmanager
async def open_server(
    path: str | os.PathLike[str],
    services: Collection[Any],
    *,
    limits: ConnectionLimits = ConnectionLimits(),  # noqa: B008 - frozen
    grace: float = FLUSH_TIME,
    shutdown_message: str = SHUTDOWN_MESSAGE,
) -> AsyncIterator[Server]:
    """A :class:`Server` that serves while the block lasts, with nurseries of its own.

    Leaving the block stops accepting, gives calls ``grace`` seconds, and closes all connections. A call that has not
    ended by then is UNAVAILABLE with ``shutdown_message``. Raises OSError when the path cannot be bound.
    """
    with collapse_exception_group():
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as calls:
                server = Server(
                    Path(path), services, connections, calls, limits=limits, shutdown_message=shutdown_message
                )
                try:
                    async with trio.open_nursery() as listeners:
                        listeners.start_soon(server.serve)
                        yield server
                        listeners.cancel_scope.cancel()
                finally:
                    server.stop_listening()
                    with trio.move_on_after(grace, shield=True):
                        await server.drain()
                    calls.cancel_scope.cancel()
            connections.cancel_scope.cancel()


def _close(listener: socket.socket) -> None:
    if listener.fileno() >= 0:
        trio.lowlevel.notify_closing(listener)
        listener.close()
