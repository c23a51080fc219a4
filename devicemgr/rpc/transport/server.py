"""The serving end: in the server's nursery a task for each connection, in the handlers' nursery a task for each call.

So a handler is cancelled when its caller has hung up, its deadline has passed, or whoever opened that nursery ends it;
and a handler's bug leaves through the nursery to where the server was opened, instead of into a log.
"""

from __future__ import annotations

import errno
import os
import socket
import types
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Generator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from time import thread_time
from typing import Any

import trio
from grpclib import GRPCError, Status
from grpclib.const import Handler
from grpclib.metadata import Deadline, decode_metadata, decode_timeout, encode_grpc_message, encode_metadata
from h2.errors import ErrorCodes

from ...errors import DeviceManagerError, unwrapped
from ...model import Peer
from .connection import Connection
from .limits import Limits, PeerPolicy
from .peer_credentials import peer_of
from .stream import Stream
from .unix_socket import closed_on_error, identity, listen

ACCEPT_PAUSE = 0.1
"""Seconds without accepting when there is no descriptor or memory for one more connection."""
ACCEPT_TIME = 0.0005
"""Seconds of CPU time that a new connection takes, about."""
FLUSH_TIME = 0.2
"""Seconds that calls, and answers on their way, have when the server closes."""
LONGEST_TEXT = 1000
"""Characters of an error's text. A peer takes so many bytes of headers, and ends the connection over more."""
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}
_HEADERS = (":status", "200"), ("content-type", "application/grpc")


class ClosesStreams:
    """Stands before a generated service base: a streaming method whose caller has gone is closed there and then.

    The generated code leaves that to the garbage collector, and Trio warns of it. On grpclib's own server it does the
    same, so that a service runs on both.
    """

    async def _call_rpc_handler_server_stream(self, handler: Callable[..., Any], stream: Any, request: Any) -> None:
        async with aclosing(handler(request)) as messages:
            async for message in messages:
                await stream.send_message(message)


