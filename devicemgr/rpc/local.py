"""grpclib's channel and server over unix sockets, with connections that are held to terms, and closing that closes.

A closed server of grpclib keeps its open connections, and its handlers swallow what they are given; see ``connections``
for what a single connection is held to.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from grpclib import GRPCError, Status
from grpclib.client import Channel
from grpclib.config import Configuration
from grpclib.encoding.proto import ProtoCodec
from grpclib.events import RecvRequest, listen
from grpclib.protocol import H2Protocol
from grpclib.server import Server

from ..errors import DeviceManagerError
from ..model import Peer
from .connections import BoundedProtocol, GuardedProtocol, Terms, on_terms

FLUSH_TIME = 0.2
"""Seconds an answer has to be sent when its server closes."""


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


# Pings are off on both sides: a grpc-go peer answers more than one in five minutes with GOAWAY.
_NO_PINGS = Configuration(_keepalive_time=None)


class LocalChannel(Channel):
    """A client connection over a unix socket that calls itself ``localhost``, as the kubelet does (API-10)."""

    def __init__(self, path: str, terms: Terms) -> None:
        super().__init__(path=path, codec=_Codec(terms), config=_NO_PINGS)
        self._authority = "localhost"
        self._terms = terms

    def _protocol_factory(self) -> H2Protocol:
        return on_terms(BoundedProtocol, super()._protocol_factory(), self._terms)

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
        guarded = on_terms(GuardedProtocol, super()._protocol_factory(), self._terms)
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
