"""An API server, or what stands before it, that says no again and again: it is not asked as fast as it answers."""

from __future__ import annotations

import pytest
import trio

from ..api_proxy import Failure, open_api_proxy
from .conftest import PATIENCE

ALWAYS = 1_000_000


@pytest.mark.parametrize(("method", "path"), [("PATCH", "/pods/one/status"), ("PUT", "/leases/")])
async def test_a_conflict_that_stays_is_no_reason_to_hurry(kube, join, method, path, monkeypatch):
    monkeypatch.setattr("devicemgr.cluster.node.lease.RENEW_PERIOD", 0.1)
    monkeypatch.setattr("devicemgr.cluster.node.lease.CONFLICT_PAUSE", 1000)
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
