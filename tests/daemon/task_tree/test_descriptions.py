"""Every task in the tree has a name that somebody wrote, also those of libraries.

The same for a node of a cluster is in ``tests/cluster/node``, and for the managers of ``check`` in
``tests/testing/conformance``.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial

import h2.connection
import httpx2
import trio

from devicemgr import open_device_manager
from devicemgr.events import ManagerReady
from devicemgr.rpc.admin.client import connect_manager
from devicemgr.testing import open_simulated_plugin
from tests.helpers import FPGA, GPU, NIC, pod, undescribed

HEADERS = {":method": "GET", ":path": "/stream", ":scheme": "http", ":authority": "localhost"}


async def first_bytes(url, request):
    """Of the answer on a connection that stays open."""
    stream = await trio.open_tcp_stream(url.host, url.port)
    await stream.send_all(request)
    assert await stream.receive_some()
    return stream


def http2_request():
    connection = h2.connection.H2Connection()
    connection.initiate_connection()
    connection.send_headers(1, list(HEADERS.items()), end_stream=True)
    return connection.data_to_send()


async def test_of_a_manager_with_a_page_and_metrics_and_all_kinds_of_callers(root_dir, task_names):
    settings = {"page_address": ("", 0), "metrics_address": ("127.0.0.1", 0)}
    async with (
        open_device_manager(root_dir, **settings) as manager,
        trio.open_nursery() as n,
        AsyncExitStack() as stack,
    ):
        (ready,) = [one.event for one in manager.events() if isinstance(one.event, ManagerReady)]
        metrics, page = (httpx2.URL(one) for one in ready.sockets if one.startswith("http"))
        for url, request in (
            (page, b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            (page, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            (page, http2_request()),
            (metrics, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ):
            await stack.enter_async_context(await first_bytes(url, request))
        client = await stack.enter_async_context(connect_manager(manager.layout.admin_socket))
        n.start_soon(lambda: client.read_tree(lambda tree: None, watch=True))
        n.start_soon(lambda: client.read_events(lambda event: None, follow=True))
        n.start_soon(partial(manager.wait_for_resource, FPGA, allocatable=1))
        for resource in (GPU, NIC):
            plugin = await stack.enter_async_context(open_simulated_plugin(manager.layout.plugins, resource, devices=1))
            await plugin.register()
            await manager.wait_for_resource(resource, allocatable=1)
        watched = open_simulated_plugin(manager.layout.plugins_registry, "vendor.com/watched", devices=1)
        await stack.enter_async_context(watched)
        await manager.wait_for_resource("vendor.com/watched", allocatable=1)
        assert await manager.admit(pod("a", gpu=1, nic=1))
        await manager.faults.restart()
        await manager.faults.corrupt_checkpoint()
        n.cancel_scope.cancel()
    assert undescribed(task_names) == set()
    assert {
        "request",
        "end of a reader",
        "feed of the page",
        "Tree",
        "Events",
        "restart",
        f"wait_for_resource {FPGA}",
        f"ask for {NIC}",
        "connection to the page from 127.0.0.1",
    } <= task_names
