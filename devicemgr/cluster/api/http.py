"""HTTP to one API server: requests, streams, and what can go wrong with both, as two errors of ours.

HTTP/1.1, with a connection for each request that is under way. A watch occupies its connection for minutes, so watches
are not limited: as many of them would keep all other requests waiting. The others take turns on a few connections, as
a thousand pods that start at once would otherwise make a thousand of them, and a handshake takes longer than a request.

httpcore2 has all of HTTP that is needed. What httpx2 puts on top of it, such as redirects and cookies, no API server
needs, and it costs processor time for each request.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import quote, unquote, urlencode, urlsplit

import httpcore2
import trio

from ...errors import ApiError, ApiUnreachable, ApiUntrusted, CredentialsUnavailable
from ..objects.metadata import Object
from .answers import HTTP_ERROR, error_of_status, is_hearsay, is_object, json_of
from .connection import ClientCertificate, Connection, Identity
from .network import Network
from .reachability import Reachability
from .retries import is_down, retry_after
from .tls import tls_context

Query = Mapping[str, str]

UNUSED = 60.0
"""Seconds after which a connection that nobody uses is closed."""
CONNECTING = 10.0
"""Seconds in which a connection has to be made, or to take the bytes of a request."""
AT_A_TIME = 16
"""Requests that are not watches."""
PATIENCE = 35.0
"""Seconds without a byte of an answer. An API server gives up on most requests after 34, and says 504."""
WHOLE = 90.0
"""Seconds from the first byte of an answer to its last. An API server gives up after 60."""
OK, UNAUTHORIZED = range(200, 300), 401
_FAILURES = (
    httpcore2.NetworkError,
    httpcore2.TimeoutException,
    httpcore2.ProtocolError,
    httpcore2.ProxyError,
    httpcore2.UnsupportedProtocol,
)
"""httpcore2's errors have no base of their own."""
_OBJECTS = re.compile(r"/(api|apis/coordination\.k8s\.io)/v1/(?!.*/(token|binding|eviction)$)")
"""Where all objects are stored, and so have a uid and a version. Those of other APIs may not be, such as the usage of a
pod, nor are those of these subresources."""
_WHY_UNKNOWN = "the token, certificate or password is wrong, or has expired"
"""What an API server does not say of a 401."""
_KEEPALIVE = [
    # A peer whose machine has gone does not answer these, and the connection ends after 15 + 3 × 5 s.
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for, by whoever ``credentials`` say that we are."""

    method: str
    path: str
    query: Query = field(default_factory=dict)
    body: Object | None = None
    content_type: str = "application/json"

    @property
    def is_answered_with_objects(self) -> bool:
        """With one, or with a list of them. Of what is deleted, the answer may say only that."""
        return self.method != "DELETE" and _OBJECTS.match(self.path) is not None


class Http:
    """Made by :func:`open_http`. Its methods raise ApiError or ApiUnreachable."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._place = _Place(connection.server)
        # Each connection of a pool is looked at whenever a request begins or ends, and watches keep theirs.
        self._requests, self._streams = _Pools(connection), _Pools(connection)
        self._turns = trio.CapacityLimiter(AT_A_TIME)
        self.reachability = Reachability()

    async def fetch(self, request: Request) -> Object:
        """The answer, which is an object."""
        async with self._turns:
            with self._judged():
                async with self._answer(request, PATIENCE, self._requests) as answer:
                    return self._object(request, answer, await _content(answer))

    @asynccontextmanager
    async def stream(self, request: Request, *, silence: float) -> AsyncIterator[AsyncIterator[bytes]]:
        """The answer's bytes as they come. ``silence``: the seconds without any after which the peer is given up."""
        async with AsyncExitStack() as stack:
            with self._judged():
                answer = await stack.enter_async_context(self._answer(request, silence, self._streams))
            assert isinstance(answer.stream, AsyncIterable)
            yield aiter(answer.stream)

    async def is_ready(self) -> bool:
        """Does it answer, and say that it is ready? Raises nothing."""
        try:
            with self._judged():
                async with self._answer(Request("GET", "/readyz"), PATIENCE, self._requests):
                    return True
        except (ApiError, ApiUnreachable):
            return False

    async def aclose(self) -> None:
        await self._requests.aclose()
        await self._streams.aclose()

    @contextmanager
    def _judged(self) -> Iterator[None]:
        """What comes out of the block says whether the API server answers."""
        try:
            yield
        except (ApiError, ApiUnreachable) as failure:
            if is_down(failure):
                self.reachability.failed(failure)
            else:
                self.reachability.succeeded()
            raise
        self.reachability.succeeded()

    @asynccontextmanager
    async def _answer(self, request: Request, silence: float, pools: _Pools) -> AsyncIterator[httpcore2.Response]:
        """One that is no error, to be read within the block."""
        async with AsyncExitStack() as stack:
            answer = await self._authenticated(stack, request, silence, pools)
            if answer.status not in OK:
                raise self._error(answer, await _content(answer))
            yield answer

    async def _authenticated(
        self, stack: AsyncExitStack, request: Request, silence: float, pools: _Pools
    ) -> httpcore2.Response:
        """If the API server does not know us (401), and there are other credentials by then, it is asked once more."""
        credentials = self._connection.credentials
        identity = await credentials.identity()
        answer = await stack.enter_async_context(self._sent(request, identity, silence, pools))
        if answer.status == UNAUTHORIZED:
            await credentials.renew(identity)
            if (other := await credentials.identity()) != identity:
                await stack.aclose()
                answer = await stack.enter_async_context(self._sent(request, other, silence, pools))
        return answer

    def _error(self, answer: httpcore2.Response, content: bytes) -> ApiError | ApiUnreachable:
        """Also of an answer that is no Status: a proxy's, or one of a server that is about to end."""
        status = json_of(content)
        if status is None:
            status = {"message": content.decode(errors="replace").strip()[:500]}
        seconds = retry_after(_header(answer, b"retry-after"), date=_header(answer, b"date"))
        error = error_of_status(status, code=answer.status, retry_after=seconds)
        if answer.status < HTTP_ERROR or is_hearsay(error):
            return self._no_answer(answer, content)
        if error.code != UNAUTHORIZED:
            return error
        message = f"{self._connection.server} does not know us: {_WHY_UNKNOWN} ({error.message})"
        return ApiError(error.code, error.reason, message, seconds)

    def _object(self, request: Request, answer: httpcore2.Response, content: bytes) -> Object:
        found = json_of(content)
        is_one = is_object(found) if request.is_answered_with_objects else isinstance(found, dict)
        if not is_one:
            raise self._no_answer(answer, content)
        return cast(Object, found)

    def _no_answer(self, answer: httpcore2.Response, content: bytes) -> ApiUnreachable:
        status = "" if answer.status in OK else f"{answer.status} and "
        kind = _header(answer, b"content-type") or "something"
        return ApiUnreachable(
            f"{self._connection.server}: it has answered with {status}{kind} that is nothing of Kubernetes: is it an "
            f"API server? It begins with {content.decode(errors='replace')[:100]!r}"
        )

    @asynccontextmanager
    async def _sent(
        self, request: Request, identity: Identity, silence: float, pools: _Pools
    ) -> AsyncIterator[httpcore2.Response]:
        sent = self._place.request(request, identity, silence)
        if self._connection.server_name:
            sent.extensions["sni_hostname"] = self._connection.server_name
        async with pools.pool_of(identity) as pool:
            with _translated(self._connection.server):
                answer = await pool.handle_async_request(sent)
                try:
                    yield answer
                finally:
                    await answer.aclose()


class _Place:
    """Where an API server is, in the words of HTTP."""

    def __init__(self, server: str) -> None:
        url = urlsplit(server)
        self._scheme, self._host, self._port = url.scheme, url.hostname or "", url.port
        self._prefix = url.path
        # A watch is read as it comes, so nobody in between may compress it.
        self._headers = [
            (b"Host", url.netloc.encode()),
            (b"Accept", b"application/json"),
            (b"Accept-Encoding", b"identity"),
            (b"User-Agent", b"devicemgr"),
        ]

    def request(self, request: Request, identity: Identity, silence: float) -> httpcore2.Request:
        target = self._prefix + quote(request.path) + (f"?{urlencode(request.query)}" if request.query else "")
        headers = [*self._headers, *((name.encode(), value.encode()) for name, value in identity.headers)]
        content = b""
        if request.body is not None:
            content = json.dumps(request.body, separators=(",", ":")).encode()
            headers.append((b"Content-Type", request.content_type.encode()))
            headers.append((b"Content-Length", str(len(content)).encode()))
        return httpcore2.Request(
            request.method,
            httpcore2.URL(scheme=self._scheme, host=self._host, port=self._port, target=target),
            headers=headers,
            content=content,
            extensions={"timeout": {"connect": CONNECTING, "write": CONNECTING, "read": silence}},
        )


class _Pools:
    """One at a time, and those before it, until the requests that use them have ended."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._pool: _Pool | None = None

    @asynccontextmanager
    async def pool_of(self, identity: Identity) -> AsyncIterator[httpcore2.AsyncConnectionPool]:
        """One whose connections show the identity's certificate."""
        retired, pool = None, self._pool
        if pool is None or pool.certificate != identity.certificate:
            retired, self._pool = pool, _Pool(self._connection, identity.certificate)
            pool = self._pool
        pool.users += 1
        try:
            if retired is not None:
                await retired.retire()
            yield pool.connections
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
            why = error.reason or error
            if certificate is None:
                raise ApiUntrusted(f"the certificate authority of the API server cannot be used: {why}") from None
            raise CredentialsUnavailable(f"the client certificate cannot be used: {why}") from None
        except OSError as error:  # too many open files, say, which passes
            raise ApiUnreachable(f"the client certificate cannot be read: {error.strerror}") from error
        self.certificate = certificate
        self.connections = httpcore2.AsyncConnectionPool(
            ssl_context=context,
            proxy=_proxy(connection.proxy) if connection.proxy else None,
            max_connections=None,
            keepalive_expiry=UNUSED,
            socket_options=_KEEPALIVE,
            network_backend=Network(),
        )
        self.users = 0
        self._is_retired = False

    async def retire(self) -> None:
        self._is_retired = True
        await self.close_if_unused()

    async def close_if_unused(self) -> None:
        if self._is_retired and not self.users:
            with trio.CancelScope(shield=True):
                await self.connections.aclose()


@asynccontextmanager
async def open_http(connection: Connection) -> AsyncIterator[Http]:
    """For as long as the block lasts. Nothing is sent before there is a request."""
    http = Http(connection)
    try:
        yield http
    finally:
        await http.aclose()


def _proxy(given: str) -> httpcore2.Proxy:
    url = urlsplit(given)
    auth = None if url.username is None else (unquote(url.username).encode(), unquote(url.password or "").encode())
    return httpcore2.Proxy(httpcore2.URL(scheme=url.scheme, host=url.hostname or "", port=url.port, target="/"), auth)


async def _content(answer: httpcore2.Response) -> bytes:
    """All of it. The method of httpcore2 for this takes longer, since it expects to be left in the middle."""
    assert isinstance(answer.stream, AsyncIterable)
    with trio.move_on_after(WHOLE):
        return b"".join([part async for part in answer.stream])
    raise ApiUnreachable(f"an answer has not ended {WHOLE:g} s after it has begun")


def _header(answer: httpcore2.Response, wanted: bytes) -> str | None:
    return next((value.decode(errors="replace") for name, value in answer.headers if name.lower() == wanted), None)


@contextmanager
def _translated(server: str) -> Iterator[None]:
    """httpcore2's errors as ours."""
    try:
        yield
    except _FAILURES as error:
        untrusted = next((one for one in _causes(error) if isinstance(one, ssl.SSLCertVerificationError)), None)
        if untrusted is not None:
            raise ApiUntrusted(
                f"{server}: its certificate cannot be trusted: {untrusted.verify_message}. The kubeconfig's "
                "certificate-authority says whom to trust"
            ) from error
        raise ApiUnreachable(f"{server}: {_why(error)}") from error


def _why(error: Exception) -> str:
    """httpcore2's own text is often empty; what it says about is further down the chain."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    if isinstance(error, httpcore2.TimeoutException):
        return "it has not answered in time"
    return str(error) or type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it came from."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[-1]
        yield cause
        cause = cause.__cause__ or cause.__context__
