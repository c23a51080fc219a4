"""One call on the wire: headers, messages, trailers, in both directions.

Only messages wait: a received one for its last byte, and one that is sent for the peer's window and for room in our
buffer. Headers, trailers and resets never wait, so a task that is being cancelled can still send them.

Received bytes count against the peer's window until they are taken, so a slow reader makes its peer wait. While a task
waits for a message, its bytes count as taken when they arrive, so a message may be longer than the window.
"""

from __future__ import annotations

import math
import struct
import sys
from collections import deque
from collections.abc import Collection
from typing import Any, Protocol

import trio
from grpclib import GRPCError, Status
from h2.errors import ErrorCodes
from trio.lowlevel import ParkingLot

from ..wire_format import TooManyFields, check_message

Headers = Collection[tuple[str, str]]

_PREFIX = struct.Struct(">BI")
"""Before each message: whether it is compressed, and its size."""


class StreamTransport(Protocol):
    """What a stream needs of its :class:`~.connection.Connection`. None of these methods waits."""

    def send_headers(self, stream: Stream, headers: Headers, *, end: bool) -> None: ...
    def send_data(self, stream: Stream, data: memoryview, *, end: bool) -> None: ...
    def end_stream(self, stream: Stream) -> None: ...
    def flush(self) -> None: ...
    def room_for(self, stream: Stream) -> int: ...
    def acknowledge(self, stream: Stream, size: int) -> None: ...
    def too_long_error(self, stream: Stream, size: int) -> GRPCError: ...
    def close_stream(self, stream: Stream, unread: int, reset: ErrorCodes | None) -> None: ...


