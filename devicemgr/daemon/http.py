"""A small HTTP server for ``/metrics`` and ``/healthz``. h11 speaks HTTP; reading and writing is Trio's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass

import h11
import trio

from ..errors import AddressUnusable

IDLE_TIME = 30.0
"""Seconds a connection may take for its next request."""
_RECEIVE_SIZE = 4096


@dataclass(frozen=True, slots=True)
class Page:
    status: int
    text: str
    content_type: str = "text/plain; charset=utf-8"


Pages = Mapping[str, Callable[[], Page]]
"""By path, what makes the page."""


async def open_listeners(host: str, port: int) -> list[trio.SocketListener]:
    """Bind; port 0 takes any free one. Raises AddressUnusable."""
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        raise AddressUnusable(f"cannot serve on {host}:{port}: {error.strerror or error}") from error


async def serve_pages(listeners: list[trio.SocketListener], pages: Pages) -> None:
    """Answer until cancelled."""

    async def serve(stream: trio.SocketStream) -> None:
        async with aclosing(stream):
            await _serve_connection(stream, pages)

    await trio.serve_listeners(serve, listeners)


async def _serve_connection(stream: trio.SocketStream, pages: Pages) -> None:
    """One connection, request after request. What a client does wrong ends its connection, and nothing else."""
    connection = h11.Connection(h11.SERVER)
    try:
        while True:
            with trio.fail_after(IDLE_TIME):
                request = await _next_request(connection, stream)
                if request is None:
                    return
                await _answer(connection, stream, request, pages)
            if connection.our_state is not h11.DONE:
                return
            connection.start_next_cycle()
    except (h11.ProtocolError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
        return


async def _next_request(connection: h11.Connection, stream: trio.SocketStream) -> h11.Request | None:
    """The next request with its body read away; None when the client has gone."""
    request: h11.Request | None = None
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(_RECEIVE_SIZE)))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.EndOfMessage):
            return request
        elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
            return None


async def _answer(connection: h11.Connection, stream: trio.SocketStream, request: h11.Request, pages: Pages) -> None:
    path = request.target.decode("ascii", "replace").partition("?")[0]
    if request.method not in (b"GET", b"HEAD"):
        page = Page(405, "only GET\n")
    elif path not in pages:
        page = Page(404, f"there are {', '.join(pages)}\n")
    else:
        page = pages[path]()
    body = page.text.encode()
    headers = [("content-type", page.content_type), ("content-length", str(len(body)))]
    data = connection.send(h11.Response(status_code=page.status, headers=headers))
    if request.method != b"HEAD":
        data += connection.send(h11.Data(data=body)) or b""
    data += connection.send(h11.EndOfMessage()) or b""
    await stream.send_all(data)
