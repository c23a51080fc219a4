"""An API server that is away for an hour. The clock is moved on; all else is as in the other tests."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from devicemgr.cluster.api.retries import MAX_DELAY

from ..api_proxy import open_api_proxy
from .conftest import PATIENCE

HOUR = 3600
STEP = 10
"""Seconds by which the clock jumps: less than the shortest pause between two tries, so that none is missed."""
LOOPS = 5
"""Those that may try again and again: both watches, the Lease, the Node's status, Events."""


@pytest.fixture
def clock() -> MockClock:
    """The real one, which can be moved on."""
    return MockClock(rate=1)


async def until(holds: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE):
        while not holds():  # noqa: ASYNC110 - of what moves with the clock
            await trio.sleep(0.01)


async def test_an_hour_without_an_api_server(kube, join, clock):
    began, before = time.time(), trio.current_time()

    def of_the_day() -> float:
        return began + trio.current_time() - before

    async def pass_by(seconds: int, step: int = STEP, pause: float = 0.01) -> None:
        for _ in range(0, seconds, step):
            clock.jump(step)
            await trio.sleep(pause)

    async with (
        open_api_proxy(kube.cluster, f"system:node:{kube.node}") as (proxy, api),
        join(devices=3, api=api, clock=of_the_day) as joined,
    ):
        await kube.create_pod("stays", gpus=1)
        await kube.create_pod("ends", gpus=1, annotations={"devicemgr.dev/complete-after": "30m"})
        await kube.create_pod("deleted", gpus=1)
        held = {name: await kube.until_phase(name, "Running") for name in ("stays", "ends", "deleted")}
        proxy.cut()
        await pass_by(40 * 60)
        await until(lambda: joined.available() == 1)
        await pass_by(20 * 60)
        assert HOUR / (2 * MAX_DELAY) <= proxy.turned_away <= LOOPS * HOUR / (MAX_DELAY / 2)
        await kube.api.delete(f"{kube.pods}/deleted", grace=0)
        await kube.create_pod("new", gpus=1)
        proxy.mend()
        await pass_by(60, step=1, pause=0.1)  # requests are under way, which must not take long by that clock
        await kube.until_phase("new", "Running")
        await kube.until_phase("ends", "Succeeded")
        await until(lambda: {pod.name for pod in joined.manager.pods()} == {"stays", "new"})
        (lost,), (back,) = joined.seen("ApiServerLost"), joined.seen("ApiServerReached")
        assert lost.problem
        assert back.seconds >= HOUR - MAX_DELAY
        assert (await kube.api.get(f"{kube.pods}/stays"))["status"] == held["stays"]["status"]
        assert len(joined.seen("NodeLeaseTaken")) == len(joined.seen("NodeRegistered")) == 1
        assert sorted(one.name for one in joined.seen("PodAdmitted")) == ["deleted", "ends", "new", "stays"]
