"""Events, where something refuses them."""

from __future__ import annotations

import pytest
import trio

from devicemgr.cluster.api.client import open_api_client
from devicemgr.cluster.node.event_recorder import EventRecorder
from devicemgr.cluster.objects.event import Remark

from ..api.scripted_server import Exchange, scripted_server

MADE = {"metadata": {"name": "made", "uid": "1", "resourceVersion": "1"}, "count": 1}


@pytest.mark.parametrize("code", [403, 429, 500])
async def test_one_that_is_refused_keeps_no_other_one_waiting(code, autojump_clock):
    """As a webhook does it that concerns one namespace."""
    written = trio.Event()

    async def refuses_one(exchange: Exchange) -> None:
        if "/refused/" in exchange.path:
            await exchange.status(code, "No")
        else:
            await exchange.answer(MADE)
            written.set()

    async with (
        scripted_server(refuses_one) as server,
        open_api_client(server.connection()) as api,
        trio.open_nursery() as nursery,
    ):
        recorder = EventRecorder(api, node="node", clock=lambda: 0.0)
        nursery.start_soon(recorder.run)
        for namespace in ("refused", "default"):
            recorder.say(Remark(namespace, "pod", "uid", "Failed", "why"))
        with trio.fail_after(3600):
            await written.wait()
        nursery.cancel_scope.cancel()
