"""A call as its handler sees it: the interface of grpclib's server stream, which generated services use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import aclosing
from typing import Any

import trio
from grpclib import GRPCError, Status
from grpclib.const import Handler
from grpclib.metadata import Deadline, decode_metadata, decode_timeout, encode_grpc_message, encode_metadata
from h2.errors import ErrorCodes

from ...concurrency.task_descriptions import describes_task
from ...model import Peer
from ..wire_format import unicode_text
from .limits import PeerPolicy
from .stream import Stream, decoded

MAX_TEXT = 1000
"""Characters of an error's text. A peer may end a connection over longer headers."""
_HEADERS = (":status", "200"), ("content-type", "application/grpc")


class StreamClosingMixin:
    """Put before a generated service base, it closes a streaming method's generator as soon as its caller has gone.

    The generated code leaves that to the garbage collector, and Trio warns about it. The mixin works on grpclib's own
    server as well, so a service runs on both.
    """

    async def _call_rpc_handler_server_stream(self, handler: Callable[..., Any], stream: Any, request: Any) -> None:
        async with aclosing(handler(request)) as messages:
            async for message in messages:
                await stream.send_message(message)


class ServerCall:
    """The ``stream`` of a generated service, with grpclib's interface. A call that has ended cannot end again."""

    def __init__(self, stream: Stream, peer: Peer, policy: PeerPolicy) -> None:
        self.peer = peer
        self.method = ""
        self.metadata: Any = None
        self.deadline: Deadline | None = None
        self.began = trio.current_time()
        self.scope = stream.scope
        self._policy = policy
        self._stream = stream
        self._handler: Handler | None = None
        self._has_request = False
        self._headers_sent = False
        self._is_over = False

    def begin(self, methods: dict[str, Handler]) -> Handler:
        """Find the handler of the request. Raises GRPCError when there is none, or when it is malformed."""
        headers = self._stream.headers or ()
        fields = dict(headers)
        if fields.get(":method") != "POST" or not fields.get("content-type", "").startswith("application/grpc"):
            raise GRPCError(Status.INTERNAL, "this is no gRPC request")
        self.method = fields.get(":path", "")
        if (handler := methods.get(self.method)) is None:
            raise GRPCError(Status.UNIMPLEMENTED, _unknown(self.method[:200], methods))
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

    @property
    def method_name(self) -> str:
        """``Register``, say; until the request's headers are read, that there is one."""
        return self.method.rpartition("/")[2] or "request"

    async def recv_message(self) -> Any:
        """The next message of the request, or None at its end."""
        handler = self._require_handler()
        if (data := await self._stream.receive()) is None:
            self._stream.check_end()
            if not (handler.cardinality.client_streaming or self._has_request):
                raise GRPCError(Status.INTERNAL, "the request has no message")
            return None
        self._has_request = True
        return decoded(data, handler.request_type)

    async def send_initial_metadata(self, *, metadata: Any = None) -> None:
        self._send_headers(metadata, flush=True)

    @describes_task(waits_for="its caller to read the answer")
    async def send_message(self, message: Any) -> None:
        """Send a message of the answer. The only one of a unary call is sent together with its status."""
        is_stream = self._require_handler().cardinality.server_streaming
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
        """Send the status and forget the stream. Does nothing when the call has ended."""
        if self._is_over:
            return
        headers = [] if self._headers_sent else [*_HEADERS]
        headers.append(("grpc-status", str(status.value)))
        if message:
            headers.append(("grpc-message", encode_grpc_message(unicode_text(message[:MAX_TEXT]))))
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

    def _require_handler(self) -> Handler:
        assert self._handler is not None, "the call has not begun"
        return self._handler


def _unknown(method: str, methods: Iterable[str]) -> str:
    """grpc-go's text, which people search for; and the services there are, in case of another version."""
    service, _, name = method.removeprefix("/").rpartition("/")
    services = sorted({known.removeprefix("/").rpartition("/")[0] for known in methods})
    if service in services:
        return f"unknown method {name} for service {service}"
    return f"unknown service {service}; there is {', '.join(services)}"
