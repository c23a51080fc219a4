"""The page at the level of HTTP: who may ask for what, with which headers, and how much of it."""

from __future__ import annotations

import json
import re
import select
from contextlib import asynccontextmanager

import httpx2
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from devicemgr import AddressUnusable, Device, open_device_manager
from devicemgr.daemon.page import app as page_app
from devicemgr.daemon.page import http as page_http
from devicemgr.daemon.page.app import MAX_BODY, MAX_READERS, TOKEN_HEADER, is_our_host
from devicemgr.events import FaultInjected, ManagerReady, PageOpenToOthers
from devicemgr.testing import open_simulated_plugin
from tests.helpers import GPU

TOKEN = "a-token"


def url_of(manager):
    ready = [one.event for one in manager.events() if isinstance(one.event, ManagerReady)][-1]
    return next(socket for socket in ready.sockets if socket.startswith("http"))


@asynccontextmanager
async def open_page(root_dir, **settings):
    """A manager with a page, and a client of that."""
    async with open_device_manager(root_dir, **{"page_address": ("", 0), **settings}) as manager:
        async with httpx2.AsyncClient(base_url=url_of(manager), timeout=10) as client:
            yield manager, client


@pytest.fixture
async def page(root_dir):
    async with open_page(root_dir) as opened:
        yield opened


ASK = b"GET /stream HTTP/1.0\r\nHost: localhost\r\n\r\n"
"""Of HTTP/1.0, so that the answer is not in chunks."""


@asynccontextmanager
async def stream_of(client):
    """A reader, as a function that gives the next message."""
    stream = await trio.open_tcp_stream(client.base_url.host, client.base_url.port)
    received = b""

    async def line():
        nonlocal received
        while b"\n" not in received:
            more = await stream.receive_some()
            if not more:
                raise EOFError
            received += more
        one, _, received = received.partition(b"\n")
        return one.decode()

    async def message():
        with trio.fail_after(10):
            while not (one := await line()).startswith("data: "):
                pass
        return json.loads(one.removeprefix("data: "))

    async with stream:
        await stream.send_all(ASK)
        yield message


async def test_the_page_is_three_files_of_ours(page):
    _, client = page
    html = await client.get("/")
    assert html.headers["content-type"] == "text/html; charset=utf-8"
    named = set(re.findall(r'(?:src|href)="([^"#]+)"', html.text))
    assert named == {"page.css", "page.js"}
    for name in named:
        assert (await client.get(f"/{name}")).status_code == 200
    assert "style=" not in html.text
    assert not re.search(r"\bon[a-z]+=|<script>|<style>", html.text)


@pytest.mark.parametrize("path", ["/", "/page.js", "/about", "/stream", "/no-such", "/fault"])
async def test_every_answer_has_the_headers(page, path):
    _, client = page
    answer = await client.head(path)
    policy = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert not any(name.startswith("access-control") for name in answer.headers)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/no-such", 404),
        ("GET", "/../app.py", 404),
        ("GET", "/app.py", 404),
        ("POST", "/", 405),
        ("DELETE", "/stream", 405),
        ("OPTIONS", "/fault", 405),
        ("GET", "/fault", 405),
        ("POST", "/fault", 403),
    ],
)
async def test_other_requests_are_refused(page, method, path, status):
    _, client = page
    assert (await client.request(method, path, headers={"origin": "http://evil.example"})).status_code == status


@pytest.mark.parametrize(
    ("host", "stated", "ours"),
    [
        ("localhost", "", True),
        ("localhost:8080", "", True),
        ("LOCALHOST:1", "", True),
        ("127.0.0.1:8080", "", True),
        ("[::1]:8080", "", True),
        ("[::1]", "", True),
        ("evil.example", "", False),
        ("evil.example:8080", "", False),
        ("localhost.evil.example", "", False),
        ("127.0.0.1.evil.example", "", False),
        ("192.168.0.7:8080", "", False),
        ("192.168.0.7:8080", "127.0.0.1", False),
        ("192.168.0.7:8080", "0.0.0.0", True),
        ("[fe80::1]:8080", "::", True),
        ("evil.example", "0.0.0.0", False),
        ("node-1:8080", "node-1", True),
        ("evil.example", "node-1", False),
        ("", "", False),
        (":8080", "", False),
        ("[", "", False),
    ],
)
def test_which_host_is_ours(host, stated, ours):
    assert is_our_host(host, stated) is ours


@given(st.text(max_size=20))
def test_no_other_name_is_ours(name):
    for host in (name, f"{name}:80", f"{name}.localhost", f"localhost{name}", f"127.0.0.1{name}"):
        if is_our_host(host, ""):
            assert re.fullmatch(r"\[?(localhost|127\.\d+\.\d+\.\d+|[0:]*:[01]?)\]?(:\d*)?", host.lower()), host


