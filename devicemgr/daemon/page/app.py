"""The requests that there are, and who may make them.

A page is read with any browser, and a browser also runs what others wrote. So:

* a request for another host than this one is refused, so that a name which an attacker points at this machine does not
  become a way in (DNS rebinding);
* no header lets pages of others read answers, and none may frame this one; their requests are refused, so that they
  cannot take the places of readers;
* the page runs its own scripts only, from files, and cannot make markup of a text;
* what changes something needs a token in a header, which a page of others can neither know nor send.
"""

from __future__ import annotations

import hmac
import inspect
import ipaddress
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import trio
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...concurrency.task_descriptions import describes_task
from ...errors import BadInput, DeviceManagerError, ManagerClosed
from ...model import Fault
from ...rpc.deviceplugin.methods import METHODS, unary
from ..faults.actions import FAULTS, Faults
from .feed import Feed, Reader
from .files import file_routes
from .recorded import Recording

MAX_READERS = 32
MAX_BODY = 4096
"""Bytes of a request's body."""
HEARTBEAT = 15.0
"""Seconds after which a reader that gets nothing is sent a comment, so that one which is gone is noticed."""
BLOCK = 2**16
"""Characters of a message that are sent at once, or up to twice as many."""
TOKEN_HEADER = "x-devicemgr-token"
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_NOT_OUR_HOST = (
    "This page is not served under that name: ask for localhost, or, where it is served to others, for the address in "
    "digits, or state the name with --page NAME:PORT.\n"
)


def is_our_host(host: str, stated: str) -> bool:
    """May the Host header of a request be this one? Loopback always; when the page is served at ``stated``, that name
    and any address of digits, which nobody can point elsewhere."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    name = name.removeprefix("[").removesuffix("]").lower()
    if name == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return bool(stated) and name == stated.lower()
    return address.is_loopback or not is_loopback(stated)


def is_loopback(host: str) -> bool:
    """Is only this machine reached there? An empty host is loopback, for a page."""
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_of_another_page(given: Headers) -> bool:
    """Does a page of somebody else make this request, as browsers say? A link that is followed is one of its reader.

    Browsers say it with Sec-Fetch-Site where they trust the connection, as to this machine, and elsewhere with Origin.
    """
    origin = given.get("origin")
    if origin is not None and origin.partition("://")[2] != given.get("host"):
        return True
    return given.get("sec-fetch-site") in ("cross-site", "same-site") and given.get("sec-fetch-dest") != "document"


def has_long_body(given: Headers) -> bool:
    """A request of the page has a short body or none; of what comes in chunks nobody knows how much it is."""
    return "transfer-encoding" in given or int(given.get("content-length", "0")) > MAX_BODY


def guarded(app: ASGIApp, stated: str) -> ASGIApp:
    """The application, for requests to this host only, with the headers that every answer has."""

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1000})
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        given = Headers(scope=scope)
        hosts = given.getlist("host")
        if len(hosts) != 1 or not is_our_host(hosts[0], stated):
            await PlainTextResponse(_NOT_OUR_HOST, 421)(scope, receive, with_headers)
        elif is_of_another_page(given):
            await PlainTextResponse("this is not for pages of others\n", 403)(scope, receive, with_headers)
        elif has_long_body(given):
            refusal = PlainTextResponse("the request is too long\n", 413, {"connection": "close"})
            await refusal(scope, receive, with_headers)
        else:
            await app(scope, receive, with_headers)

    return guard


class EventStream(Response):
    """Server-sent events: what a reader of the feed gets, until it leaves, or is let go: then the answer has no end, so
    its connection is closed."""

    media_type = "text/event-stream"

    def __init__(self, feed: Feed) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._feed = feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._feed.readers >= MAX_READERS:
            await PlainTextResponse("too many readers\n", 503)(scope, receive, send)
            return
        with self._feed.reading() as reader:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if scope["method"] != "HEAD":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_cancel_when_gone, receive, nursery.cancel_scope)
                    await self._send_messages(reader, send)
            await send({"type": "http.response.body", "body": b""})

    async def _send_messages(self, reader: Reader, send: Send) -> None:
        while True:
            message: Sequence[str] | None = None
            with trio.move_on_after(HEARTBEAT):
                message = await reader.next()
            pieces = [": still here"] if message is None else ["data: ", *message]
            for block in in_blocks([*pieces, "\n\n"]):
                await send({"type": "http.response.body", "body": block.encode(), "more_body": True})


def in_blocks(pieces: Iterable[str]) -> Iterator[str]:
    """The same text in blocks. A message may be long, and it is never made whole for one reader: those who are slow, or
    have stopped, share the texts of its parts."""
    block: list[str] = []
    length = 0
    for piece in pieces:
        for begin in range(0, len(piece), BLOCK):
            block.append(piece[begin : begin + BLOCK])
            length += len(block[-1])
            if length >= BLOCK:
                yield "".join(block)
                block, length = [], 0
    if block:
        yield "".join(block)


@describes_task(name="end of a reader", waits_for="the browser to go away")
async def _cancel_when_gone(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def page_routes(about: Callable[[], Mapping[str, Any]]) -> list[Route]:
    """The page's own files, and what it is about."""

    async def give_about(_: Request) -> Response:
        return JSONResponse(about())

    return [*file_routes(), Route("/about", give_about)]


