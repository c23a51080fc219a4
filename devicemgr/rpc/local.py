"""grpclib's connections with three things added: a limit on the size of a message, a door, and closing that closes.

grpclib buffers whatever a peer announces, up to 4 GiB, and a closed server keeps its open connections. Both are
mended by small subclasses, down to the one method that matters each time; the rest is grpclib's own.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from grpclib import GRPCError, Status
from grpclib.client import Channel
from grpclib.config import Configuration
from grpclib.encoding.proto import ProtoCodec
from grpclib.events import RecvRequest, listen
from grpclib.exceptions import StreamTerminatedError
from grpclib.protocol import Connection, EventsProcessor, H2Protocol
from grpclib.protocol import Stream as WireStream
from grpclib.server import Server
from h2.events import Event as H2Event
from h2.events import StreamReset

from ..bounds import MESSAGE_SIZE
from ..errors import DeviceManagerError
from ..model import Peer
from .peers import Door, OpenDoor, is_gone, peer_of

ACCEPT_TIME = 0.0005
"""Seconds that a new connection takes, about."""
READ_TIME = 0.005
"""Seconds that the bytes of one read may take, about."""
SHORTEST_READ, FIRST_READ, LONGEST_READ = 2**10, 2**15, 2**18
"""Bytes of one read; asyncio's own are the longest."""
FLUSH_TIME = 0.2
"""Seconds an answer has to be sent when its server closes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a connection is held to: bytes of one message, and of the answer to one call, and who decides about its
    peer."""

    max_message_size: int = MESSAGE_SIZE
    max_answer_size: int = MESSAGE_SIZE
    door: Door = OpenDoor()


class _Codec(ProtoCodec):
    """Bytes that are no such message are the sender's failure, with a status, and not an exception of ours.

    To decode takes up to 10 µs a byte, and nothing else can happen meanwhile. So what is decoded here has a limit of
    its own; the lists of a stream come through as they are (``device_list``).
    """

    def __init__(self, terms: Terms) -> None:
        self._terms = terms

    def decode(self, data: bytes, message_type: Any) -> Any:
        limit = self._terms.max_answer_size
        if len(data) > limit and hasattr(message_type, "parse"):
            self._terms.door.sent_too_much("answer_size", len(data), limit)
            raise GRPCError(Status.RESOURCE_EXHAUSTED, f"an answer of {len(data)} bytes; {limit} are the limit")
        try:
            return super().decode(data, message_type)
        except Exception as error:
            raise GRPCError(Status.INTERNAL, f"malformed {message_type.__name__}: {error}") from error


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


class _BoundedProtocol(H2Protocol):
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


class _GuardedProtocol(_BoundedProtocol):
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


P = TypeVar("P", bound=_BoundedProtocol)


def _on_terms(kind: type[P], plain: H2Protocol, terms: Terms) -> P:
    protocol = kind(plain.handler, plain.config, plain.h2_config)
    protocol.terms = terms
    return protocol


# Pings are off on both sides: a grpc-go peer answers more than one in five minutes with GOAWAY.
_NO_PINGS = Configuration(_keepalive_time=None)


class LocalChannel(Channel):
    """A client connection over a unix socket that calls itself ``localhost``, as the kubelet does (API-10)."""

    def __init__(self, path: str, terms: Terms) -> None:
        super().__init__(path=path, codec=_Codec(terms), config=_NO_PINGS)
        self._authority = "localhost"
        self._terms = terms

    def _protocol_factory(self) -> H2Protocol:
        return _on_terms(_BoundedProtocol, super()._protocol_factory(), self._terms)

    async def connect(self) -> Peer:
        """Returns who listens. Raises OSError."""
        protocol: Any = await self.__connect__()
        peer: Peer = protocol.peer
        return peer


_Method = Callable[[Any], Coroutine[Any, Any, None]]


class LocalServer(Server):
    """A server that remembers its connections, so that closing it closes them."""

    __gc_interval__ = 1  # closed ones are forgotten at the next, not at the tenth

    def __init__(self, services: list[Any], terms: Terms) -> None:
        super().__init__(services, codec=_Codec(terms), config=_NO_PINGS)
        self._terms = terms
        listen(self, RecvRequest, self._check_caller)
        self._protocols: list[H2Protocol] = []
        self._accepting: asyncio.Server | None = None

    def _protocol_factory(self) -> H2Protocol:
        guarded = _on_terms(_GuardedProtocol, super()._protocol_factory(), self._terms)
        self._protocols = [p for p in self._protocols if not _is_closed(p)]
        self._protocols.append(guarded)
        return guarded

    async def _check_caller(self, event: RecvRequest) -> None:
        """Before anything of the call is read."""
        peer: Peer = event.peer._transport.get_protocol().peer  # type: ignore[attr-defined]
        try:
            pause = self._terms.door.called(peer, event.method_name)
        except DeviceManagerError as error:
            raise GRPCError(Status[error.status], str(error)) from error
        if pause:
            await asyncio.sleep(pause)
        if not self._terms.door.is_hurried:
            charged: Any = self._charged(event.method_func, event.method_name, peer)
            event.method_func = charged

    def _charged(self, method: _Method, name: str, peer: Peer) -> _Method:
        """A door may want to know how long an answer took."""

        async def timed(stream: Any) -> None:
            clock = asyncio.get_running_loop().time
            began = clock()
            try:
                await method(stream)
            finally:
                self._terms.door.answered(peer, name, clock() - began)

        return timed

    async def listen(self, listener: socket.socket) -> None:
        """Accept on ``listener``; may be called again when an earlier socket was lost."""
        await self._close_listener()
        self._accepting = await asyncio.get_running_loop().create_unix_server(self._protocol_factory, sock=listener)

    def stop_listening(self) -> None:
        """Accept nobody any more. The socket itself is closed a moment later, in :meth:`close_connections`: asyncio
        loses a connection, descriptor and all, that was accepted just before its server closed (cpython #109564)."""
        if self._accepting is not None:
            for listener in self._accepting.sockets:
                self._accepting.get_loop().remove_reader(listener.fileno())

    async def _close_listener(self) -> None:
        if self._accepting is not None:
            self.stop_listening()
            await _turns()  # who was accepted a moment ago has no connection yet
            self._accepting.close()

    async def close_connections(self) -> None:
        """Let answers that are being sent go out, for a moment, then close every connection."""
        sending = [task for handler in self._handlers for task in handler._tasks.values() if not task.done()]
        if sending:
            await asyncio.wait(sending, timeout=FLUSH_TIME)
        await self._close_listener()
        open_ones = [p for p in self._protocols if hasattr(p, "processor") and not _is_closed(p)]
        transports = [protocol.connection._transport for protocol in open_ones]
        for protocol in open_ones:
            protocol.processor.close("server closed")
        if any(transport.get_write_buffer_size() for transport in transports):
            await asyncio.sleep(FLUSH_TIME)
        for transport in transports:  # a peer that does not read would keep it open for ever
            transport.abort()
        await _turns()


async def _turns() -> None:
    """asyncio takes three turns of its loop from accept to a connection, and two from close to a closed socket."""
    for _ in range(3):
        await asyncio.sleep(0)


def _is_closed(protocol: H2Protocol) -> bool:
    return hasattr(protocol, "connection") and protocol.connection.is_closing()
