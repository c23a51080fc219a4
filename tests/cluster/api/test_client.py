"""The client of the API server, where there is none that answers."""

from __future__ import annotations

import base64
import gc
import json
import socket

import pytest
import trio

from devicemgr.cluster.api.client import open_api_client
from devicemgr.cluster.api.connection import Connection, Fixed, Identity
from devicemgr.cluster.api.http import AT_A_TIME, PATIENCE, WHOLE
from devicemgr.errors import ApiError, ApiUnreachable, ApiUntrusted
from tests.fake_api_server import FILES

from .scripted_server import Exchange, played, scripted_server

NODE = b'{"metadata": {"uid": "1", "resourceVersion": "1"}}'


def connection(url: str) -> Connection:
    return Connection(url, Fixed(Identity.of_token("token")), (FILES / "cert.pem").read_bytes())


@pytest.fixture
def silent():
    """Where connections are accepted, and nothing is said."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"


async def test_a_connection_whose_handshake_is_cancelled_is_closed(silent, autojump_clock):
    async with open_api_client(connection(silent)) as api:
        with trio.move_on_after(1):
            await api.get("/api/v1/nodes/node")
        with trio.move_on_after(1):
            await api.wait_until("/api/v1/nodes/node", lambda node: node is not None)
        gc.collect()  # an open one would be reported


async def test_nobody_is_not_ready():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        async with open_api_client(connection(f"https://127.0.0.1:{closed.getsockname()[1]}")) as api:
            assert not await api.is_ready()
            with pytest.raises(ApiUnreachable, match="refused"):
                await api.get("/api/v1/nodes/node")


async def test_who_waits_for_an_object_waits_while_the_server_is_away_and_is_told_of_a_refusal(autojump_clock):
    answers = [(503, None), (200, {"metadata": {"resourceVersion": "1"}, "items": [{"metadata": {"uid": "1"}}]})]

    async def script(exchange: Exchange) -> None:
        encodings.add(exchange.headers["accept-encoding"])
        code, body = answers.pop(0) if answers else (403, None)
        await (exchange.answer(body) if body else exchange.status(code))

    encodings: set[str] = set()
    async with scripted_server(script) as server, open_api_client(server.connection()) as api:
        assert await api.wait_until("/api/v1/nodes/node", lambda node: node is not None) == {"metadata": {"uid": "1"}}
        with pytest.raises(ApiError, match="403"):
            await api.wait_until("/api/v1/nodes/node", lambda node: node is not None)
    assert encodings == {"identity"}  # else somebody in between may compress a watch


def says(content: bytes, *, code: int = 200, **headers: str):
    return lambda exchange: exchange.answer(content, code=code, **headers)


@pytest.mark.parametrize(
    "answer",
    [
        says(b"<html>log in</html>", Content_Type="text/html"),
        says(b"", code=302, Location="https://login/"),
        says(b"", code=204),
        says(b'{"error": "log in"}'),
        says(b'{"kind": "Status", "metadata": {}}'),
        says(b"[" * 100_000),
        says(b'{"a": "\xff"}'),
        *(says(b"404 page not found\n", code=code) for code in (400, 404, 409, 410, 422)),
        says(b'{"message": "no such route"}', code=404),
    ],
    ids=["page", "redirect", "nothing", "JSON", "Status", "deep", "no UTF-8", *"12345", "JSON that is no Status"],
)
async def test_what_a_proxy_says_is_no_answer(answer):
    """Nor may it be believed that an object is not there."""
    async with (
        scripted_server(played(answer, says(NODE), answer)) as server,
        open_api_client(server.connection()) as api,
    ):
        with pytest.raises(ApiUnreachable, match=f"{server.url}: it has answered with .*: is it an API server"):
            await api.get("/api/v1/nodes/node")
        assert api.reachability.lost is not None
        assert await api.get("/api/v1/nodes/node") == json.loads(NODE)
        assert api.reachability.lost is None


async def test_an_answer_without_an_end_is_given_up(autojump_clock):
    """Though there always comes a byte in time."""

    async def drip(exchange: Exchange) -> None:
        await exchange.begin()
        while True:
            await exchange.bytes(b" ")
            await trio.sleep(PATIENCE / 2)

    async with scripted_server(drip) as server, open_api_client(server.connection()) as api:
        with pytest.raises(ApiUnreachable, match="has not ended"), trio.fail_after(2 * WHOLE):
            await api.get("/api/v1/nodes/node")
        assert api.reachability.lost is not None


async def test_a_proxy_that_wants_a_password(nursery):
    """Both have characters that are escaped in a URL."""

    async def relay(client: trio.SocketStream) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await client.receive_some()
        first, *headers = head.decode().splitlines()
        asked.append((first, {name.lower(): value for name, _, value in (line.partition(": ") for line in headers)}))
        host, port = first.split()[1].split(":")
        async with await trio.open_tcp_stream(host, int(port)) as server, trio.open_nursery() as both:
            await client.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
            both.start_soon(copy, client, server)
            await copy(server, client)
            both.cancel_scope.cancel()

    async def copy(source: trio.SocketStream, target: trio.SocketStream) -> None:
        async for data in source:
            await target.send_all(data)

    async def script(exchange: Exchange) -> None:
        await exchange.answer({"metadata": {"uid": exchange.path, "resourceVersion": "1"}})

    asked: list[tuple[str, dict[str, str]]] = []
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, relay, [listener])
    proxy = f"http://m%40x:a%2Fb@127.0.0.1:{listener.socket.getsockname()[1]}"
    async with scripted_server(script) as server, open_api_client(server.connection(proxy=proxy)) as api:
        assert (await api.get("/api/v1/nodes/n"))["metadata"]["uid"] == "/api/v1/nodes/n"
    nursery.cancel_scope.cancel()
    [(first, headers)] = asked
    assert first == f"CONNECT {server.url.removeprefix('https://')} HTTP/1.1"
    assert headers["proxy-authorization"] == f"Basic {base64.b64encode(b'm@x:a/b').decode()}"


async def test_many_requests_share_a_few_connections_and_watches_have_their_own():
    """Else a thousand pods that start at once would make a thousand of them."""

    async def script(exchange: Exchange) -> None:
        if exchange.query.get("watch"):
            await exchange.begin()
            await trio.sleep_forever()
        await exchange.answer({"metadata": {"resourceVersion": "1"}, "items": []})

    async with scripted_server(script) as server, open_api_client(server.connection()) as api:

        async def watch(number: int) -> None:
            async with api.reflect(f"/watched/{number}") as changes:
                await changes.receive()
                await trio.sleep_forever()

        async with trio.open_nursery() as watching:
            for number in range(100):
                watching.start_soon(watch, number)
            with trio.fail_after(60):
                while sum("watch" in one.query for one in server.requests) < 100:
                    await api.get("/x")
            async with trio.open_nursery() as asking:
                for number in range(300):
                    asking.start_soon(api.get, f"/asked/{number}")
            asked = {id(one.stream) for one in server.requests if one.path.startswith("/asked")}
            assert len(asked) <= AT_A_TIME
            watching.cancel_scope.cancel()


async def test_an_authority_that_cannot_be_used_is_not_taken_for_a_client_certificate():
    async with open_api_client(Connection("https://127.0.0.1:1", authority=b"nonsense")) as api:
        with pytest.raises(ApiUntrusted, match="the certificate authority of the API server cannot be used: .*[a-z]"):
            await api.get("/x")
