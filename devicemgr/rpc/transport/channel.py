"""The calling end: one connection, which is never replaced. When it is lost, every call on it is UNAVAILABLE.

To connect again, open another channel: then its peer is checked again. A :class:`Channel` has the one method that
generated stubs use, so ``DevicePluginStub(channel)`` works. A :class:`Call` is an ``async with`` block that has neither
a nursery nor a cancel scope, so an async generator may keep it open.
"""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, TypeVar

import trio
from grpclib import GRPCError, Status
from grpclib.const import Cardinality
from grpclib.metadata import Deadline, decode_grpc_message, decode_metadata, encode_metadata, encode_timeout

from ...concurrency.exception_groups import collapse_exception_group
from ...model import Peer
from ..wire_format import TooManyFields
from .connection import Connection
from .limits import ConnectionLimits
from .peer_credentials import peer_of
from .stream import Headers, Stream, decoded
from .unix_socket import closed_on_error, connect

S = TypeVar("S")

_STATUS_OF_HTTP = {
    "400": Status.INTERNAL,
    "401": Status.UNAUTHENTICATED,
    "403": Status.PERMISSION_DENIED,
    "404": Status.UNIMPLEMENTED,
    "429": Status.UNAVAILABLE,
    "502": Status.UNAVAILABLE,
    "503": Status.UNAVAILABLE,
    "504": Status.UNAVAILABLE,
}


class PeerNotAdmitted(Exception):
    """The policy does not admit the process that listens."""


@asynccontextmanager
async def open_channel(
    path: str | os.PathLike[str],
    *,
    limits: ConnectionLimits = ConnectionLimits(),  # noqa: B008 - frozen
    most_silent: float = math.inf,
) -> AsyncIterator[Channel]:
    """Connect to the unix socket at ``path``, or to a ``SocketFile``; leaving the block closes the connection.

    A server that is ``most_silent`` seconds without a sign of life is asked no more: its process is stopped, or hangs.
    Every call on the channel is DEADLINE_EXCEEDED then.

    Raises OSError at once when no process listens there, and PeerNotAdmitted when the policy refuses the one that does.
    """
    with closed_on_error(connect(path)) as sock:
        peer = peer_of(sock)
        if not limits.policy.admit(peer):
            raise PeerNotAdmitted(f"{path} is served by a process of user {peer.uid}, who may not serve it")
    connection = Connection(sock, peer, limits)
    with collapse_exception_group():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.run)
            if most_silent < math.inf:
                nursery.start_soon(_lose_when_silent, connection, most_silent)
            try:
                yield Channel(connection)
            finally:
                limits.policy.leave(peer)
                nursery.cancel_scope.cancel()


_PARTS = 5
"""A silence is measured in so many parts. If this program was stopped itself, that ends one of them, and the server has
the others to answer."""


async def _lose_when_silent(connection: Connection, seconds: float) -> None:
    silent_parts = 0
    while silent_parts < _PARTS:
        with trio.move_on_after(seconds / _PARTS) as waiting:
            try:
                await connection.ping()
            except GRPCError:  # it is lost
                return
        silent_parts = silent_parts + 1 if waiting.cancelled_caught else 0
        if not silent_parts:
            await trio.sleep(seconds / _PARTS)
    connection.lose_silent(seconds)


class Channel:
    """One connection to a server. Made by :func:`open_channel`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def peer(self) -> Peer:
        """The process that listens there."""
        return self._connection.peer

    @property
    def is_going_away(self) -> bool:
        """The server refuses new calls, but open ones go on (GOAWAY)."""
        return self._connection.is_going_away and self._connection.lost is None

    def stub(self, kind: Callable[[Any], S]) -> S:
        """A generated stub that calls through this channel. (Its annotations expect grpclib's channel.)"""
        return kind(self)

    async def ping(self) -> None:
        """Return when the server shows that it lives. Raises GRPCError."""
        await self._connection.ping()

    def close(self) -> None:
        """Close the connection, even if it is in use."""
        self._connection.close()

    def request(
        self,
        name: str,
        cardinality: Cardinality,
        request_type: type[Any],
        reply_type: type[Any],
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: Any = None,
    ) -> Call:
        """A call, which begins when its first message is sent. ``timeout`` is in seconds."""
        if timeout is None and deadline is not None:
            timeout = deadline.time_remaining()
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", name),
            (":authority", "localhost"),  # as the kubelet calls itself (API-10)
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "devicemgr"),
        ]
        if timeout is not None:
            headers.append(("grpc-timeout", encode_timeout(timeout)))
        if metadata:
            headers += encode_metadata(metadata)
        return Call(self._connection, cardinality, reply_type, headers, timeout)


