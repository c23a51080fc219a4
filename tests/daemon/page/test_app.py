"""The page at the level of HTTP: who may ask for what, with which headers, and how much of it."""

from __future__ import annotations

import json
import re
import select
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx2
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from devicemgr import AddressUnusable, Device, open_device_manager
from devicemgr.core.views.task_tree import NURSERIES
from devicemgr.daemon.page import app as page_app
from devicemgr.daemon.page import feed as page_feed
from devicemgr.daemon.page import http as page_http
from devicemgr.daemon.page import site as page_site
from devicemgr.daemon.page.app import MAX_BODY, MAX_READERS, TOKEN_HEADER, is_our_host
from devicemgr.daemon.page.feed import Feed
from devicemgr.events import FaultInjected, ManagerReady, PageOpenToOthers
from devicemgr.rules.book import read_book
from devicemgr.testing import open_simulated_plugin
from tests.helpers import GPU
from tests.processes import HANGS

TOKEN = "a-token"
BROWSER = Path(page_app.__file__).parent / "browser"


def url_of(manager):
    ready = [one.event for one in manager.events() if isinstance(one.event, ManagerReady)][-1]
    return next(socket for socket in ready.sockets if socket.startswith("http"))


@asynccontextmanager
async def open_page(root_dir, **settings):
    """A manager with a page, and a client of that."""
    async with open_device_manager(root_dir, **{"page_address": ("", 0), **settings}) as manager:
        async with httpx2.AsyncClient(base_url=url_of(manager), timeout=HANGS) as client:
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
        with trio.fail_after(HANGS):
            while not (one := await line()).startswith("data: "):
                pass
        return json.loads(one.removeprefix("data: "))

    async with stream:
        await stream.send_all(ASK)
        yield message


async def test_the_page_names_only_files_of_ours(page):
    _, client = page
    html = await client.get("/")
    assert html.headers["content-type"] == "text/html; charset=utf-8"
    assert set(re.findall(r'(?:src|href)="([^"#]+)"', html.text)) == {"page.css", "page.js"}
    assert "style=" not in html.text
    explained = re.findall(r"<dt>(.+?)</dt> <dd>(.+?)</dd>", html.text)
    assert dict(explained) == NURSERIES
    assert not re.search(r"\bon[a-z]+=|<script>|<style>", html.text)


async def test_every_file_of_the_page_is_served(page):
    _, client = page
    types = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
    for file in BROWSER.iterdir():
        answer = await client.get("/" if file.name == "page.html" else f"/{file.name}")
        assert answer.content == file.read_bytes()
        assert answer.headers["content-type"] == f"{types[file.suffix]}; charset=utf-8"


async def test_the_book_is_served_as_its_sentences(page):
    _, client = page
    assert (await client.get("/rules")).json() == {id: item.sentence for id, item in read_book().items()}