@pytest.mark.parametrize(
    ("site", "destination", "status"),
    [
        ("cross-site", "script", 403),
        ("cross-site", "empty", 403),
        ("cross-site", "iframe", 403),
        ("same-site", "script", 403),  # another port of this machine
        ("cross-site", "document", 200),  # a link that is followed
        ("same-origin", "empty", 200),
        ("none", "document", 200),
    ],
)
async def test_pages_of_others_get_nothing(page, site, destination, status):
    _, client = page
    for path in ("/", "/stream", "/about"):
        answer = await client.head(path, headers={"sec-fetch-site": site, "sec-fetch-dest": destination})
        assert answer.status_code == status


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"host": ""}])
async def test_a_name_that_was_pointed_here_gets_nothing(page, headers):
    _, client = page
    for path in ("/", "/stream", "/about"):
        answer = await client.get(path, headers=headers)
        assert answer.status_code == 421
        assert "Device Manager" not in answer.text


async def test_a_flip_is_a_message(page):
    manager, client = page
    async with open_simulated_plugin(manager.layout.plugins, GPU, devices=4) as gpu, stream_of(client) as message:
        assert (await message())["first"] is True
        await gpu.register()
        await manager.wait_for_resource(GPU, allocatable=4)
        states = ""
        while states != "ffff":
            states = (await message())["parts"].get(f"states {GPU}", states)
        gpu.set_health(next(iter(gpu.devices)).id, "Unhealthy")
        while states != "ufff":
            states = (await message())["parts"].get(f"states {GPU}", states)


async def test_it_goes_on_after_a_restart(root_dir):
    with trio.socket.socket() as reserved:
        await reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    async with open_page(root_dir, page_address=("127.0.0.1", port)) as (manager, client):
        async with stream_of(client) as message:
            await message()
            await manager.faults.restart()
            with pytest.raises((EOFError, trio.BrokenResourceError)):
                while True:
                    await message()
        async with stream_of(client) as message:
            assert "FaultInjected" in [event["event"] for event in (await message())["events"]]


async def stopped_reader(url):
    """A reader that never reads, with a small window."""
    sock = trio.socket.socket()
    sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4096)
    await sock.connect((url.host, url.port))
    await sock.send(ASK)
    return sock


LONG = [Device(id=f"{number}-{'x' * 500}") for number in range(2000)]
"""The list is longer than what the kernel holds of a connection."""


async def test_a_reader_that_has_stopped_costs_the_others_nothing_and_keeps_nobody_from_ending(root_dir):
    with trio.fail_after(page_http.SEND_TIMEOUT - 10):
        async with open_page(root_dir) as (manager, client):
            async with open_simulated_plugin(manager.layout.plugins, GPU, devices=LONG) as gpu:
                stopped = await stopped_reader(client.base_url)
                await gpu.register()
                async with stream_of(client) as message:
                    for number in (1999, 1000, 500):
                        gpu.set_devices(LONG[:number])
                        states = ""
                        while len(states) != number:
                            states = (await message())["parts"].get(f"states {GPU}", states)
        stopped.close()


async def test_a_reader_that_has_stopped_is_disconnected(root_dir, monkeypatch):
    monkeypatch.setattr(page_http, "SEND_TIMEOUT", 0.05)
    async with open_page(root_dir) as (manager, client):
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=LONG) as gpu:
            await gpu.register()
            await manager.wait_for_resource(GPU, allocatable=len(LONG))
            stopped = await stopped_reader(client.base_url)
            with trio.fail_after(20):
                while await is_connected(stopped):
                    await trio.lowlevel.checkpoint()
            stopped.close()


async def is_connected(sock):
    try:
        await sock.send(b"\r\n")
    except OSError:
        return False
    return True


async def test_readers_are_bounded(page):
    _, client = page
    async with trio.open_nursery() as nursery:
        for _ in range(MAX_READERS):
            await nursery.start(read_until_cancelled, client)
        answer = await client.get("/stream")
        assert (answer.status_code, answer.text) == (503, "too many readers\n")
        nursery.cancel_scope.cancel()
    with trio.fail_after(10):
        async with stream_of(client) as message:
            await message()


async def read_until_cancelled(client, task_status):
    async with stream_of(client) as message:
        await message()
        task_status.started()
        await trio.sleep_forever()


