"""The client of the API server, where there is none that answers."""

from __future__ import annotations

import gc
import socket

import pytest
import trio

from devicemgr.cluster.api.client import open_api_client
from devicemgr.cluster.api.connection import Connection, Fixed, Identity
from devicemgr.cluster.api.http import AT_A_TIME
from devicemgr.errors import ApiError, ApiUnreachable
from tests.fake_api_server import FILES

from .scripted_server import Exchange, scripted_server


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
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"https://127.0.0.1:{closed.getsockname()[1]}"
    async with open_api_client(connection(url)) as api:
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