async def test_a_file_that_a_browser_has_is_not_sent_again(page):
    """But it asks: files of two versions make no page. What changes is not kept."""
    _, client = page
    first = await client.get("/page.js")
    assert first.headers["cache-control"] == "no-cache"
    again = await client.get("/page.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    other = await client.get("/page.css", headers={"if-none-match": first.headers["etag"]})
    assert other.status_code == 200
    for path in ("/about", "/stream", "/no-such"):
        assert (await client.head(path)).headers["cache-control"] == "no-store"


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
    assert (await client.request(method, path)).status_code == status
    assert (await client.request(method, path, headers={"origin": "http://evil.example"})).status_code == 403


async def ask(client, text):
    """The whole answer to the bytes of a request, which asks for the end of the connection."""
    answer = b""
    with trio.fail_after(60):
        async with await trio.open_tcp_stream(client.base_url.host, client.base_url.port) as stream:
            await stream.send_all(text)
            with suppress(trio.BrokenResourceError):
                while more := await stream.receive_some():
                    answer += more
    return answer


@pytest.mark.parametrize(
    "target",
    [
        "//page.js",
        "/./page.js",
        "/page.js/..",
        "/../app.py",
        "/%2e%2e/app.py",
        "/..%2fapp.py",
        "/page.js%00",
        "/PAGE.JS",
        "/page.html",
        "page.js",
        "http://evil.example/page.js",
        "*",
    ],
)
async def test_there_is_nothing_beside_the_pages_own_paths(page, target):
    _, client = page
    answer = await ask(client, f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400")), answer


@pytest.mark.parametrize("path", ["/", "/page.css", "/page.js", "/about", "/stream", "/fault"])
@pytest.mark.parametrize("method", ["OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PRI", "NONSENSE"])
async def test_nothing_is_changed_by_any_method(page, method, path):
    _, client = page
    answer = await client.request(method, path)
    assert answer.status_code == (403 if (method, path) == ("POST", "/fault") else 405)


BODIES = {
    "in chunks": b"Transfer-Encoding: chunked\r\n\r\n" + 20_000 * b"1\r\nx\r\n",
    "long": b"Content-Length: 100000\r\n\r\n" + 100_000 * b"x",
    "both": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "of two lengths": b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nxxxxx",
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("line", ["GET /stream", "GET /", "POST /fault"])
async def test_a_long_body_is_not_read(page, line, body):
    """Nor one of which nobody knows how long it is; what comes after it is no request."""
    _, client = page
    smuggled = b"GET /about HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = await ask(client, f"{line} HTTP/1.1\r\nHost: localhost\r\n".encode() + BODIES[body] + smuggled)
    assert b"200" not in answer.partition(b"\r\n")[0]
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert (await client.get("/about")).status_code == 200


async def test_http_2_is_not_spoken(page):
    """An offer is ignored; who speaks it at once is not understood."""
    _, client = page
    offer = (
        b"Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
    )
    answer = await ask(client, b"GET /about HTTP/1.1\r\nHost: localhost\r\n" + offer + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    answer = await ask(client, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")


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


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://evil.example", 403),
        ("null", 403),
        ("http://localhost:1", 403),  # another port of this machine
        ("", 403),
        ("http://127.0.0.1:8080", 200),
        ("https://127.0.0.1:8080", 200),  # behind something that speaks TLS
    ],
)
async def test_where_browsers_do_not_say_whose_page_it_is_its_origin_does(page, origin, status):
    """They do only where they trust the connection, and not with an address of the network."""
    _, client = page
    for path in ("/", "/stream", "/about"):
        answer = await client.head(path, headers={"origin": origin, "host": "127.0.0.1:8080"})
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
    with trio.socket.socket() as reserved:  # nobody gets its port meanwhile but a server that shares it, as ours does
        reserved.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_REUSEADDR, 1)
        await reserved.bind(("127.0.0.1", 0))
        async with open_page(root_dir, page_address=reserved.getsockname()) as (manager, client):
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


async def test_a_reader_that_has_stopped_costs_the_others_nothing_and_keeps_nobody_from_ending(root_dir, monkeypatch):
    monkeypatch.setattr(page_http, "SEND_TIMEOUT", 10 * HANGS)
    with trio.fail_after(HANGS):
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
            with trio.fail_after(60):
                while await is_connected(stopped):
                    await trio.lowlevel.checkpoint()
            stopped.close()


async def test_a_reader_that_is_too_far_behind_is_disconnected(root_dir, monkeypatch):
    monkeypatch.setattr(page_feed, "MOST_REPLACED", 1_500_000)  # the list has 1,000,000 characters
    with trio.fail_after(page_http.SEND_TIMEOUT - 10):
        async with open_page(root_dir) as (manager, client):
            async with open_simulated_plugin(manager.layout.plugins, GPU, devices=LONG) as gpu:
                await gpu.register()
                await manager.wait_for_resource(GPU, allocatable=len(LONG))
                stopped = await stopped_reader(client.base_url)
                async with stream_of(client) as message:
                    parts = {}
                    while "the client to read" not in str(parts.get("tasks")):
                        parts |= (await message())["parts"]
                    for number in (1999, 1998, 1997):
                        gpu.set_devices(LONG[:number])
                        while len(parts[f"states {GPU}"]) != number:
                            parts |= (await message())["parts"]
                    while "the client to read" in str(parts["tasks"]):
                        parts |= (await message())["parts"]
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
    with trio.fail_after(60):
        while not await is_served(client):  # the manager sees one connection end after the other
            pass


async def is_served(client):
    try:
        async with stream_of(client) as message:
            return await message()
    except EOFError:
        return None


async def read_until_cancelled(client, task_status):
    async with stream_of(client) as message:
        await message()
        task_status.started()
        await trio.sleep_forever()


@pytest.mark.parametrize("begin", [b"", b"GET / HTTP/1.1\r\nHost: loc", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"])
async def test_who_sends_no_request_in_time_is_disconnected(root_dir, monkeypatch, begin):
    monkeypatch.setattr(page_http, "IDLE_TIMEOUT", 0.2)
    async with open_page(root_dir) as (_, client):
        await ask(client, begin)


async def test_readers_share_the_texts_of_a_message(page):
    """One that has stopped, of many devices, keeps no copy."""
    manager, _ = page
    async with open_simulated_plugin(manager.layout.plugins, GPU, devices=LONG) as gpu:
        await gpu.register()
        await manager.wait_for_resource(GPU, allocatable=len(LONG))
        feed = Feed(manager.overview_steps, manager.task_tree, manager.log, lambda: 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed.keep)
            with feed.reading() as one, feed.reading() as other:
                first, second = [{id(piece): piece for piece in await reader.next()} for reader in (one, other)]
            nursery.cancel_scope.cancel()
    own = [piece for place, piece in first.items() if place not in second]
    assert sum(map(len, own)) < 10_000 < 1_000_000 < sum(map(len, first.values()))


@given(st.lists(st.text(max_size=50)), st.integers(1, 60))
def test_a_message_in_blocks_is_the_same_message(pieces, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_app, "BLOCK", size)
        blocks = [*page_app.in_blocks(pieces)]
    assert "".join(blocks) == "".join(pieces)
    assert all(len(block) < 2 * size for block in blocks)
    assert all(len(block) >= size for block in blocks[:-1])


async def test_all_clients_together_have_a_share_of_the_time(root_dir, monkeypatch):
    monkeypatch.setattr(page_http, "TIME_SHARE", 1e-9)
    monkeypatch.setattr(page_http, "TIME_BURST", 1e-9)
    async with open_page(root_dir) as (_, client):
        assert (await client.get("/about")).status_code == 200
        stream = await trio.open_tcp_stream(client.base_url.host, client.base_url.port)
        async with stream:
            await stream.send_all(ASK)
            await trio.testing.wait_all_tasks_blocked(0.05)
            readable, _, _ = select.select([stream.socket], [], [], 0)
            assert readable == []


async def test_requests_come_at_a_bounded_rate_however_they_are_sent(root_dir, monkeypatch):
    monkeypatch.setattr(page_http, "REQUEST_RATE", 1e-6)
    monkeypatch.setattr(page_http, "REQUEST_BURST", 5)
    async with open_page(root_dir) as (_, client):
        stream = await trio.open_tcp_stream(client.base_url.host, client.base_url.port)
        async with stream:
            await stream.send_all(9 * b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answers = b""
            with trio.fail_after(60):
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
            with trio.fail_after(60):
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


def readies(manager):
    return [one for one in manager.events() if isinstance(one.event, ManagerReady)]


def injected(manager):
    return [one.event.fault for one in manager.events() if isinstance(one.event, FaultInjected)]


async def test_who_has_the_token_may_inject_faults(fault_page):
    manager, client = fault_page
    names = [fault["name"] for fault in (await client.get("/about")).json()["faults"]]
    assert "stop-reading" in names
    body = {"name": "stop-reading", "resource": GPU}
    assert (await client.post("/fault", json=body, headers={TOKEN_HEADER: TOKEN})).status_code == 204
    assert injected(manager) == ["stop-reading"]


async def test_a_restart_is_answered_although_it_ends_the_connection(fault_page):
    """Again and again: the answer is on its way when the manager closes its connections."""
    manager, _ = fault_page
    for number in range(1, 6):
        async with httpx2.AsyncClient(base_url=url_of(manager), timeout=HANGS) as client:
            answer = await client.post("/fault", json={"name": "restart"}, headers={TOKEN_HEADER: TOKEN})
        assert answer.status_code == 202
        with trio.fail_after(HANGS):
            await manager.log.wait_until(lambda number=number: len(readies(manager)) > number)
    assert injected(manager) == ["restart"] * 5


async def test_a_restart_that_cannot_be_is_refused(fault_page):
    manager, client = fault_page
    body = {"name": "restart", "seconds": -1}
    answer = await client.post("/fault", json=body, headers={TOKEN_HEADER: TOKEN})
    assert (answer.status_code, injected(manager)) == (400, [])


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
        b"x" * MAX_BODY,
    ],
)
async def test_what_is_no_fault_is_refused(fault_page, body):
    manager, client = fault_page
    answer = await client.post("/fault", content=body, headers={TOKEN_HEADER: TOKEN})
    assert (answer.status_code, injected(manager)) == (400, [])


async def test_who_leaves_in_the_middle_of_a_fault_ends_nothing(fault_page):
    manager, client = fault_page
    head = f"POST /fault HTTP/1.1\r\nHost: localhost\r\n{TOKEN_HEADER}: {TOKEN}\r\nContent-Length: 100\r\n\r\n"
    async with await trio.open_tcp_stream(client.base_url.host, client.base_url.port) as stream:
        await stream.send_all(head.encode() + b'{"name": ')
        await trio.testing.wait_all_tasks_blocked(0.05)
    for _ in range(3):
        assert (await client.get("/about")).status_code == 200
    assert injected(manager) == []


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


async def test_what_counts_is_the_address_that_a_name_stands_for(root_dir, monkeypatch):
    real = page_site.open_listeners
    monkeypatch.setattr(page_site, "open_listeners", lambda host, port: real("127.0.0.1", port))
    async with open_page(root_dir, page_address=("a-name-of-this-machine", 0)) as (manager, _):
        assert not [one for one in manager.events() if isinstance(one.event, PageOpenToOthers)]
