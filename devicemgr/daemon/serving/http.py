"""A small HTTP server for ``/metrics`` and ``/healthz``: h11 does HTTP, and Trio reads and writes.

Anybody on the network may connect, and clients cannot be told apart reliably: on loopback all users of the machine have
one address. So all clients together have one share of the manager's time, as a single process has on our sockets, and
are served in turns. When there are too many connections, one of the address that has most is closed: the one whose last
request is the longest ago. So a client that sends its request at once is served, however many idle connections there
are. A client that keeps opening connections can keep others from the metrics, and from nothing else.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import h11
import trio

from ...errors import AddressUnusable
from ...peer_limits import PeerLimits
from ...rpc.transport.accepting import pause_after
from ...rpc.transport.metering import metered
from ..access.quotas import MAX_DEBT
from ..access.rate_limit import TokenBucket
from ..access.reports import PeerReports
from ..event_log import EventLog

IDLE_TIMEOUT = 30.0
"""Seconds in which a client must send its next request."""
SEND_TIMEOUT = 30.0
"""Seconds in which a client must receive the response."""
PAGE_LIFETIME = 1.0
"""Seconds for which all clients get the same page."""
_ACCEPT_RATE, _ACCEPT_BURST = 100.0, 1000
"""Connections a second, and in a burst. An idle connection costs so little that the limits can be high."""
_RECEIVE_SIZE = 4096
_SEND_BUFFER = 2**17
"""Bytes of a response that the kernel buffers. The rest is the page, which all responses share."""


@dataclass(frozen=True, slots=True)
class Page:
    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


MakePage = Callable[[], Awaitable[Page]]
Pages = Mapping[str, MakePage]
"""By path, the function that makes the page."""


def cached(make: MakePage) -> MakePage:
    """Make the page once a second at most. For one caller at a time."""
    page, stale_at = Page(503, b""), float("-inf")

    async def give() -> Page:
        nonlocal page, stale_at
        if trio.current_time() >= stale_at:
            page = await make()
            stale_at = trio.current_time() + PAGE_LIFETIME
        return page

    return give


async def open_listeners(host: str, port: int) -> list[trio.SocketListener]:
    """Bind; port 0 is any free port, and an empty host every address of the machine. Raises AddressUnusable."""
    try:
        listeners = await trio.open_tcp_listeners(port, host=host or None)
    except OSError as error:
        raise AddressUnusable(f"cannot serve on {host}:{port}: {error.strerror or error}") from error
    for listener in listeners:  # what is accepted inherits it
        listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    return listeners


@dataclass(eq=False, slots=True)
class _Client:
    """A connection; ``scope`` ends it."""

    stream: trio.SocketStream
    address: str
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class PageServer:
    """Serves pages to all clients, within the peer limits ``scrapers``, ``time_share`` and ``time_burst``."""

    def __init__(self, pages: Pages, peer_limits: PeerLimits, log: EventLog) -> None:
        self._pages = pages
        self._max_clients = peer_limits.scrapers
        self._seconds = TokenBucket(peer_limits.time_share, peer_limits.time_burst)
        self._accepts = TokenBucket(_ACCEPT_RATE, _ACCEPT_BURST)
        self._queue = trio.Lock()
        self._clients: dict[_Client, None] = {}
        """Ordered by their last request, the oldest first."""
        self._reports = PeerReports(log)

    async def serve(self, listeners: list[trio.SocketListener]) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                nursery.start_soon(self._accept, listener, nursery)

    def _charge(self, seconds: float) -> None:
        self._seconds.spend(seconds, now=trio.current_time(), max_debt=MAX_DEBT)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One client after the other, and all together no more than their share of the time."""
        async with self._queue:
            await trio.sleep(self._seconds.debt(now=trio.current_time()))
            yield

    async def _accept(self, listener: trio.SocketListener, nursery: trio.Nursery) -> None:
        async with listener:
            while True:
                try:
                    sock, address = await listener.socket.accept()
                except OSError as error:
                    await trio.sleep(pause_after(error))
                    continue
                client = _Client(trio.SocketStream(sock), address[0])
                self._make_room()
                self._clients[client] = None
                nursery.start_soon(self._serve, client)
                await trio.sleep(self._accepts.reserve(now=trio.current_time()))

    def _make_room(self) -> None:
        """Close an idle connection if there are too many."""
        if len(self._clients) < self._max_clients:
            return
        ((busiest, _),) = Counter(one.address for one in self._clients).most_common(1)
        oldest = next(one for one in self._clients if one.address == busiest)
        del self._clients[oldest]
        oldest.scope.cancel()
        consequence = "the connection to /metrics whose last request is the longest ago was closed"
        self._reports.limit_reached("scrapers", busiest, consequence)

    async def _serve(self, client: _Client) -> None:
        """Serve request after request. An error of the client ends its connection, and nothing else."""
        try:
            async with client.stream:
                with client.scope:
                    with trio.fail_after(IDLE_TIMEOUT):
                        await trio.lowlevel.wait_readable(client.stream.socket)
                    await metered(self._serve_requests(client), self._charge)
        except (h11.ProtocolError, trio.BrokenResourceError, trio.TooSlowError):
            pass
        finally:
            self._clients.pop(client, None)

    async def _serve_requests(self, client: _Client) -> None:
        connection = h11.Connection(h11.SERVER)
        while connection.our_state is not h11.MUST_CLOSE:
            with trio.fail_after(IDLE_TIMEOUT):
                request = await self._next_request(connection, client.stream)
            if request is None:
                return
            if client in self._clients:
                del self._clients[client]
                self._clients[client] = None
            with trio.fail_after(SEND_TIMEOUT):
                await self._respond(connection, client.stream, request)
            if connection.our_state is h11.DONE:
                connection.start_next_cycle()

    async def _next_request(self, connection: h11.Connection, stream: trio.SocketStream) -> h11.Request | None:
        """None when the client has closed the connection."""
        while True:
            async with self._turn():
                event = connection.next_event()
            if isinstance(event, h11.Request):
                return event
            if event is not h11.NEED_DATA:
                return None
            connection.receive_data(bytes(await stream.receive_some(_RECEIVE_SIZE)))

    async def _respond(self, connection: h11.Connection, stream: trio.SocketStream, request: h11.Request) -> None:
        async with self._turn():
            page = await self._page(request)
        headers = [("content-type", page.content_type), ("content-length", str(len(page.body)))]
        if not isinstance(connection.next_event(), h11.EndOfMessage):  # the request has a body, which is not read
            headers.append(("connection", "close"))
        parts = [connection.send(h11.Response(status_code=page.status, headers=headers)) or b""]
        if request.method != b"HEAD":
            parts += connection.send_with_data_passthrough(h11.Data(data=page.body)) or ()
        connection.send(h11.EndOfMessage())
        for part in parts:
            await stream.send_all(part)

    async def _page(self, request: h11.Request) -> Page:
        path = request.target.decode("ascii", "replace").partition("?")[0]
        if request.method not in (b"GET", b"HEAD"):
            return Page(405, b"only GET\n")
        if path not in self._pages:
            return Page(404, f"there are {', '.join(self._pages)}\n".encode())
        return await self._pages[path]()
