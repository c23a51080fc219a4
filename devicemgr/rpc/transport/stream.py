"""One call on the wire: headers, messages, trailers, in both directions.

Messages are the only thing that waits: a received one for its last byte, one that is sent for the peer's window and for
room in our buffer. Headers, trailers and resets never wait, so a task that is being cancelled can still send them.

Received bytes count against the peer's window until somebody takes them, or is waiting for them: then they are as good
as taken, and a message may be longer than the window. So a slow reader makes its peer wait.
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
"""In front of each message: whether it is compressed, and its size."""


class StreamTransport(Protocol):
    """What a stream needs of its connection; only :mod:`.connection` is one. None of it waits."""

    def send_headers(self, stream: Stream, headers: Headers, *, end: bool) -> None: ...
    def send_data(self, stream: Stream, data: memoryview, *, end: bool) -> None: ...
    def end_stream(self, stream: Stream) -> None: ...
    def flush(self) -> None: ...
    def room_for(self, stream: Stream) -> int: ...
    def acknowledge(self, stream: Stream, size: int) -> None: ...
    def too_long_error(self, stream: Stream, size: int) -> GRPCError: ...
    def close_stream(self, stream: Stream, unread: int, reset: ErrorCodes | None) -> None: ...


class Stream:
    """Made by its connection. A failure of the stream is raised as GRPCError by whoever waits on it."""

    def __init__(self, connection: StreamTransport, number: int, limit: int, headers: Headers | None = None) -> None:
        self.number = number
        self.limit = limit
        """Bytes that a received message may have."""
        self.headers = headers
        self.trailers: Headers | None = None
        self.deadline = math.inf
        self.scope = trio.CancelScope()
        """A server runs its handler in it: cancelled when nobody waits for the answer any more."""
        self.arrived = ParkingLot()
        self.may_send = ParkingLot()
        self.unacknowledged = 0
        """Bytes that were taken, and of which the peer does not know yet."""
        self._connection = connection
        self._is_ours = headers is None
        self._received: deque[bytes] = deque()
        self._size = 0
        """Bytes of what was received, together."""
        self._expected: int | None = None
        """Bytes of the next message, when its prefix has come."""
        self._is_compressed = False
        self._acknowledged_ahead = 0
        """So many of the received bytes count as taken already, because somebody waits for them."""
        self._is_awaited = False
        self._has_received = self._has_sent = False
        self._peer_ended = self._we_ended = False
        self._failure: tuple[Status, str] | None = None

    # --- what happens to it, told by the connection's reader ---------------------------------------

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
        """The peer's headers have come."""
        self.headers = headers
        self.arrived.unpark_all()

    def end(self) -> None:
        """The peer will send no more."""
        self._peer_ended = True
        self.arrived.unpark_all()
        self.may_send.unpark_all()

    def fail(self, status: Status, message: str) -> None:
        """Nothing will come any more, and nothing can be sent."""
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
        """The server has ended our call: whatever we have not sent yet, it does not want."""
        return self._is_ours and self._peer_ended

    @property
    def unread_size(self) -> int:
        """Received bytes that still count against the connection's window."""
        return self._size - self._acknowledged_ahead

    # --- what its task does with it ----------------------------------------------------------------

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
        """Send one message, as fast as the peer takes it; without ``flush`` its last bytes go out with what follows."""
        if self._has_sent:  # the first one often is the only one; a loop that sends can be cancelled
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
        """h2 lets nothing come before them, nor the end."""
        while self.headers is None:
            await self._wait(self.arrived)
        return self.headers

    async def receive(self) -> bytes | None:
        """The next message, or None at the end."""
        if self._has_received:  # when many have added, taking them one after the other is a loop that can be cancelled
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
        """The next message if all of it has come; raises GRPCError when its prefix tells that it cannot be taken."""
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
        """Forget the stream. If one side is not through with it, the peer is told by RST_STREAM, with ``code``."""
        self._connection.close_stream(self, self.unread_size, None if self.is_over else code)
        self._we_ended = True
        self._received.clear()

    async def _wait(self, lot: ParkingLot) -> None:
        """Until it is worth looking again; what has come counts, also when the stream has failed since."""
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
    """A message from its bytes. Whatever foreign bytes make the decoder raise is their sender's failure.

    Raises TooManyFields before it decodes more than so many.
    """
    try:
        check_message(message_type, data, max_fields)
        return message_type.FromString(data)
    except TooManyFields:
        raise
    except Exception as error:
        raise GRPCError(Status.INTERNAL, f"malformed {message_type.__name__}: {error}"[:1000]) from error
