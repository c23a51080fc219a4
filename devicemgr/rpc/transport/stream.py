"""One call on the wire: headers, messages, trailers, in both directions.

Messages are the only thing that waits: a received one for its last byte, one that is sent for the peer's window and for
room in our buffer. Headers, trailers and resets never wait, so a task that is being cancelled can still send them.

Received bytes count against the peer's window until somebody takes them, or is waiting for them: then they are as good
as taken, and a message may be longer than the window. So a slow reader makes its peer wait.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Collection
from typing import TYPE_CHECKING

import trio
from grpclib import GRPCError, Status
from h2.errors import ErrorCodes
from trio.lowlevel import ParkingLot

if TYPE_CHECKING:
    from .connection import Connection

Headers = Collection[tuple[str, str]]

_PREFIX = struct.Struct(">BI")
"""In front of each message: whether it is compressed, and its size."""


class Stream:
    """Made by its :class:`Connection`. A failure of the stream is raised as GRPCError by whoever waits on it."""

    def __init__(self, connection: Connection, number: int, limit: int, headers: Headers | None = None) -> None:
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
        self._received = bytearray()
        self._wanted = _PREFIX.size
        """As many bytes must have come before there is something to do: the prefix of a message, then all of it."""
        self._taken_ahead = 0
        """So many of the received bytes count as taken already, because somebody waits for them."""
        self._is_awaited = False
        self._has_received = self._has_sent = False
        self._peer_ended = self._we_ended = False
        self._failure: tuple[Status, str] | None = None

    # --- what happens to it, told by the connection's reader ---------------------------------------

    def feed(self, data: bytes) -> None:
        received = self._received
        received += data
        if self._is_awaited:
            self._taken_ahead += len(data)
            self._connection.taken(self, len(data))
        if self._wanted == _PREFIX.size and len(received) >= _PREFIX.size:
            self._wanted += _PREFIX.unpack_from(received)[1]
        if len(received) >= self._wanted or self._wanted > self.limit:
            self.arrived.unpark_all()

    def begin(self, headers: Headers) -> None:
        """The peer's headers have come."""
        self.headers = headers
        self.arrived.unpark_all()

    def end(self) -> None:
        """The peer will send no more."""
        self._peer_ended = True
        self.arrived.unpark_all()

    def fail(self, status: Status, message: str) -> None:
        """Nothing will come any more, and nothing can be sent."""
        self._we_ended = True
        if not self._peer_ended or self.headers is None:
            self._failure = self._failure or (status, message)
        self.arrived.unpark_all()
        self.may_send.unpark_all()
        self.scope.cancel()

    @property
    def is_over(self) -> bool:
        return self._peer_ended and self._we_ended

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
        while not self._we_ended:
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
        while self.headers is None:
            if self._peer_ended:
                raise GRPCError(Status.INTERNAL, "the stream ended without headers")
            await self._wait(self.arrived)
        return self.headers

    async def receive(self) -> bytes | None:
        """The next message, or None at the end."""
        if self._has_received:  # when many have come, taking them one after the other is a loop that can be cancelled
            await trio.lowlevel.checkpoint()
            if not self._peer_ended and trio.current_time() >= self.deadline:
                raise GRPCError(Status.DEADLINE_EXCEEDED, "no answer in time")
        self._has_received = True
        while (message := self.take()) is None:
            if self._peer_ended:
                return None
            self._is_awaited = True
            self._connection.taken(self, len(self._received) - self._taken_ahead)
            self._taken_ahead = len(self._received)
            try:
                await self._wait(self.arrived)
            finally:
                self._is_awaited = False
        return message

    def check_end(self) -> None:
        """Raises GRPCError when the peer has ended the stream inside a message."""
        if self._received:
            raise GRPCError(Status.INTERNAL, "the stream ended inside a message")

    def take(self) -> bytes | None:
        """The next message if all of it has come; raises GRPCError when its prefix tells that it cannot be taken."""
        received, wanted = self._received, self._wanted
        if len(received) < _PREFIX.size:
            return None
        if received[0]:
            raise GRPCError(Status.UNIMPLEMENTED, "compressed messages are not supported")
        if (size := wanted - _PREFIX.size) > self.limit:
            raise self._connection.too_long(self, size)
        if len(received) < wanted:
            return None
        message = bytes(memoryview(received)[_PREFIX.size : wanted])
        del received[:wanted]
        self._connection.taken(self, max(wanted - self._taken_ahead, 0))
        self._taken_ahead = max(self._taken_ahead - wanted, 0)
        self._wanted = _PREFIX.size
        if len(received) >= _PREFIX.size:
            self._wanted += _PREFIX.unpack_from(received)[1]
        return message

    def close(self, code: ErrorCodes = ErrorCodes.CANCEL) -> None:
        """Forget the stream. If one side is not through with it, the peer is told by RST_STREAM, with ``code``."""
        self._connection.forget(self, len(self._received) - self._taken_ahead, None if self.is_over else code)
        self._we_ended = True
        self._received.clear()

    async def _wait(self, lot: ParkingLot) -> None:
        self._raise_failure()
        if self.deadline == math.inf:
            await lot.park()
        else:
            with trio.move_on_at(self.deadline) as scope:
                await lot.park()
            if scope.cancelled_caught:
                raise GRPCError(Status.DEADLINE_EXCEEDED, "no answer in time")
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise GRPCError(*self._failure)