class Server:
    """Generated services on one unix socket: its connections run in one nursery, their calls in another one inside.

    The socket is there, and connections queue, as soon as there is a Server; :meth:`serve` accepts them. Raises OSError
    when ``path`` cannot be bound. :func:`open_server` opens the nurseries, too.
    """

    def __init__(
        self,
        path: Path,
        services: Collection[Any],
        connections: trio.Nursery,
        handlers: trio.Nursery,
        *,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        group: int | None = None,
        replace: bool = False,
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
        self._connections: set[Connection] = set()
        self._listener = self._listen()

    def _listen(self) -> socket.socket:
        listener = listen(self.path, group=self._group, replace=self._replace)
        self._identity = identity(self.path)
        return listener

    async def serve(self) -> None:
        """Accept until cancelled; then accept no more and remove the socket. Open connections live on."""
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
        """Idempotent."""
        if self.owns_socket():
            self.path.unlink(missing_ok=True)
        self._close_listener()

    def restore(self) -> bool:
        """Make the socket again if nothing is at its path; did we? Raises OSError when it cannot be made."""
        if not self.is_missing():
            return False
        self.path.parent.mkdir(mode=0o750, exist_ok=True)
        lost, self._listener = self._listener, self._listen()
        with suppress(BlockingIOError):
            while self._accept_next(lost):  # whoever waits there has connected to us
                pass
        _close(lost)
        return True

    def is_missing(self) -> bool:
        """Is nothing at all at our path?"""
        return not os.path.lexists(self.path)

    def owns_socket(self) -> bool:
        """Is the file at our path still the socket we made? Not after somebody deleted or replaced it (LIM-36)."""
        return self._identity is not None and identity(self.path) == self._identity

    async def drain(self) -> None:
        """Take no more calls, and return when those there are have ended and their answers are on their way."""
        for connection in self._connections:
            connection.go_away()
        while working := [connection for connection in self._connections if connection.has_work]:
            await working[0].settled.park()

    def _close_listener(self) -> None:
        _close(self._listener)

    async def _accept(self, listener: socket.socket) -> None:
        while listener is self._listener:
            await trio.lowlevel.wait_readable(listener)
            with suppress(BlockingIOError):
                if not self._accept_next(listener):
                    await trio.sleep(ACCEPT_PAUSE)

    def _accept_next(self, listener: socket.socket) -> bool:
        """Is there a descriptor, and memory, for one more connection? Raises BlockingIOError when nobody waits."""
        try:
            sock, _ = listener.accept()
            with closed_on_error(sock):
                sock.setblocking(False)
                peer = peer_of(sock)
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno not in {*_EXHAUSTED, errno.ECONNABORTED}:
                raise
            return error.errno not in _EXHAUSTED
        if self._limits.policy.admit(peer):
            self._nursery.start_soon(self._serve, sock, peer)
        else:
            sock.close()
        return True

    async def _serve(self, sock: socket.socket, peer: Peer) -> None:
        self._limits.policy.charge(peer, ACCEPT_TIME)

        def on_request(stream: Stream) -> None:
            call = ServerCall(stream, peer, self._limits.policy)
            try:
                self._handlers.start_soon(self._answer, call)
            except RuntimeError:  # that nursery is closed
                call.finish(Status.UNAVAILABLE, "the server is shutting down")

        connection = Connection(sock, peer, self._limits, on_request)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
            self._limits.policy.leave(peer)

    async def _answer(self, call: ServerCall) -> None:
        try:
            with unwrapped(), call.scope:
                handler = call.begin(self._methods)
                if pause := self._limits.policy.begin_call(call.peer, call.method):
                    await trio.sleep(pause)
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
            call.finish(Status.UNAVAILABLE, "the server is shutting down")

    async def _metered(self, call: ServerCall, answering: Coroutine[Any, Any, None]) -> None:
        policy = self._limits.policy
        if policy.quota_exempt:
            await answering
        else:
            await metered(answering, lambda seconds: policy.charge_call(call.peer, call.method, seconds))


@types.coroutine
def metered(coroutine: Coroutine[Any, Any, Any], charge: Callable[[float], None]) -> Generator[Any, Any, Any]:
    """Await a coroutine, and charge the CPU time of each of its steps as it is spent."""
    step, value = coroutine.send, None
    while True:
        began = thread_time()
        try:
            trap = step(value)
        except StopIteration as end:
            return end.value
        finally:
            charge(thread_time() - began)
        try:
            value = yield trap
            step = coroutine.send
        except BaseException as error:
            value, step = error, coroutine.throw


class ServerCall:
    """What a generated service calls its ``stream``: the interface of grpclib's. The first ending counts."""

    def __init__(self, stream: Stream, peer: Peer, policy: PeerPolicy) -> None:
        self.peer = peer
        self.method = ""
        self.metadata: Any = None
        self.deadline: Deadline | None = None
        self.scope = stream.scope
        self._policy = policy
        self._stream = stream
        self._handler: Handler | None = None
        self._has_request = False
        self._headers_sent = False
        self._is_over = False

    def begin(self, methods: dict[str, Handler]) -> Handler:
        """Raises GRPCError when the request is not one of ours."""
        headers = self._stream.headers or ()
        fields = dict(headers)
        if fields.get(":method") != "POST" or not fields.get("content-type", "").startswith("application/grpc"):
            raise GRPCError(Status.INTERNAL, "this is no gRPC request")
        self.method = fields.get(":path", "")
        if (handler := methods.get(self.method)) is None:
            raise GRPCError(Status.UNIMPLEMENTED, f"there is no method {self.method[:200]!r} here")
        try:
            if timeout := fields.get("grpc-timeout"):
                seconds = decode_timeout(timeout)
                self.deadline = Deadline.from_timeout(seconds)
                self.scope.deadline = trio.current_time() + seconds
            self.metadata = decode_metadata(headers)
        except (ValueError, OverflowError) as error:
            raise GRPCError(Status.INTERNAL, f"malformed headers: {error}") from error
        self._handler = handler
        return handler

    async def recv_message(self) -> Any:
        """The next message of the request; None at its end."""
        handler = self._known()
        if (data := await self._stream.receive()) is None:
            self._stream.check_end()
            if not (handler.cardinality.client_streaming or self._has_request):
                raise GRPCError(Status.INTERNAL, "the request has no message")
            return None
        self._has_request = True
        return decoded(data, handler.request_type)

    async def send_initial_metadata(self, *, metadata: Any = None) -> None:
        self._send_headers(metadata, flush=True)

    async def send_message(self, message: Any) -> None:
        """Send a message of the answer. An only one goes out together with the status that follows it."""
        is_stream = self._known().cardinality.server_streaming
        data = message.SerializeToString()
        self._policy.hold(self.peer, len(data))
        try:
            self._send_headers(None, flush=False)
            await self._stream.send(data, flush=is_stream)
        finally:
            self._policy.release(self.peer, len(data))

    async def send_trailing_metadata(
        self, *, status: Status = Status.OK, status_message: str | None = None, metadata: Any = None, **_: Any
    ) -> None:
        self.finish(status, status_message, metadata=metadata)

    async def cancel(self) -> None:
        """End the call without an answer."""
        self._is_over = True
        self._stream.close(ErrorCodes.CANCEL)

    def finish(self, status: Status = Status.OK, message: str | None = None, *, metadata: Any = None) -> None:
        """Send the status, in headers of its own when there are none yet, and forget the stream."""
        if self._is_over:
            return
        headers = [] if self._headers_sent else [*_HEADERS]
        headers.append(("grpc-status", str(status.value)))
        if message:
            text = message[:LONGEST_TEXT].encode(errors="replace").decode()  # a file's name may be no Unicode
            headers.append(("grpc-message", encode_grpc_message(text)))
        headers += encode_metadata(metadata or ())
        self._is_over = True
        self._stream.send_headers(headers, end=True, flush=False)
        self._stream.close(ErrorCodes.NO_ERROR)

    def __aiter__(self) -> ServerCall:
        return self

    async def __anext__(self) -> Any:
        if (message := await self.recv_message()) is None:
            raise StopAsyncIteration
        return message

    def _send_headers(self, metadata: Any, *, flush: bool) -> None:
        if not self._headers_sent:
            headers = [*_HEADERS, *encode_metadata(metadata or ())]
            self._headers_sent = True
            self._stream.send_headers(headers, flush=flush)

    def _known(self) -> Handler:
        assert self._handler is not None, "the call has not begun"
        return self._handler


def decoded(data: bytes, message_type: Any) -> Any:
    """A message from its bytes. Whatever foreign bytes make the decoder raise is their sender's failure."""
    try:
        return message_type.FromString(data)
    except Exception as error:
        raise GRPCError(Status.INTERNAL, f"malformed {message_type.__name__}: {error}"[:1000]) from error


@asynccontextmanager
async def open_server(
    path: str | os.PathLike[str],
    services: Collection[Any],
    *,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    grace: float = FLUSH_TIME,
) -> AsyncIterator[Server]:
    """A :class:`Server` that serves while the block lasts, with nurseries of its own.

    Leaving the block accepts nobody any more, gives calls ``grace`` seconds, and closes all connections. Raises OSError
    when the path cannot be bound.
    """
    with unwrapped():
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as calls:
                server = Server(Path(path), services, connections, calls, limits=limits)
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
