"""Stands between a node and its API server, and fails as networks and servers do.

It takes plain HTTP, one request for each connection, and brings the user's token.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import trio

from devicemgr.cluster.api.client import ApiClient, open_api_client
from devicemgr.cluster.api.connection import Connection
from devicemgr.cluster.control_plane.processes import ControlPlane


@dataclass
class Failure:
    """What happens to requests that match, ``times`` times. Without a ``code`` the request is carried out, and the
    connection is cut instead of an answer."""

    method: str
    path: str
    code: int | None = None
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    reason: str = ""
    message: str = "no"
    met: trio.Event = field(default_factory=trio.Event)


class ApiProxy:
    def __init__(self, url: str, token: str, tls: ssl.SSLContext) -> None:
        self._server = urlsplit(url)
        self._token = token
        self._tls = tls
        self._is_cut = False
        self._open: set[trio.CancelScope] = set()
        self._resumed = trio.Event()
        self._held = ""
        self._failures: list[Failure] = []
        self.requests: list[tuple[str, str]] = []
        """Method and target of each."""
        self.turned_away = 0
        """Connections while nobody answers."""

    def fail(self, failure: Failure) -> Failure:
        self._failures.append(failure)
        return failure

    def cut(self) -> None:
        """From now on all connections are cut, and nobody answers."""
        self._is_cut = True
        for scope in self._open:
            scope.cancel()

    def mend(self) -> None:
        self._is_cut = False

    def hold(self, pattern: str) -> None:
        """Requests whose method and target match wait until :meth:`release`."""
        self._held, self._resumed = pattern, trio.Event()

    def release(self) -> None:
        self._held = ""
        self._resumed.set()

    def count(self, method: str, pattern: str) -> int:
        return sum(one == method and re.search(pattern, target) is not None for one, target in self.requests)

    async def serve(self, stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with stream:
                if self._is_cut:
                    self.turned_away += 1
                else:
                    with trio.CancelScope() as scope:
                        self._open.add(scope)
                        await self._answer(stream)
                    self._open.discard(scope)

    async def _answer(self, stream: trio.SocketStream) -> None:
        read = b""
        while b"\r\n\r\n" not in read:
            data = await stream.receive_some()
            if not data:
                return
            read += data
        head, _, rest = read.partition(b"\r\n\r\n")
        first, *headers = head.decode().split("\r\n")
        method, target, _ = first.split(" ")
        length = next((int(one.split(":")[1]) for one in headers if one.lower().startswith("content-length:")), 0)
        while len(rest) < length:
            rest += await stream.receive_some()
        self.requests.append((method, target))
        if self._held and re.search(self._held, f"{method} {target}"):
            await self._resumed.wait()
        failure = self._failure(method, target)
        if failure is not None and failure.code is not None:
            await stream.send_all(_canned(failure))
            return
        kept = [one for one in headers if not one.lower().startswith(("connection:", "host:", "authorization:"))]
        ours = [f"Host: {self._server.netloc}", "Connection: close", f"Authorization: Bearer {self._token}"]
        upstream = await trio.open_ssl_over_tcp_stream(
            self._server.hostname or "", self._server.port or 443, ssl_context=self._tls, https_compatible=True
        )
        async with upstream:
            await upstream.send_all("\r\n".join([first, *kept, *ours]).encode() + b"\r\n\r\n" + rest)
            async for data in upstream:
                if failure is not None:
                    return
                await stream.send_all(data)

    def _failure(self, method: str, target: str) -> Failure | None:
        for failure in self._failures:
            if failure.times and failure.method == method and re.search(failure.path, target):
                failure.times -= 1
                if not failure.times:
                    failure.met.set()
                return failure
        return None


def _canned(failure: Failure) -> bytes:
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": failure.code,
        "reason": failure.reason,
        "message": failure.message,
    }
    body = json.dumps(status)
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        **failure.headers,
    }
    lines = [
        f"HTTP/1.1 {failure.code} {failure.reason or 'No'}",
        *(f"{key}: {value}" for key, value in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


@asynccontextmanager
async def open_api_proxy(cluster: ControlPlane, user: str) -> AsyncIterator[tuple[ApiProxy, ApiClient]]:
    """The proxy, and a client that goes through it as ``user``."""
    tls = ssl.create_default_context(cadata=cluster.certificate.read_text())
    proxy = ApiProxy(cluster.url, cluster.tokens[user], tls)
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, proxy.serve, [listener])
        async with open_api_client(Connection(f"http://127.0.0.1:{port}")) as api:
            yield proxy, api
        nursery.cancel_scope.cancel()