class Call:
    """One call, as an ``async with`` block: the interface of grpclib's client stream.

    Leaving it early cancels the call; the connection stays usable. Every method raises GRPCError when the call has
    failed.
    """

    def __init__(
        self, connection: Connection, cardinality: Cardinality, reply_type: Any, headers: Headers, timeout: float | None
    ) -> None:
        self.initial_metadata: Any = None
        self.trailing_metadata: Any = None
        self._connection = connection
        self._cardinality = cardinality
        self._reply_type = reply_type
        self._headers = headers
        self._deadline = math.inf if timeout is None else trio.current_time() + timeout
        self._stream: Stream | None = None
        self._has_answer = self._is_over = False

    async def __aenter__(self) -> Call:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None and self._stream is not None and not self._cardinality.server_streaming:
                await self.recv_trailing_metadata()  # a unary call has succeeded only if its status is OK
        finally:
            if self._stream is not None:
                self._stream.close()

    async def send_request(self, *, end: bool = False) -> None:
        await self._begin(end=end)
        self._connection.flush()

    async def send_message(self, message: Any, *, end: bool = False) -> None:
        stream = self._stream or await self._begin()
        await stream.send(message.SerializeToString(), end=end or not self._cardinality.client_streaming)

    async def end(self) -> None:
        """The request has no more messages."""
        if self._stream is not None:
            self._stream.end_sending()

    async def cancel(self) -> None:
        if self._stream is not None:
            self._is_over = True
            self._stream.close()

    async def recv_initial_metadata(self) -> None:
        if self.initial_metadata is None:
            self._check_headers(await self._require_stream().receive_headers())

    async def recv_message(self) -> Any:
        """The next message, or None when the call has ended with status OK."""
        await self.recv_initial_metadata()
        if (data := await self._require_stream().receive()) is None:
            return self._end()
        if self._has_answer and not self._cardinality.server_streaming:
            raise GRPCError(Status.INTERNAL, "the answer has more than one message")
        self._has_answer = True
        if self._cardinality.server_streaming:
            return decoded(data, self._reply_type)
        try:
            return decoded(data, self._reply_type, self._connection.limits.answer_fields)
        except TooManyFields:
            raise self._connection.too_many_fields_error() from None

    def recv_message_nowait(self) -> Any:
        """The next message if it has arrived, else None."""
        data = self._require_stream().receive_nowait()
        return None if data is None else decoded(data, self._reply_type)

    async def recv_trailing_metadata(self) -> None:
        while not self._is_over:
            await self.recv_message()

    def __aiter__(self) -> Call:
        return self

    async def __anext__(self) -> Any:
        if (message := await self.recv_message()) is None:
            raise StopAsyncIteration
        return message

    async def _begin(self, *, end: bool = False) -> Stream:
        """Open the stream, once there are fewer calls than the limit."""
        while self._connection.is_full:
            with trio.move_on_at(self._deadline) as waiting:
                await self._connection.work_finished.park()
            if waiting.cancelled_caught:
                raise GRPCError(Status.DEADLINE_EXCEEDED, "too many calls at a time")
        limits = self._connection.limits
        limit = limits.message if self._cardinality.server_streaming else limits.answer
        self._stream = self._connection.open_stream(self._headers, limit, end=end)
        self._stream.deadline = self._deadline
        return self._stream

    def _require_stream(self) -> Stream:
        assert self._stream is not None, "nothing was sent"
        return self._stream

    def _check_headers(self, headers: Headers) -> None:
        fields = dict(headers)
        self.initial_metadata = _metadata(headers)
        if (status := fields.get(":status")) != "200":
            raise GRPCError(_STATUS_OF_HTTP.get(str(status), Status.UNKNOWN), f"HTTP status {status}")
        if not fields.get("content-type", "").startswith("application/grpc"):
            raise GRPCError(Status.UNKNOWN, f"the answer is no gRPC: content-type {fields.get('content-type')}")

    def _end(self) -> None:
        """Raises GRPCError unless the status is OK. An answer without a message has it in its headers."""
        self._is_over = True
        trailers = self._require_stream().trailers or self._require_stream().headers or ()
        fields = dict(trailers)
        self.trailing_metadata = _metadata(trailers)
        try:
            status = Status(int(fields["grpc-status"]))
        except KeyError:
            raise GRPCError(Status.UNKNOWN, "the call ended without a status") from None
        except ValueError:
            raise GRPCError(Status.UNKNOWN, f"there is no status {fields['grpc-status'][:50]!r}") from None
        if status is not Status.OK:
            text = fields.get("grpc-message")
            raise GRPCError(status, text if text is None else decode_grpc_message(text))
        self._require_stream().check_end()
        if not (self._has_answer or self._cardinality.server_streaming):
            raise GRPCError(Status.INTERNAL, "the answer has no message")


def _metadata(headers: Headers) -> Any:
    try:
        return decode_metadata(list(headers))
    except ValueError as error:
        raise GRPCError(Status.INTERNAL, f"malformed metadata: {error}") from error
