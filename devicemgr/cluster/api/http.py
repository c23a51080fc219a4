"""HTTP to one API server: requests, streams, and what can go wrong with both, as two errors of ours.

HTTP/1.1, with a connection for each request that is under way. A watch occupies its connection for minutes, so watches
are not limited: as many of them would keep all other requests waiting. The others take turns on a few connections, as
a thousand pods that start at once would otherwise make a thousand of them, and a handshake takes longer than a request.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import trio

from ...errors import ApiError, ApiUnreachable
from .answers import Object, error_of_status
from .connection import ClientCertificate, Connection, Identity
from .reachability import Reachability
from .retries import is_down, retry_after
from .tls import tls_context

Query = Mapping[str, str]

_LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=60)
AT_A_TIME = 16
"""Requests that are not watches."""
PATIENCE = 35.0
"""Seconds without a byte of an answer. An API server gives up on most requests after 34, and says 504."""
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

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # httpx2 looks at each connection of a pool whenever a request begins or ends, and watches keep theirs.
        self._requests, self._streams = _Pools(connection), _Pools(connection)
        self._turns = trio.CapacityLimiter(AT_A_TIME)
        self.reachability = Reachability()

    async def fetch(self, request: Request) -> Object:
        """The answer, which is an object."""
        async with self._turns, self._answer(request, PATIENCE, self._requests) as answer:
            await answer.aread()
            return _object(answer)

    @asynccontextmanager
    async def stream(self, request: Request, *, silence: float) -> AsyncIterator[AsyncIterator[bytes]]:
        """The answer's bytes as they come. ``silence``: the seconds without any after which the peer is given up."""
        async with self._answer(request, silence, self._streams) as answer:
            yield answer.aiter_raw()

    async def is_ready(self) -> bool:
        try:
            async with self._answer(Request("GET", "/readyz"), PATIENCE, self._requests):
                return True
        except (ApiError, ApiUnreachable):
            return False

    async def aclose(self) -> None:
        await self._requests.aclose()
        await self._streams.aclose()

    @asynccontextmanager
    async def _answer(self, request: Request, silence: float, pools: _Pools) -> AsyncIterator[httpx2.Response]:
        """One that is no error, to be read within the block."""
        async with AsyncExitStack() as stack:
            try:
                answer = await self._authenticated(stack, request, silence, pools)
                if answer.is_error:
                    await answer.aread()
                    raise _error(answer)
            except (ApiError, ApiUnreachable) as failure:
                if is_down(failure):
                    self.reachability.failed(failure)
                else:
                    self.reachability.succeeded()
                raise
            self.reachability.succeeded()
            yield answer

    async def _authenticated(
        self, stack: AsyncExitStack, request: Request, silence: float, pools: _Pools
    ) -> httpx2.Response:
        """If the API server does not know us (401), and there are other credentials by then, it is asked once more."""
        credentials = self._connection.credentials
        identity = await credentials.identity()
        answer = await stack.enter_async_context(self._sent(request, identity, silence, pools))
        if answer.status_code == httpx2.codes.UNAUTHORIZED:
            await credentials.renew(identity)
            if (other := await credentials.identity()) != identity:
                await stack.aclose()
                answer = await stack.enter_async_context(self._sent(request, other, silence, pools))
        return answer

    @asynccontextmanager
    async def _sent(
        self, request: Request, identity: Identity, silence: float, pools: _Pools
    ) -> AsyncIterator[httpx2.Response]:
        extensions = _closing_what_fails()
        if self._connection.server_name:
            extensions["sni_hostname"] = self._connection.server_name
        content = None if request.body is None else json.dumps(request.body, separators=(",", ":"))
        headers = [*([] if content is None else [("Content-Type", request.content_type)]), *identity.headers]
        async with pools.client_of(identity) as client:
            with _translated(self._connection.server):
                sent = client.build_request(
                    request.method,
                    request.path,
                    params=request.query,
                    headers=[(name.encode(), value.encode()) for name, value in headers],  # a user may have any name
                    content=content,
                    timeout=httpx2.Timeout(10, read=silence, pool=None),
                    extensions=extensions,
                )
                answer = await client.send(sent, stream=True)
                try:
                    yield answer
                finally:
                    await answer.aclose()


class _Pools:
    """One at a time, and those before it, until the requests that use them have ended."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._pool: _Pool | None = None

    @asynccontextmanager
    async def client_of(self, identity: Identity) -> AsyncIterator[httpx2.AsyncClient]:
        """One whose connections show the identity's certificate."""
        retired, pool = None, self._pool
        if pool is None or pool.certificate != identity.certificate:
            retired, self._pool = pool, _Pool(self._connection, identity.certificate)
            pool = self._pool
        pool.users += 1
        try:
            if retired is not None:
                await retired.retire()
            yield pool.client
        finally:
            pool.users -= 1
            await pool.close_if_unused()

    async def aclose(self) -> None:
        if self._pool is not None:
            await self._pool.retire()


class _Pool:
    """Connections that show one certificate. When there is another one, they end with the requests that use them."""

    def __init__(self, connection: Connection, certificate: ClientCertificate | None) -> None:
        try:
            context = tls_context(connection, certificate)
        except ssl.SSLError as error:
            raise ApiUnreachable(f"the client certificate cannot be used: {error.reason}") from None
        transport = httpx2.AsyncHTTPTransport(
            verify=context,
            limits=_LIMITS,
            trust_env=False,
            socket_options=_KEEPALIVE,
            proxy=connection.proxy or None,
        )
        # A watch is read as it comes, so nobody in between may compress it.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "devicemgr"}
        self.certificate = certificate
        self.client = httpx2.AsyncClient(
            base_url=connection.server, transport=transport, headers=headers, trust_env=False
        )
        self.users = 0
        self._is_retired = False

    async def retire(self) -> None:
        self._is_retired = True
        await self.close_if_unused()

    async def close_if_unused(self) -> None:
        if self._is_retired and not self.users:
            with trio.CancelScope(shield=True):
                await self.client.aclose()


@asynccontextmanager
async def open_http(connection: Connection) -> AsyncIterator[Http]:
    http = Http(connection)
    try:
        yield http
    finally:
        await http.aclose()


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