def live_app(feed: Feed, stated: str, faults: Faults | None, token: str) -> ASGIApp:
    """The page of a running manager. With ``faults``, who knows the token may inject them."""

    async def stream(_: Request) -> Response:
        return EventStream(feed)

    async def inject(request: Request) -> Response:
        given = request.headers.get(TOKEN_HEADER, "")
        if faults is None or not hmac.compare_digest(given.encode(), token.encode()):
            return PlainTextResponse("this needs the token that the manager printed\n", 403)
        try:
            fault = await _fault(request)
            if fault.name == "restart":  # it closes this connection, so the answer goes first
                return Response(status_code=202, background=BackgroundTask(_restart, faults, fault))
            await faults.inject(fault)
        except DeviceManagerError as error:
            return PlainTextResponse(f"{error}\n", 400)
        return Response(status_code=204)

    routes = [
        *page_routes(lambda: describe_live(faults)),
        Route("/stream", stream),
        Route("/fault", inject, methods=["POST"]),
    ]
    return guarded(Starlette(routes=routes), stated)


def recorded_app(recording: Recording, stated: str) -> ASGIApp:
    """The page of a trace. The moment is asked for by its event, or in seconds."""

    async def at(request: Request) -> Response:
        try:
            if "event" in request.query_params:
                count = int(request.query_params["event"])
            else:
                count = recording.count_until(float(request.query_params.get("seconds", "0")))
        except ValueError:
            return PlainTextResponse("event=NUMBER, or seconds=NUMBER\n", 400)
        return Response(await recording.at(count), media_type="application/json")

    return guarded(Starlette(routes=[*page_routes(recording.about), Route("/at", at)]), stated)


def describe_live(faults: Faults | None) -> dict[str, Any]:
    """What the page of a running manager can do."""
    return {"mode": "live", "faults": describe_faults() if faults else [], "calls": sorted(unary(METHODS))}


def describe_faults() -> list[dict[str, Any]]:
    """For each fault that can be injected, its name, what it does, and the fields that it takes; of these, those that
    it cannot do without."""
    return [
        {
            "name": name,
            "help": inspect.cleandoc(method.__doc__ or "").partition("\n")[0],
            "fields": [*(fields := _fields(method))],
            "required": [field for field, parameter in fields.items() if parameter.default is parameter.empty],
        }
        for name, method in FAULTS.items()
    ]


def _fields(method: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    return {name: one for name, one in inspect.signature(method).parameters.items() if name != "self"}


async def _restart(faults: Faults, fault: Fault) -> None:
    """A manager that has ended meanwhile is not restarted, and nobody waits to hear that."""
    with suppress(ManagerClosed):
        await faults.inject(fault)


async def _fault(request: Request) -> Fault:
    """Raises BadInput."""
    try:
        return Fault(**json.loads(await request.body()))
    except (TypeError, ValueError, RecursionError) as error:
        raise BadInput(f"not a fault: {error}", file=request.url.path) from None
