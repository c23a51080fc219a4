"""A small HTTP server for ``/metrics`` and ``/healthz``: h11 does HTTP, and Trio reads and writes.

All clients together have one share of the manager's time, as a single process has on our sockets, and are served in
turns: they cannot be told apart reliably (:mod:`.clients`).
"""

# Decision: this needs nothing but h11, because every daemon can serve metrics. The page, which needs more of HTTP, has
# a server of its own with more dependencies, as an extra.

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import h11
import trio

from ...concurrency.task_descriptions import describes_task
from ...peer_limits import PeerLimits
from ...rpc.transport.metering import metered
from ..access.quotas import MAX_DEBT
from ..access.rate_limit import TokenBucket
from ..event_log import EventLog
from .clients import Client, Clients

IDLE_TIMEOUT = 30.0
"""Seconds in which a client must send its next request."""
SEND_TIMEOUT = 30.0
"""Seconds in which a client must receive the response."""
PAGE_LIFETIME = 1.0
"""Seconds for which all clients get the same page."""
_RECEIVE_SIZE = 4096


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


class PageServer:
    """Serves pages to all clients, within the peer limits ``scrapers``, ``time_share`` and ``time_burst``."""

    def __init__(self, pages: Pages, peer_limits: PeerLimits, log: EventLog) -> None:
        self._pages = pages
        self._seconds = TokenBucket(peer_limits.time_share, peer_limits.time_burst)
        self._queue = trio.Lock()
        self._clients = Clients(peer_limits.scrapers, "scrapers", "/metrics", log)

    @describes_task(name="metrics")
    async def serve(self, listeners: list[trio.SocketListener]) -> None:
        """Serve until cancelled."""
        await self._clients.serve(listeners, self._serve)

    def _charge(self, seconds: float) -> None:
        self._seconds.spend(seconds, now=trio.current_time(), max_debt=MAX_DEBT)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One client after the other, and all together no more than their share of the time."""
        async with self._queue:
            await trio.sleep(self._seconds.debt(now=trio.current_time()))
            yield

    @describes_task(waits_for="a request")
    async def _serve(self, client: Client) -> None:
        """Serve request after request. An error of the client ends its connection, and nothing else."""
        with suppress(h11.ProtocolError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            with trio.fail_after(IDLE_TIMEOUT):
                await trio.lowlevel.wait_readable(client.stream.socket)
            await metered(self._serve_requests(client), self._charge)

    async def _serve_requests(self, client: Client) -> None:
        connection = h11.Connection(h11.SERVER)
        while connection.our_state is not h11.MUST_CLOSE:
            with trio.fail_after(IDLE_TIMEOUT):
                request = await self._next_request(connection, client.stream)
            if request is None:
                return
            self._clients.sent_request(client)
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
