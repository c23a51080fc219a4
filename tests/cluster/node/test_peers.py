"""An API server, or what stands before it, that says no again and again: it is not asked as fast as it answers."""

from __future__ import annotations

import pytest
import trio

from ..api_proxy import Failure, open_api_proxy
from .conftest import GPU, PATIENCE

ALWAYS = 1_000_000


@pytest.mark.parametrize(("method", "path"), [("PATCH", "/pods/one/status"), ("PUT", "/leases/")])
async def test_a_conflict_that_stays_is_no_reason_to_hurry(kube, join, method, path, monkeypatch):
    monkeypatch.setattr("devicemgr.cluster.node.lease.RENEW_PERIOD", 0.1)
    monkeypatch.setattr("devicemgr.cluster.api.retries.FIRST_DELAY", 1000)
    async with open_api_proxy(kube.cluster, f"system:node:{kube.node}") as (proxy, api), join(api=api):
        await kube.until_allocatable(2)
        conflict = proxy.fail(Failure(method, path, code=409, reason="Conflict", times=ALWAYS))
        await kube.create_pod("one", gpus=1)
        with trio.fail_after(PATIENCE):
            while conflict.times == ALWAYS:
                await kube.api.get(kube.node_path)
        for _ in range(50):
            await kube.api.get(kube.node_path)
        assert conflict.times == ALWAYS - 1


async def until_asked(kube, failures, *, times):
    """Until each of them has answered so often; then it is given the time to answer more often."""
    with trio.fail_after(PATIENCE):
        while any(one.times > ALWAYS - times for one in failures):
            await kube.api.list("/api/v1/nodes")
    for _ in range(50):
        await kube.api.list("/api/v1/nodes")
    return [ALWAYS - one.times for one in failures]


async def test_a_name_that_is_taken_by_a_node_that_is_not_there(kube, join, monkeypatch):
    monkeypatch.setattr("devicemgr.cluster.api.retries.FIRST_DELAY", 1000)
    async with open_api_proxy(kube.cluster, f"system:node:{kube.node}") as (proxy, api), trio.open_nursery() as nursery:
        taken = proxy.fail(Failure("POST", "/nodes$", code=409, reason="AlreadyExists", times=ALWAYS))
        gone = proxy.fail(Failure("GET", f"/nodes/{kube.node}$", code=404, reason="NotFound", times=ALWAYS))

        async def be_there() -> None:
            async with join(api=api):
                pytest.fail("it cannot join")

        nursery.start_soon(be_there)
        assert await until_asked(kube, [taken, gone], times=1) == [1, 1]
        nursery.cancel_scope.cancel()


async def test_a_node_that_is_there_and_has_no_status(kube, join, monkeypatch):
    monkeypatch.setattr("devicemgr.cluster.api.retries.FIRST_DELAY", 1000)
    async with open_api_proxy(kube.cluster, f"system:node:{kube.node}") as (proxy, api):
        gone = proxy.fail(Failure("PATCH", f"/nodes/{kube.node}/status", code=404, reason="NotFound", times=ALWAYS))
        async with join(api=api):
            assert await until_asked(kube, [gone], times=1) == [1]


async def test_a_status_that_somebody_undoes_each_time(kube, join, monkeypatch):
    """What is new is still told at once."""
    monkeypatch.setattr("devicemgr.cluster.api.retries.FIRST_DELAY", 1000)
    monkeypatch.setattr("devicemgr.cluster.node.pace.STEADY", 1000)
    async with open_api_proxy(kube.cluster, f"system:node:{kube.node}") as (proxy, api), join(api=api) as joined:
        await kube.until_allocatable(2)
        wrong = {"capacity": {GPU: "7"}, "allocatable": {GPU: "7"}}
        before = proxy.count("PATCH", "/status")
        for _ in range(50):
            await kube.api.patch(f"{kube.node_path}/status", {"status": wrong})
        assert proxy.count("PATCH", "/status") <= before + 1
        joined.plugin.set_devices([])
        await kube.until_allocatable(0)


async def test_a_pods_status_that_somebody_undoes_each_time(kube, join, monkeypatch):
    """It ends all the same as soon as it is to."""
    monkeypatch.setattr("devicemgr.cluster.api.retries.FIRST_DELAY", 1000)
    monkeypatch.setattr("devicemgr.cluster.node.pace.STEADY", 1000)
    async with open_api_proxy(kube.cluster, f"system:node:{kube.node}") as (proxy, api), join(api=api):
        await kube.create_pod("one", gpus=1)
        await kube.until_phase("one", "Running")
        for _ in range(50):
            await kube.api.patch(f"{kube.pods}/one/status", {"status": {"phase": "Pending"}})
        assert proxy.count("PATCH", "/pods/one/status") <= 2
        await kube.api.delete(f"{kube.pods}/one")
        await kube.until_gone("one")


async def test_who_comes_back_after_another_agent_does_not_give_up(kube, join, monkeypatch):
    """At its first start it would: whoever starts it wants to know."""
    monkeypatch.setattr("devicemgr.cluster.node.lease.RENEW_PERIOD", 0.1)
    monkeypatch.setattr("devicemgr.cluster.node.lease.LOOK_PERIOD", 0.1)
    monkeypatch.setattr("devicemgr.cluster.node.refusals.RETRY_PERIOD", 0.1)
    lease = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{kube.node}"
    async with open_api_proxy(kube.cluster, f"system:node:{kube.node}") as (proxy, api), join(api=api) as joined:
        await kube.until_allocatable(2)
        refused = proxy.fail(Failure("POST", "/nodes$", code=403, reason="Forbidden", times=ALWAYS))
        await kube.api.delete(kube.node_path)
        with trio.fail_after(PATIENCE):
            await joined.manager.log.wait_until(lambda: bool(joined.seen("ApiRequestRefused")))
        await kube.api.patch(lease, {"spec": {"holderIdentity": "another"}})
        with trio.fail_after(PATIENCE):
            await joined.manager.log.wait_until(lambda: bool(joined.seen("NodeStandsBy")))
        before = refused.times
        await kube.api.patch(lease, {"spec": {"holderIdentity": ""}})
        with trio.fail_after(PATIENCE):
            while refused.times > before - 2:
                await kube.api.get(lease)
        refused.times = 0
        await kube.until_allocatable(2)
