"""The server of /metrics, and whoever connects to it; tests/hostile does the same to a daemon."""

from __future__ import annotations

import itertools
import re
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
import trio

from devicemgr import PeerLimits
from devicemgr.daemon.event_log import EventLog
from devicemgr.daemon.serving.clients import open_listeners
from devicemgr.daemon.serving.http import (
    IDLE_TIMEOUT,
    PAGE_LIFETIME,
    SEND_TIMEOUT,
    Page,
    PageServer,
    cached,
)

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LENGTH = re.compile(rb"content-length: (\d+)")
LONG = bytes(2**23)
"""Longer than what the kernel holds of a connection."""


class Site:
    """A server of one page, which says how often it was made; at most three may be connected."""

    def __init__(self, body: bytes):
        self._body, self._made, self.log = body, 0, EventLog()
        self._port = 0
        self._streams = AsyncExitStack()

    @asynccontextmanager
    async def serving(self):

        listeners = await open_listeners("127.0.0.1", 0)
        self._port = listeners[0].socket.getsockname()[1]
        async with self._streams, trio.open_nursery() as nursery:
            nursery.start_soon(PageServer({"/": cached(self._make)}, PeerLimits(scrapers=3), self.log).serve, listeners)
            yield self
            nursery.cancel_scope.cancel()

    async def _make(self):
        self._made += 1
        return Page(200, self._body or b"page %d" % self._made)

    async def connect(self, source="127.0.0.1"):
        sock = trio.socket.socket()
        stream = await self._streams.enter_async_context(trio.SocketStream(sock))
        await sock.bind((source, 0))
        await sock.connect(("127.0.0.1", self._port))
        return stream


@pytest.fixture
async def site(request):
    async with Site(getattr(request, "param", b"")).serving() as one:
        yield one


async def answer(stream):
    """One, with its head."""
    text = b""
    while b"\r\n\r\n" not in text or len(text.partition(b"\r\n\r\n")[2]) < int(LENGTH.search(text)[1]):
        more = await stream.receive_some()
        assert more, text
        text += more
    return text


async def received(stream):
    """How many bytes come until the end."""
    size = 0
    with suppress(trio.BrokenResourceError):
        while data := await stream.receive_some(2**20):
            size += len(data)
    return size


async def test_one_page_a_second_for_all(site, autojump_clock):
    one, other = await site.connect(), await site.connect()
    for stream in (one, one, other):
        await stream.send_all(GET)
        assert b"page 1" in await answer(stream)
    await trio.sleep(PAGE_LIFETIME)
    await other.send_all(GET)
    assert b"page 2" in await answer(other)


async def test_who_asks_many_things_at_once_has_them_in_turns(site, autojump_clock):
    greedy, modest = await site.connect(), await site.connect()
    await greedy.send_all(GET * 1000)
    assert b"page 1" in await answer(greedy)
    await modest.send_all(GET)
    assert b"page" in await answer(modest)


@pytest.mark.parametrize("said", [b"", b"GET / HT", GET, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"])
async def test_who_says_no_more_is_let_go(site, autojump_clock, said):
    stream = await site.connect()
    await stream.send_all(said)
    began = trio.current_time()
    await received(stream)
    assert trio.current_time() - began <= IDLE_TIMEOUT + 1


async def test_a_body_is_not_read(site):
    stream = await site.connect()
    await stream.send_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\nonly this")
    assert b"405" in await answer(stream)
    await received(stream)


@pytest.mark.parametrize("site", [LONG], indirect=True, ids=["long"])
async def test_who_does_not_read_is_let_go(site, autojump_clock):
    stream = await site.connect()
    await stream.send_all(GET)
    await trio.sleep(SEND_TIMEOUT + 1)
    assert await received(stream) < len(LONG)


async def test_whose_last_request_is_the_longest_ago_gives_way(site):
    first, second, third = [await site.connect() for _ in range(3)]
    for stream in (first, second, third, first):
        await stream.send_all(GET)
        await answer(stream)
    fourth = await site.connect()
    await received(second)
    for stream in (first, third, fourth):
        await stream.send_all(GET)
        assert b"page" in await answer(stream)
    (event,) = [recorded.event for recorded in site.log.after(0)]
    assert (event.limit, event.peer) == ("scrapers", "127.0.0.1")


async def test_of_the_address_that_has_most(site):
    other = await site.connect("127.0.0.2")
    await other.send_all(GET)
    await answer(other)
    first, *_ = [await site.connect() for _ in range(3)]
    await received(first)
    await other.send_all(GET)
    assert b"page" in await answer(other)


async def test_all_together_have_one_share(site, autojump_clock, monkeypatch):
    """Each step takes 0.01 s of CPU time here; there are 0.1 s, and then 0.02 a second."""
    clock = itertools.count()
    monkeypatch.setattr("devicemgr.rpc.transport.metering.thread_time", lambda: next(clock) / 100)
    streams = [await site.connect() for _ in range(3)]
    began = trio.current_time()
    for stream in streams * 10:
        await stream.send_all(GET)
        await answer(stream)
    assert trio.current_time() - began >= (30 * 0.01 - 0.1) / 0.02
