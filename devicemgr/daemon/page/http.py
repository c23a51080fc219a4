"""HTTP by Hypercorn's protocol, on connections that are ours.

Hypercorn's own server accepts any number of connections, speaks HTTP/2, and shields what it sends from cancellation, so
a browser that stops reading would keep the manager from stopping. Here connections are bounded in number
(``serving.clients``), a connection fails when its peer does not read in time, or when the server ends, and all together
have a share of the processor's time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState
from hypercorn.utils import parse_socket_addr
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from ...concurrency.task_descriptions import describes_task
from ...rpc.transport.metering import metered
from ..access.quotas import MAX_DEBT
from ..access.rate_limit import TokenBucket
from ..event_log import EventLog
from ..serving.clients import Client, Clients

MAX_CONNECTIONS = 64
IDLE_TIMEOUT = 30
"""Seconds in which a client must send its next request."""
SEND_TIMEOUT = 30.0
"""Seconds in which a client must read what it is sent."""
MAX_HEAD = 2**14
"""Bytes of a request without its body; so many are read at once."""
REQUEST_RATE, REQUEST_BURST = 100.0, 500
"""Requests a second, and in a burst, of all clients together. A page makes some twenty when it is opened, and one for
each move of a trace's slider."""
TIME_SHARE, TIME_BURST = 0.1, 0.5
"""The share of a processor for all clients together, and seconds of it at once: for reading what they send, and for
making what they get. Then they wait, and who follows the manager gets news less often."""


class _PeerFailed(Exception):
    """The peer's part of a request has failed."""


class _Http1(H11Protocol):
    """Without HTTP/2, which browsers speak over TLS only: there a reader can stop without a connection that stops, and
    a frame of a few bytes begins a request."""

    async def _check_protocol(self, event: Any) -> None:
        """An offer of HTTP/2 is ignored."""


class _Connection:
    """A client's connection as Hypercorn's protocol uses it. ``turn`` returns when the clients may use time again."""

    def __init__(self, client: Client, turn: Callable[[], Any]) -> None:
        self._stream = client.stream
        self._turn = turn
        self._sending = trio.Lock()
        self._while_in_time = trio.CancelScope(deadline=trio.current_time() + IDLE_TIMEOUT)

    async def serve(
        self, app: AppWrapper, config: Config, on_data: Callable[[], None], charge: Callable[[float], None]
    ) -> None:
        """Until the client leaves, or sends no request in time."""
        sock = self._stream.socket
        client, server = (parse_socket_addr(sock.family, name) for name in (sock.getpeername(), sock.getsockname()))
        context, state = WorkerContext(None), ConnectionState({})
        async with TaskGroup() as tasks:
            protocol = _Http1(app, config, context, tasks, state, False, client, server, self._send)
            data = b"not empty"
            with self._while_in_time:
                while data:
                    data = await self._receive()
                    on_data()
                    await metered(protocol.handle(RawData(data)), charge)
            await protocol.handle(Closed())

    @describes_task(waits_for="a request, or that the client leaves")
    async def _receive(self) -> bytes:
        await self._turn()
        return bytes(await self._stream.receive_some(MAX_HEAD))

    async def _send(self, event: Event) -> None:
        match event:
            case RawData(data=data):
                await self._send_all(data)
            case Updated(idle=idle):
                self._while_in_time.deadline = trio.current_time() + IDLE_TIMEOUT if idle else float("inf")
            case Closed():
                await self._stream.aclose()

    @describes_task(waits_for="the client to read")
    async def _send_all(self, data: bytes) -> None:
        """Raises BrokenResourceError."""
        async with self._sending:
            try:
                with trio.fail_after(SEND_TIMEOUT):
                    await self._stream.send_all(data)
            except trio.TooSlowError:
                raise trio.BrokenResourceError("the client has stopped reading") from None


class HttpServer:
    """Serves an ASGI application until cancelled. A bug of the application is raised here, as everywhere; a request
    that fails because of its peer ends, and nothing else does."""

    def __init__(self, app: ASGIApp, log: EventLog, *, time_share: float | None = None) -> None:
        """All clients together may take ``time_share`` of a processor, by default ``TIME_SHARE``."""
        self._app = app
        self._clients = Clients(MAX_CONNECTIONS, "page-connections", "the page", log)
        self._requests = TokenBucket(REQUEST_RATE, REQUEST_BURST)
        self._seconds = TokenBucket(TIME_SHARE if time_share is None else time_share, TIME_BURST)
        self._config = Config()
        self._config.errorlog = None
        self._config.include_server_header = False
        self._config.h11_max_incomplete_size = MAX_HEAD
        self._bugs, self._next_bug = trio.open_memory_channel[Exception](1)

    async def serve(self, listeners: Sequence[trio.SocketListener]) -> None:
        """Until cancelled. Raises what the application raises."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._raise_bugs)
            await self._clients.serve(listeners, self._serve)

    @describes_task(name="bugs of the page", waits_for="a bug to raise")
    async def _raise_bugs(self) -> None:
        raise await self._next_bug.receive()

    # A fault may freeze Trio's clock, and the page is where somebody wants to let it run again.

    def _charge(self, seconds: float) -> None:
        self._seconds.spend(seconds, now=monotonic(), max_debt=MAX_DEBT)

    async def _turn(self) -> None:
        await trio.sleep(self._seconds.debt(now=monotonic()))

    @describes_task(waits_for="a request")
    async def _serve(self, client: Client) -> None:
        connection, app = _Connection(client, self._turn), ASGIWrapper(self._watched)
        try:
            await connection.serve(app, self._config, lambda: self._clients.sent_request(client), self._charge)
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
            if event.get("more_body"):  # of a stream, the next part is made when there is time
                await self._turn()

        answering: Any = self._app(scope, received, sending)
        try:
            await metered(answering, self._charge)
        except* (_PeerFailed, ClientDisconnect):
            pass
        except* Exception as bugs:
            with suppress(trio.WouldBlock):  # the first one is enough
                self._bugs.send_nowait(bugs)
            raise
