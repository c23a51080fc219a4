"""One connection of grpclib, held to :class:`Terms`: how long a message may be, who is at the other end, and how much
of our time they take.

grpclib buffers whatever a peer announces, up to 4 GiB, reads as fast as bytes come, and trips over some of them. That
is mended by small subclasses, down to the one method that matters each time; the rest is grpclib's own.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, TypeVar

from grpclib import GRPCError, Status
from grpclib.exceptions import StreamTerminatedError
from grpclib.protocol import Connection, EventsProcessor, H2Protocol
from grpclib.protocol import Stream as WireStream
from h2.events import Event as H2Event
from h2.events import StreamReset

from ..bounds import MESSAGE_SIZE
from ..model import Peer
from .peers import Door, OpenDoor, is_gone, peer_of

ACCEPT_TIME = 0.0005
"""Seconds that a new connection takes, about."""
READ_TIME = 0.005
"""Seconds that the bytes of one read may take, about."""
SHORTEST_READ, FIRST_READ, LONGEST_READ = 2**10, 2**15, 2**18
"""Bytes of one read; asyncio's own are the longest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a connection is held to: bytes of one message, and of the answer to one call, and who decides about its
    peer."""

    max_message_size: int = MESSAGE_SIZE
    max_answer_size: int = MESSAGE_SIZE
    door: Door = OpenDoor()


class _BoundedStream(WireStream):
    terms: Terms

    async def recv_data(self, size: int) -> bytes:
        if size > self.terms.max_message_size:
            self.terms.door.sent_too_much("message_size", size, self.terms.max_message_size)
            raise GRPCError(
                Status.RESOURCE_EXHAUSTED,
                f"message of {size} bytes is larger than the limit of {self.terms.max_message_size}",
            )
        return await super().recv_data(size)


class _BoundedConnection(Connection):
    terms: Terms

    def create_stream(self, *, stream_id: int | None = None, wrapper: Any = None) -> WireStream:
        if self.is_closing():  # grpclib would trip over the transport it has dropped
            raise StreamTerminatedError("the connection was closed")
        stream = _BoundedStream(self, self._connection, self._transport, stream_id=stream_id, wrapper=wrapper)
        stream.terms = self.terms
        return stream

    def flush(self) -> None:
        if not self.is_closing():
            super().flush()


class _Processor(EventsProcessor):
    """Ignores what comes behind the end of a connection, and frames that nobody knows (RFC 9113, 4.1); forgets a
    stream that was reset before its handler took its first step, which grpclib keeps."""

    def process_stream_reset(self, event: StreamReset) -> None:
        stream = self.streams.get(event.stream_id)
        task = getattr(self.handler, "_tasks", {}).get(stream)
        if task is not None:
            task.add_done_callback(lambda _: self.streams.pop(event.stream_id, None))
        super().process_stream_reset(event)

    def process(self, event: H2Event) -> None:
        if not self.connection.is_closing() and type(event) in self.processors:
            super().process(event)


class BoundedProtocol(H2Protocol):
    terms: Terms
    _transport: Any
    peer: Peer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._transport.max_size = FIRST_READ
        self.peer = peer_of(transport)
        super().connection_made(transport)
        bounded = _BoundedConnection(self.connection._connection, self.connection._transport, config=self.config)
        bounded.terms = self.terms
        self.connection = bounded
        self.processor = _Processor(self.handler, bounded)

    def data_received(self, data: bytes) -> None:
        """A frame of a few bytes takes as long as one of 16 kB, and whoever sends a lot of them has the manager's time.

        So no more is read at once than takes a few milliseconds, and a door may want the rest to wait.

        This is *the* place where a connection's failure stops: bytes that the libraries below cannot take are the
        failure of whoever sent them.
        """
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            events = self.connection.feed(data)
            self.connection.flush()
            for event in events:
                self.processor.process(event)
            self.connection.flush()
        except Exception as error:
            self.terms.door.sent_nonsense(self.peer, f"{type(error).__name__}: {error}"[:200])
            self.processor.close("what it sent cannot be read")
            return
        took = clock() - began
        fitting = int(len(data) * READ_TIME / took) if took > 0 else LONGEST_READ
        self._transport.max_size = min(max(fitting, SHORTEST_READ), LONGEST_READ)
        self._charge(took)

    def _charge(self, seconds: float) -> None:
        """The peer has taken so much of our time; if that was too much, it is not read for a moment."""
        if (pause := self.terms.door.spent(self.peer, seconds)) > 0 and not self._transport.is_closing():
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(pause, self._go_on)

    def _go_on(self) -> None:
        if self._transport.is_closing():
            return
        if is_gone(self.peer):  # what it sent before it died is not worth the time, nor the descriptor
            self._transport.abort()
        else:
            self._transport.resume_reading()


class GuardedProtocol(BoundedProtocol):
    """A server's side: who connects must be let in."""

    _is_guest = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._is_guest = self.terms.door.connected(self.peer)
        if self._is_guest:
            self._charge(ACCEPT_TIME)  # who connects anew has no first read for nothing
        else:
            transport.close()

    def connection_lost(self, error: BaseException | None) -> None:
        super().connection_lost(error)
        if self._is_guest:
            self.terms.door.disconnected(self.peer)
            self._is_guest = False


P = TypeVar("P", bound=BoundedProtocol)


def on_terms(kind: type[P], plain: H2Protocol, terms: Terms) -> P:
    protocol = kind(plain.handler, plain.config, plain.h2_config)
    protocol.terms = terms
    return protocol
