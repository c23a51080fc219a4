"""HTTP by Hypercorn, on connections that are ours.

Hypercorn's own loop accepts any number of connections, and it shields what it sends from cancellation, so a browser
that stops reading would keep the manager from stopping. Here connections are bounded in number (``serving.clients``),
and a stream fails when its peer does not read in time, or when the server ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from starlette.types import ASGIApp

from ...task_descriptions import describes_task
from ..access.rate_limit import TokenBucket
from ..event_log import EventLog
from ..serving.clients import Client, Clients

MAX_CONNECTIONS = 64
IDLE_TIMEOUT = 30
"""Seconds in which a client must send its next request."""
SEND_TIMEOUT = 30.0
"""Seconds in which a client must read what it is sent."""
MAX_HEAD = 2**14
"""Bytes of a request without its body."""
REQUEST_RATE, REQUEST_BURST = 100.0, 500
"""Requests a second, and in a burst, of all clients together; so many reads, too. A page makes five when it is opened,
and one for each move of a trace's slider."""


class _PeerFailed(Exception):
    """The peer's part of a request has failed."""


class Stream:
    """A client's connection as Hypercorn uses it."""

    def __init__(self, client: Client, clients: Clients, reads: TokenBucket) -> None:
        self.socket = client.stream.socket
        self._client = client
        self._clients = clients
        self._reads = reads

    @describes_task(waits_for="a request, or that the client leaves")
    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self._client.stream.receive_some(max_bytes)
        self._clients.sent_request(self._client)
        await trio.sleep(self._reads.reserve(now=trio.current_time()))
        return data

    @describes_task(waits_for="the client to read")
    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            with trio.fail_after(SEND_TIMEOUT):
                await self._client.stream.send_all(data)
        except trio.TooSlowError:
            raise trio.BrokenResourceError("the client has stopped reading") from None

    async def send_eof(self) -> None:
        await self._client.stream.send_eof()

    async def aclose(self) -> None:
        await self._client.stream.aclose()


class HttpServer:
    """Serves an ASGI application until cancelled. A bug of the application is raised here, as everywhere; a request
    that fails because of its peer ends, and nothing else does."""

    def __init__(self, app: ASGIApp, log: EventLog) -> None:
        self._app = app
        self._clients = Clients(MAX_CONNECTIONS, "page-connections", "the page", log)
        self._reads = TokenBucket(REQUEST_RATE, REQUEST_BURST)
        self._requests = TokenBucket(REQUEST_RATE, REQUEST_BURST)
        self._config = Config()
        self._config.errorlog = None
        self._config.include_server_header = False
        self._config.keep_alive_timeout = IDLE_TIMEOUT
        self._config.h11_max_incomplete_size = MAX_HEAD
        self._config.h2_max_concurrent_streams = 8
        self._context = WorkerContext(None)
        self._bugs, self._next_bug = trio.open_memory_channel[Exception](1)

    async def serve(self, listeners: Sequence[trio.SocketListener]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._raise_bugs)
            await self._clients.serve(listeners, self._serve)

    @describes_task(name="bugs of the page", waits_for="a bug to raise")
    async def _raise_bugs(self) -> None:
        raise await self._next_bug.receive()

    @describes_task(waits_for="a request")
    async def _serve(self, client: Client) -> None:
        stream: Any = Stream(client, self._clients, self._reads)
        server = TCPServer(ASGIWrapper(self._watched), self._config, self._context, ConnectionState({}), stream)
        try:
            await server.run()
        except Exception:
            # Not a bug of ours, since those have another way: what the peer sent was too much for Hypercorn, or it
            # went away in the middle.
            return

    @describes_task(name="request")
    async def _watched(self, scope: Any, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        """The application, in its turn; Hypercorn only logs its failures."""
        await trio.sleep(self._requests.reserve(now=trio.current_time()))

        async def received() -> Any:
            try:
                return await receive()
            except Exception as error:
                raise _PeerFailed from error

        async def sending(event: Any) -> None:
            try:
                await send(event)
            except Exception as error:
                raise _PeerFailed from error

        try:
            await self._app(scope, received, sending)
        except* _PeerFailed:
            pass
        except* Exception as bugs:
            with suppress(trio.WouldBlock):  # the first one is enough
                self._bugs.send_nowait(bugs)
            raise
