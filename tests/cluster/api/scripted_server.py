"""An API server that answers as a test says, on a real socket, in the test's own Trio run."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trio

from devicemgr.cluster.api.connection import Connection, Fixed, Identity
from tests.fake_api_server import FILES

CERTIFICATE = (FILES / "cert.pem").read_bytes()
KEY = (FILES / "key.pem").read_bytes()


class HungUp(Exception):
    """The client, or the script, has ended the connection."""


@dataclass
class Exchange:
    """One request, and what is sent back."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    at: float
    stream: trio.abc.Stream = field(repr=False)

    async def answer(self, body: Any = None, *, code: int = 200, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"HTTP/1.1 {code} X", f"Content-Length: {len(content)}", *(f"{k}: {v}" for k, v in headers.items())]
        await self._send("\r\n".join(lines).replace("_", "-").encode() + b"\r\n\r\n" + content)

    async def status(self, code: int, reason: str = "", **headers: str) -> None:
        status = {"kind": "Status", "code": code, "reason": reason, "message": f"says the script: {reason or code}"}
        await self.answer(status, code=code, **headers)

    async def begin(self) -> None:
        """A watch, whose events follow."""
        await self._send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")

    async def event(self, kind: str, object: Any) -> None:
        await self.bytes(json.dumps({"type": kind, "object": object}).encode() + b"\n")

    async def bytes(self, data: bytes) -> None:
        await self._send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def end(self) -> None:
        """The watch ends as it should, and the connection stays."""
        await self._send(b"0\r\n\r\n")

    async def hang_up(self) -> None:
        raise HungUp

    async def _send(self, data: bytes) -> None:
        try:
            await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise HungUp from None


Script = Callable[[Exchange], Awaitable[None]]


@dataclass
class ScriptedServer:
    url: str
    script: Script
    requests: list[Exchange] = field(default_factory=list)

    def connection(self, **given: Any) -> Connection:
        given = {"credentials": Fixed(Identity.of_token("t")), "authority": CERTIFICATE, **given}
        return Connection(self.url, **given)

    async def serve(self, stream: trio.abc.Stream) -> None:
        received = bytearray()
        try:
            while True:
                while (end := received.find(b"\r\n\r\n")) < 0:
                    received += await _more(stream)
                first, *lines = received[:end].decode().split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                length = int(headers.get("content-length", 0))
                while len(received) < end + 4 + length:
                    received += await _more(stream)
                body = json.loads(received[end + 4 : end + 4 + length]) if length else None
                del received[: end + 4 + length]
                method, target, _ = first.split(" ")
                url = urlsplit(target)
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                now = trio.current_time()
                exchange = Exchange(method, url.path, query, headers, body, now, stream)
                self.requests.append(exchange)
                await self.script(exchange)
        except (HungUp, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await trio.aclose_forcefully(stream)


async def _more(stream: trio.abc.Stream) -> bytes:
    data = await stream.receive_some()
    if not data:
        raise HungUp
    return bytes(data)


@asynccontextmanager
async def scripted_server(script: Script, *, client_certificate: bool = False) -> AsyncIterator[ScriptedServer]:
    """``script`` answers each request. With ``client_certificate`` it only talks to those that show our one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(FILES / "cert.pem", FILES / "key.pem")
    if client_certificate:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(FILES / "cert.pem")
    listeners = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1", https_compatible=True)
    port = listeners[0].transport_listener.socket.getsockname()[1]
    server = ScriptedServer(f"https://127.0.0.1:{port}", script)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, server.serve, listeners)
        yield server
        nursery.cancel_scope.cancel()


def played(*scripts: Script) -> Script:
    """The first request is answered by the first, and so on; the last one answers all others."""
    left = list(scripts)

    async def play(exchange: Exchange) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(exchange)

    return play