class Stream:
    """Made by its connection. When the stream fails, the methods that wait raise GRPCError."""

    def __init__(self, connection: StreamTransport, number: int, limit: int, headers: Headers | None = None) -> None:
        self.number = number
        self.limit = limit
        """Bytes of a received message, at most."""
        self.headers = headers
        self.trailers: Headers | None = None
        self.deadline = math.inf
        self.scope = trio.CancelScope()
        """A server's handler runs in it. It is cancelled when the stream fails."""
        self.arrived = ParkingLot()
        self.may_send = ParkingLot()
        self.unacknowledged = 0
        """Bytes that were taken, and not acknowledged to the peer yet."""
        self._connection = connection
        self._is_ours = headers is None
        self._received: deque[bytes] = deque()
        self._size = 0
        """Bytes in ``_received``."""
        self._expected: int | None = None
        """Bytes of the next message, when its prefix has arrived."""
        self._is_compressed = False
        self._acknowledged_ahead = 0
        """Received bytes that count as taken already, because a task waits for them."""
        self._is_awaited = False
        self._has_received = self._has_sent = False
        self._peer_ended = self._we_ended = False
        self._failure: tuple[Status, str] | None = None

    # --- called by the connection's reader ---

    def feed(self, data: bytes) -> None:
        self._received.append(data)
        self._size += len(data)
        if self._is_awaited:
            self._acknowledged_ahead += len(data)
            self._connection.acknowledge(self, len(data))
        self._read_prefix()
        if self._expected is not None and (self._size >= self._expected or self._expected > self.limit):
            self.arrived.unpark_all()

    def begin(self, headers: Headers) -> None:
        """The peer's headers have arrived."""
        self.headers = headers
        self.arrived.unpark_all()

    def end(self) -> None:
        """The peer will send no more."""
        self._peer_ended = True
        self.arrived.unpark_all()
        self.may_send.unpark_all()

    def fail(self, status: Status, message: str) -> None:
        """Nothing can be received or sent any more."""
        self._we_ended = True
        if not self._peer_ended:
            self._failure = self._failure or (status, message)
        self.arrived.unpark_all()
        self.may_send.unpark_all()
        self.scope.cancel()

    @property
    def is_over(self) -> bool:
        return self._peer_ended and self._we_ended

    @property
    def _is_answered(self) -> bool:
        """Whether the server has ended our call, and ignores what we have not sent yet."""
        return self._is_ours and self._peer_ended

    @property
    def unread_size(self) -> int:
        """Received bytes that still count against the window."""
        return self._size - self._acknowledged_ahead

    # --- called by the task whose call it is ---

    def send_headers(self, headers: Headers, *, end: bool = False, flush: bool = True) -> None:
        if not self._we_ended:
            self._we_ended = end
            self._connection.send_headers(self, headers, end=end)
            if flush:
                self._connection.flush()

    def end_sending(self) -> None:
        if not self._we_ended:
            self._we_ended = True
            self._connection.end_stream(self)

    async def send(self, message: bytes, *, end: bool = False, flush: bool = True) -> None:
        """Send one message, as fast as the peer takes it. Without ``flush`` its end is sent with what follows."""
        if self._has_sent:  # the first message is often the only one; a loop that sends must be cancellable
            await trio.lowlevel.checkpoint()
        self._has_sent = True
        data, at = memoryview(_PREFIX.pack(0, len(message)) + message), 0
        while not (self._we_ended or self._is_answered):
            size = min(len(data) - at, self._connection.room_for(self))
            if size > 0:
                at += size
                is_last = at == len(data)
                self._we_ended = end and is_last
                self._connection.send_data(self, data[at - size : at], end=self._we_ended)
                if is_last:
                    if flush:
                        self._connection.flush()
                    return
            else:
                self._connection.flush()
                if self._connection.room_for(self) <= 0:
                    await self._wait(self.may_send)
        self._raise_failure()

    async def receive_headers(self) -> Headers:
        """They arrive first: h2 ensures that."""
        while self.headers is None:
            await self._wait(self.arrived)
        return self.headers

    async def receive(self) -> bytes | None:
        """The next message, or None at the end."""
        # When many have arrived, taking one after another is a loop that can be cancelled.
        if self._has_received and self._expected is not None:
            await trio.lowlevel.checkpoint()
            if not self._peer_ended and trio.current_time() >= self.deadline:
                raise GRPCError(Status.DEADLINE_EXCEEDED, "no answer in time")
        self._has_received = True
        while (message := self.receive_nowait()) is None:
            if self._peer_ended:
                return None
            self._is_awaited = True
            self._connection.acknowledge(self, self._size - self._acknowledged_ahead)
            self._acknowledged_ahead = self._size
            try:
                await self._wait(self.arrived)
            finally:
                self._is_awaited = False
        return message

    def check_end(self) -> None:
        """Raises GRPCError when the peer has ended the stream inside a message."""
        if self._size or self._expected is not None:
            raise GRPCError(Status.INTERNAL, "the stream ended inside a message")

    def receive_nowait(self) -> bytes | None:
        """The next message if all of it has arrived, else None. Raises GRPCError when its prefix is refused."""
        if (size := self._expected) is None:
            return None
        if self._is_compressed:
            raise GRPCError(Status.UNIMPLEMENTED, "compressed messages are not supported")
        if size > self.limit:
            raise self._connection.too_long_error(self, size)
        if self._size < size:
            return None
        message = self._pull(size)
        self._expected = None
        self._read_prefix()
        return message

    def _read_prefix(self) -> None:
        if self._expected is None and self._size >= _PREFIX.size:
            self._is_compressed, self._expected = _PREFIX.unpack(self._pull(_PREFIX.size))

    def _pull(self, size: int) -> bytes:
        """So many of the received bytes, which have added, and are taken now."""
        parts, left = [], size
        while left:
            part = self._received.popleft()
            if len(part) > left:
                self._received.appendleft(part[left:])
                part = part[:left]
            parts.append(part)
            left -= len(part)
        self._size -= size
        ahead = min(size, self._acknowledged_ahead)
        self._acknowledged_ahead -= ahead
        self._connection.acknowledge(self, size - ahead)
        return b"".join(parts)

    def close(self, code: ErrorCodes = ErrorCodes.CANCEL) -> None:
        """Forget the stream; send RST_STREAM with ``code`` unless both ends have ended it."""
        self._connection.close_stream(self, self.unread_size, None if self.is_over else code)
        self._we_ended = True
        self._received.clear()

    async def _wait(self, lot: ParkingLot) -> None:
        """Wait until something has changed. What has arrived before a failure can still be taken."""
        self._raise_failure()
        if self.deadline == math.inf:
            await lot.park()
        else:
            with trio.move_on_at(self.deadline) as scope:
                await lot.park()
            if scope.cancelled_caught:
                raise GRPCError(Status.DEADLINE_EXCEEDED, "no answer in time")

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise GRPCError(*self._failure)


def decoded(data: bytes, message_type: Any, max_fields: int = sys.maxsize) -> Any:
    """Decode a message. Whatever the decoder raises becomes a GRPCError: the sender is to blame.

    Raises TooManyFields, before decoding, when it has more than ``max_fields``.
    """
    try:
        check_message(message_type, data, max_fields)
        return message_type.FromString(data)
    except TooManyFields:
        raise
    except Exception as error:
        raise GRPCError(Status.INTERNAL, f"malformed {message_type.__name__}: {error}"[:1000]) from error
