"""HTTP to one API server: requests, streams, and what can go wrong with both, as two errors of ours.

HTTP/1.1, with a connection for each request that is under way, and no limit on their number: a watch occupies its
connection for minutes, so with a limit as many watches would keep all other requests waiting.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

from ...errors import ApiError, ApiUnreachable
from .answers import Object, error_of_status
from .connection import Connection
from .reachability import Reachability
from .retries import is_down, retry_after

Query = Mapping[str, str]

_LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=60)
_TIMEOUT = httpx2.Timeout(10, read=35, pool=None)
"""Seconds. An API server gives up on most requests after 34 (it says 504)."""
_KEEPALIVE = [
    # A peer whose machine has gone does not answer these, and the connection ends after 15 + 3 × 5 s.
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    query: Query = field(default_factory=dict)
    body: Object | None = None
    content_type: str = "application/json"


class Http:
    """Made by :func:`open_http`. Its methods raise ApiError or ApiUnreachable."""

    def __init__(self, client: httpx2.AsyncClient, connection: Connection) -> None:
        self._client = client
        self._server = connection.server
        self._credentials = connection.credentials
        self.reachability = Reachability()

    async def fetch(self, request: Request) -> Object:
        """The answer, which is an object."""
        return _object(await self._send(request, _TIMEOUT, stream=False))

    @asynccontextmanager
    async def stream(self, request: Request, *, silence: float) -> AsyncIterator[AsyncIterator[bytes]]:
        """The answer's bytes as they come. ``silence``: the seconds without any after which the peer is given up."""
        answer = await self._send(request, httpx2.Timeout(10, read=silence, pool=None), stream=True)
        try:
            with _translated(self._server):
                yield answer.aiter_raw()
        finally:
            await answer.aclose()

    async def is_ready(self) -> bool:
        try:
            await self._send(Request("GET", "/readyz"), _TIMEOUT, stream=False)
        except (ApiError, ApiUnreachable):
            return False
        return True

    async def _send(self, request: Request, patience: httpx2.Timeout, *, stream: bool) -> httpx2.Response:
        """An answer that is no error."""
        try:
            answer = await self._authenticated(request, patience, stream=stream)
        except (ApiError, ApiUnreachable) as failure:
            if is_down(failure):
                self.reachability.failed(failure)
            else:
                self.reachability.succeeded()
            raise
        self.reachability.succeeded()
        return answer

    async def _authenticated(self, request: Request, patience: httpx2.Timeout, *, stream: bool) -> httpx2.Response:
        """A request that is refused because we are not known (401) is made again, as long as there are credentials that
        have not been tried."""
        content = None if request.body is None else json.dumps(request.body, separators=(",", ":"))
        kind = {} if content is None else {"Content-Type": request.content_type}
        while True:
            ours = await self._credentials.headers()
            sent = self._client.build_request(
                request.method,
                request.path,
                params=request.query,
                headers={**kind, **ours},
                content=content,
                timeout=patience,
                extensions=_closing_what_fails(),
            )
            with _translated(self._server):
                answer = await self._client.send(sent, stream=stream)
                if not answer.is_error:
                    return answer
                try:
                    await answer.aread()
                finally:
                    await answer.aclose()
            if answer.status_code != httpx2.codes.UNAUTHORIZED or not await self._credentials.renew(ours):
                raise _error(answer)


@asynccontextmanager
async def open_http(connection: Connection) -> AsyncIterator[Http]:
    authority = None if connection.authority is None else connection.authority.decode()
    transport = httpx2.AsyncHTTPTransport(
        verify=ssl.create_default_context(cadata=authority), limits=_LIMITS, trust_env=False, socket_options=_KEEPALIVE
    )
    headers = {"Accept": "application/json", "User-Agent": "devicemgr"}
    async with httpx2.AsyncClient(
        base_url=connection.server, transport=transport, headers=headers, trust_env=False, timeout=_TIMEOUT
    ) as client:
        yield Http(client, connection)


def _error(answer: httpx2.Response) -> ApiError:
    """Also of an answer that is no Status: a proxy's, or one of a server that is about to end."""
    try:
        status = answer.json()
    except ValueError:
        status = {"message": answer.text.strip()[:500]}
    seconds = retry_after(answer.headers.get("Retry-After"), date=answer.headers.get("Date"))
    return error_of_status(status, code=answer.status_code, retry_after=seconds)


def _object(answer: httpx2.Response) -> Object:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ApiUnreachable(
            f"{answer.request.url.host} has answered with {answer.headers.get('Content-Type', 'something')} that is no "
            f"JSON object: is it an API server? It begins with {answer.text[:100]!r}"
        )
    return found


@contextmanager
def _translated(server: str) -> Iterator[None]:
    """httpx2's errors as ours."""
    try:
        yield
    except (httpx2.RequestError, httpx2.StreamError) as error:
        raise ApiUnreachable(f"{server}: {_why(error)}") from error


def _why(error: httpx2.HTTPError | httpx2.StreamError) -> str:
    """httpx2's own text is often empty; what it says about is further down the chain."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[-1]
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate cannot be trusted: {cause.verify_message}"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx2.TimeoutException):
        return "it has not answered in time"
    return str(error) or type(error).__name__


def _closing_what_fails() -> dict[str, Any]:
    """httpx2 leaves a connection open whose handshake is cancelled. It tells those who trace a request."""
    opened: list[Any] = []

    async def trace(event: str, facts: Mapping[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            opened.append(facts["return_value"])
        elif event == "connection.start_tls.failed":
            await opened.pop().aclose()

    return {"trace": trace}
