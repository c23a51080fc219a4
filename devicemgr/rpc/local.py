"""grpclib's connections with two things added: a limit on the size of a message, and closing that closes.

grpclib buffers whatever a peer announces, up to 4 GiB, and a closed server keeps its open connections. Both are
mended by small subclasses, down to the one method that matters each time; the rest is grpclib's own.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from grpclib import GRPCError, Status
from grpclib.client import Channel
from grpclib.config import Configuration
from grpclib.encoding.proto import ProtoCodec
from grpclib.protocol import Connection, H2Protocol
from grpclib.protocol import Stream as WireStream
from grpclib.server import Server

from ..bounds import MESSAGE_SIZE

FLUSH_TIME = 0.2
"""Seconds an answer has to be sent when its server closes."""


class _Codec(ProtoCodec):
    """Bytes that are no such message are the sender's failure, with a status, and not an exception of ours."""

    def decode(self, data: bytes, message_type: Any) -> Any:
        try:
            return super().decode(data, message_type)
        except Exception as error:
            raise GRPCError(Status.INTERNAL, f"malformed {message_type.__name__}: {error}") from error


class _BoundedStream(WireStream):
    max_message_size = MESSAGE_SIZE

    async def recv_data(self, size: int) -> bytes:
        if size > self.max_message_size:
            raise GRPCError(
                Status.RESOURCE_EXHAUSTED,
                f"message of {size} bytes is larger than the limit of {self.max_message_size}",
            )
        return await super().recv_data(size)


class _BoundedConnection(Connection):
    max_message_size = MESSAGE_SIZE

    def create_stream(self, *, stream_id: int | None = None, wrapper: Any = None) -> WireStream:
        stream = _BoundedStream(self, self._connection, self._transport, stream_id=stream_id, wrapper=wrapper)
        stream.max_message_size = self.max_message_size
        return stream


class _BoundedProtocol(H2Protocol):
    max_message_size = MESSAGE_SIZE

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        bounded = _BoundedConnection(self.connection._connection, self.connection._transport, config=self.config)
        bounded.max_message_size = self.max_message_size
        self.connection = self.processor.connection = bounded


# Pings are off on both sides: a grpc-go peer answers more than one in five minutes with GOAWAY.
_NO_PINGS = Configuration(_keepalive_time=None)


class LocalChannel(Channel):
    """A client connection over a unix socket that calls itself ``localhost``, as the kubelet does (API-10)."""

    def __init__(self, path: str, max_message_size: int) -> None:
        super().__init__(path=path, codec=_Codec(), config=_NO_PINGS)
        self._authority = "localhost"
        self._max_message_size = max_message_size

    def _protocol_factory(self) -> H2Protocol:
        plain = super()._protocol_factory()
        bounded = _BoundedProtocol(plain.handler, plain.config, plain.h2_config)
        bounded.max_message_size = self._max_message_size
        return bounded


class LocalServer(Server):
    """A server that remembers its connections, so that closing it closes them."""

    def __init__(self, services: list[Any], max_message_size: int) -> None:
        super().__init__(services, codec=_Codec(), config=_NO_PINGS)
        self._max_message_size = max_message_size
        self._protocols: list[H2Protocol] = []
        self._accepting: asyncio.Server | None = None

    def _protocol_factory(self) -> H2Protocol:
        plain = super()._protocol_factory()
        bounded = _BoundedProtocol(plain.handler, plain.config, plain.h2_config)
        bounded.max_message_size = self._max_message_size
        self._protocols = [p for p in self._protocols if not _is_closed(p)]
        self._protocols.append(bounded)
        return bounded

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