async def test_requests_come_at_a_bounded_rate_however_they_are_sent(root_dir, monkeypatch):
    monkeypatch.setattr(page_http, "REQUEST_RATE", 1e-6)
    monkeypatch.setattr(page_http, "REQUEST_BURST", 5)
    async with open_page(root_dir) as (_, client):
        stream = await trio.open_tcp_stream(client.base_url.host, client.base_url.port)
        async with stream:
            await stream.send_all(9 * b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answers = b""
            with trio.fail_after(10):
                while answers.count(b"HTTP/1.1 200") < 5:
                    answers += await stream.receive_some()
            await trio.testing.wait_all_tasks_blocked(0.05)
            readable, _, _ = select.select([stream.socket], [], [], 0)
            assert readable == []


async def test_there_are_no_web_sockets(page):
    _, client = page
    headers = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13", "sec-websocket-key": "x"}
    assert (await client.get("/stream", headers=headers)).status_code in (400, 403)
    assert (await client.get("/about")).status_code == 200


async def test_garbage_ends_a_connection_and_nothing_else(page):
    _, client = page
    for garbage in (
        b"\x00" * 100,
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET " + b"x" * 2**17,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense" * 9,
    ):
        stream = await trio.open_tcp_stream(client.base_url.host, client.base_url.port)
        async with stream:
            with trio.fail_after(10):
                try:
                    await stream.send_all(garbage)
                    await stream.send_eof()
                    while await stream.receive_some():
                        pass
                except trio.BrokenResourceError:
                    pass
        assert (await client.get("/about")).status_code == 200


async def test_a_bug_of_the_page_ends_the_program_with_its_traceback(root_dir, monkeypatch):
    def broken():
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(page_app, "describe_live", lambda _: broken())
    with pytest.RaisesGroup(pytest.RaisesExc(ZeroDivisionError), flatten_subgroups=True, allow_unwrapped=True):
        async with open_page(root_dir) as (_, client):
            await client.get("/about")
            await trio.sleep_forever()


# --- faults -----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def fault_page(root_dir):
    async with open_page(root_dir, page_token=TOKEN, allow_faults=True) as opened:
        yield opened


def injected(manager):
    return [one.event.fault for one in manager.events() if isinstance(one.event, FaultInjected)]


async def test_who_has_the_token_may_inject_faults(fault_page):
    manager, client = fault_page
    names = [fault["name"] for fault in (await client.get("/about")).json()["faults"]]
    assert "stop-reading" in names
    body = {"name": "stop-reading", "resource": GPU}
    assert (await client.post("/fault", json=body, headers={TOKEN_HEADER: TOKEN})).status_code == 204
    assert injected(manager) == ["stop-reading"]


@pytest.mark.parametrize(
    "headers", [{}, {TOKEN_HEADER: ""}, {TOKEN_HEADER: "a-toke"}, {TOKEN_HEADER: "ä"}, {"cookie": f"token={TOKEN}"}]
)
async def test_nobody_else_may(fault_page, headers):
    manager, client = fault_page
    answer = await client.post(
        f"/fault?token={TOKEN}", json={"name": "wipe"}, headers={k: v.encode() for k, v in headers.items()}
    )
    assert (answer.status_code, injected(manager)) == (403, [])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"7",
        b"[" * 4000,
        b'{"name": "no-such"}',
        b'{"name": "wipe", "more": 1}',
        b'{"name": 7}',
        b'{"name": "delay-calls", "call": "allocate", "seconds": -1}',
        b"x" * (MAX_BODY + 1),
    ],
)
async def test_what_is_no_fault_is_refused(fault_page, body):
    manager, client = fault_page
    answer = await client.post("/fault", content=body, headers={TOKEN_HEADER: TOKEN})
    assert (answer.status_code, injected(manager)) == (400, [])


@pytest.mark.parametrize(
    "settings", [{}, {"allow_faults": True}, {"page_token": TOKEN}, {"page_token": "", "allow_faults": True}]
)
async def test_without_permission_there_are_no_faults(root_dir, settings):
    async with open_page(root_dir, **settings) as (_, client):
        assert (await client.get("/about")).json()["faults"] == []
        for token in (TOKEN, ""):
            answer = await client.post("/fault", json={"name": "wipe"}, headers={TOKEN_HEADER: token})
            assert answer.status_code == 403


# --- where it is served -----------------------------------------------------------------------------------------------


async def test_without_a_host_it_is_served_on_loopback(page):
    manager, client = page
    assert client.base_url.host == "127.0.0.1"
    assert not [one for one in manager.events() if isinstance(one.event, PageOpenToOthers)]


async def test_another_address_is_reported(root_dir):
    async with open_page(root_dir, page_address=("0.0.0.0", 0)) as (manager, _):
        assert [one.event.address for one in manager.events() if isinstance(one.event, PageOpenToOthers)] == ["0.0.0.0"]


async def test_an_address_that_is_taken_is_an_error(root_dir):
    with trio.socket.socket() as taken:
        await taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(AddressUnusable, match="cannot serve on 127.0.0.1"):
            async with open_page(root_dir, page_address=("127.0.0.1", taken.getsockname()[1])):
                pass
