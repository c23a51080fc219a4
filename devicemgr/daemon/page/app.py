"""The requests that there are, and who may make them.

A page is read with any browser, and a browser also runs what others wrote. So:

* a request for another host than this one is refused, so that a name which an attacker points at this machine does not
  become a way in (DNS rebinding);
* no header lets pages of others read answers, and none may frame this one; their requests are refused, so that they
  cannot take the places of readers;
* the page runs its own script only, from a file, and cannot make markup of a text;
* what changes something needs a token in a header, which a page of others can neither know nor send.
"""

from __future__ import annotations

import hmac
import inspect
import ipaddress
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from importlib.resources import files
from typing import Any

import trio
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...errors import BadInput, DeviceManagerError
from ...model import Fault
from ...rpc.deviceplugin.methods import METHODS, unary
from ...task_descriptions import describes_task
from ..faults.actions import FAULTS, Faults
from .feed import Feed, Reader
from .recorded import Recording

MAX_READERS = 32
MAX_BODY = 4096
"""Bytes of a request's body."""
HEARTBEAT = 15.0
"""Seconds after which a reader that gets nothing is sent a comment, so that one which is gone is noticed."""
TOKEN_HEADER = "x-devicemgr-token"
_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
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
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_of_another_page(given: Headers) -> bool:
    """Does a page of somebody else make this request, as browsers say? A link that is followed is one of its reader."""
    return given.get("sec-fetch-site") in ("cross-site", "same-site") and given.get("sec-fetch-dest") != "document"


def guarded(app: ASGIApp, stated: str) -> ASGIApp:
    """The application, for requests to this host only, with the headers that every answer has."""

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1000})
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        given = Headers(scope=scope)
        hosts = given.getlist("host")
        if len(hosts) != 1 or not is_our_host(hosts[0], stated):
            await PlainTextResponse(_NOT_OUR_HOST, 421)(scope, receive, with_headers)
        elif is_of_another_page(given):
            await PlainTextResponse("this is not for pages of others\n", 403)(scope, receive, with_headers)
        else:
            await app(scope, receive, with_headers)

    return guard


class EventStream(Response):
    """Server-sent events: what a reader of the feed gets, until it leaves."""

    media_type = "text/event-stream"

    def __init__(self, feed: Feed) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._feed = feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._feed.readers >= MAX_READERS:
            return await PlainTextResponse("too many readers\n", 503)(scope, receive, send)
        with self._feed.reading() as reader:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if scope["method"] != "HEAD":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_cancel_when_gone, receive, nursery.cancel_scope)
                    await self._send_messages(reader, send)
        return await send({"type": "http.response.body", "body": b""})

    async def _send_messages(self, reader: Reader, send: Send) -> None:
        while True:
            text = None
            with trio.move_on_after(HEARTBEAT):
                text = await reader.next()
            line = ": still here" if text is None else f"data: {text}"
            await send({"type": "http.response.body", "body": f"{line}\n\n".encode(), "more_body": True})


@describes_task(name="end of a reader", waits_for="the browser to go away")
async def _cancel_when_gone(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def page_routes(about: Callable[[], Mapping[str, Any]]) -> list[Route]:
    """The page's own files, and what it is about."""

    def file(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
        content = files(__package__).joinpath(name).read_bytes()

        async def give(_: Request) -> Response:
            return Response(content, media_type=media_type)

        return give

    async def give_about(_: Request) -> Response:
        return JSONResponse(about())

    routes = [Route(path, file(*one)) for path, one in _FILES.items()]
    return [*routes, Route("/about", give_about)]


def live_app(feed: Feed, stated: str, faults: Faults | None, token: str) -> ASGIApp:
    """The page of a running manager. With ``faults``, who knows the token may inject them."""

    async def stream(_: Request) -> Response:
        return EventStream(feed)

    async def inject(request: Request) -> Response:
        given = request.headers.get(TOKEN_HEADER, "")
        if faults is None or not hmac.compare_digest(given.encode(), token.encode()):
            return PlainTextResponse("this needs the token that the manager printed\n", 403)
        try:
            await faults.inject(await _fault(request))
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
    return {"mode": "live", "faults": describe_faults() if faults else [], "calls": sorted(unary(METHODS))}


def describe_faults() -> list[dict[str, Any]]:
    """For each fault that can be injected, its name, what it does, and the fields that it takes."""
    return [
        {
            "name": name,
            "help": inspect.cleandoc(method.__doc__ or "").partition("\n")[0],
            "fields": [field for field in inspect.signature(method).parameters if field != "self"],
        }
        for name, method in FAULTS.items()
    ]


async def _fault(request: Request) -> Fault:
    """Raises BadInput."""
    body = b""
    async with aclosing(request.stream()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > MAX_BODY:
                raise BadInput("the request is too long", file=request.url.path)
    try:
        return Fault(**json.loads(body))
    except (TypeError, ValueError, RecursionError) as error:
        raise BadInput(f"not a fault: {error}", file=request.url.path) from None
