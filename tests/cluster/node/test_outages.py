"""An API server that is away, slow, busy, or forgets: nothing is lost, nothing happens twice, and each change of state
is told once."""

from __future__ import annotations

import json
import time

import pytest
import trio

from devicemgr.cluster.api.client import open_api_client
from devicemgr.cluster.api.connection import Connection
from devicemgr.cluster.api.exec_plugin import VERSIONS
from devicemgr.cluster.api.kubeconfig import find_connection
from devicemgr.cluster.node.pod_reports import PodGone, PodReports
from devicemgr.cluster.node.refusals import Refusals
from devicemgr.cluster.objects.metadata import lease_path
from devicemgr.cluster.objects.pod_status import refused_status
from devicemgr.daemon.event_log import EventLog
from devicemgr.daemon.serving.trace import format_event
from devicemgr.errors import ApiError, ApiUntrusted, CredentialsUnavailable
from devicemgr.model import UNHEALTHY, Device

from ..api_proxy import Failure, open_api_proxy
from .conftest import GPU, PATIENCE


@pytest.fixture
async def proxied(kube):
    async with open_api_proxy(kube.cluster, f"system:node:{kube.node}") as found:
        yield found


async def wait_for(joined, holds) -> None:
    with trio.move_on_after(PATIENCE):
        await joined.manager.log.wait_until(lambda: bool(holds()))
        return
    raise AssertionError("\n".join(format_event(one.event) for one in joined.manager.events()))


async def lose(proxy, joined) -> None:
    before = len(joined.seen("ApiServerLost"))
    proxy.cut()
    await wait_for(joined, lambda: len(joined.seen("ApiServerLost")) > before)


async def test_what_happens_while_the_api_server_is_away_is_made_up_for(kube, join, proxied):
    proxy, api = proxied
    async with join(devices=3, api=api) as joined:
        await kube.create_pod("stays", gpus=1)
        await kube.create_pod("deleted", gpus=1)
        await kube.until_phase("stays", "Running")
        await kube.until_phase("deleted", "Running")
        await lose(proxy, joined)
        await kube.api.delete(f"{kube.pods}/deleted", grace=0)
        await kube.create_pod("new", gpus=1)
        (held,) = joined.manager.pods()[0].containers[0].devices[GPU]
        joined.plugin.set_devices(
            Device(id=f"dev-{n}", health=UNHEALTHY if f"dev-{n}" == held else "Healthy") for n in range(3)
        )
        await joined.manager.wait_for_resource(GPU, allocatable=2)
        proxy.mend()
        await kube.until_phase("new", "Running")
        await kube.until_allocatable(2)
        await kube.until(
            f"{kube.pods}/stays",
            lambda pod: (
                pod["status"]["containerStatuses"][0]["allocatedResourcesStatus"][0]["resources"]
                == [{"resourceID": held, "health": "Unhealthy"}]
            ),
        )
        await wait_for(joined, lambda: {pod.name for pod in joined.manager.pods()} == {"stays", "new"})
        assert len(joined.seen("ApiServerLost")) == len(joined.seen("ApiServerReached")) == 1
        assert sorted(event.name for event in joined.seen("PodAdmitted")) == ["deleted", "new", "stays"]


async def test_nothing_is_gone_because_a_proxy_does_not_find_the_api_server(kube, join, proxied):
    """It says 404 of everything, too: of the Node, its Lease, and its pods."""
    proxy, api = proxied
    async with join(devices=1, api=api) as joined:
        await kube.create_pod("stays", gpus=1)
        await kube.until_phase("stays", "Running")
        failures = [
            proxy.fail(Failure(method, "", code=404, times=1_000_000)) for method in ("GET", "POST", "PUT", "PATCH")
        ]
        joined.plugin.set_devices([Device(id="dev-0", health=UNHEALTHY)])
        await wait_for(joined, lambda: joined.seen("ApiServerLost"))
        proxy.cut()  # and the watches begin again
        proxy.mend()
        await kube.create_pod("late", gpus=1)
        for failure in failures:
            failure.times = 0
        await kube.until_phase("late", "Failed")
        await kube.until(
            f"{kube.pods}/stays",
            lambda pod: (
                pod["status"]["containerStatuses"][0]["allocatedResourcesStatus"][0]["resources"]
                == [{"resourceID": "dev-0", "health": "Unhealthy"}]
            ),
        )
        assert [pod.name for pod in joined.manager.pods()] == ["stays"]
        assert len(joined.seen("NodeRegistered", "NodeLeaseTaken")) == 2
        assert len(joined.seen("ApiServerLost")) == len(joined.seen("ApiServerReached")) == 1


async def test_a_node_joins_as_soon_as_there_is_an_api_server(kube, join, proxied):
    proxy, api = proxied
    proxy.cut()
    async with trio.open_nursery() as nursery:

        async def mend() -> None:
            with trio.fail_after(PATIENCE):
                while not api.reachability.lost:  # noqa: ASYNC110 - it has no event
                    await trio.sleep(0.01)
            proxy.mend()

        nursery.start_soon(mend)
        async with join(api=api) as joined:
            await kube.until_allocatable(2)
            assert len(joined.seen("ApiServerLost")) == len(joined.seen("ApiServerReached")) == 1


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [("GET", "/leases/", 401), ("GET", "/leases/", 403), ("POST", "/nodes$", 403), ("GET", "/pods", 403)],
)
async def test_who_is_not_let_in_is_told_at_once(kube, join, proxied, method, path, code):
    """Also when everything but the pods may be read: there would be no line of it ever."""
    proxy, api = proxied
    proxy.fail(Failure(method, path, code=code, reason="Because", times=1_000_000))
    with pytest.raises(ApiError, match=f"{code} Because: .*no"), trio.fail_after(PATIENCE):
        async with join(api=api):
            pytest.fail("it may not join")


async def test_an_api_server_that_is_starting_does_not_know_yet_who_may_join(kube, join, proxied, monkeypatch):
    monkeypatch.setattr("devicemgr.cluster.node.refusals.START_PERIOD", 0.1)
    proxy, api = proxied
    proxy.fail(Failure("GET", "/leases/", code=403, reason="Forbidden", times=3))
    proxy.fail(Failure("GET", "/readyz", code=403, reason="Forbidden", times=3))
    async with join(api=api) as joined:
        await kube.until_allocatable(2)
        (refused,) = joined.seen("ApiRequestRefused")
        assert (refused.what, refused.problem) == ("read the node's Lease", "403 Forbidden: no")


async def test_a_server_that_cannot_be_trusted_is_told_at_once(kube, join):
    async with open_api_client(Connection(kube.cluster.url)) as api:
        with pytest.raises(ApiUntrusted, match="its certificate cannot be trusted"), trio.fail_after(PATIENCE):
            async with join(api=api):
                pytest.fail("it may be anybody")


async def test_who_has_no_credentials_is_told_at_once(kube, join, tmp_path):
    config = {
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": kube.cluster.url, "insecure-skip-tls-verify": True}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {"exec": {"apiVersion": VERSIONS[0], "command": "false"}}}],
    }
    path = tmp_path / "config"
    path.write_text(json.dumps(config))
    async with open_api_client(find_connection(path)) as api:
        problem = "no credentials for the API server: kubeconfig: .*: false has ended with status 1"
        with pytest.raises(CredentialsUnavailable, match=problem):
            async with join(api=api):
                pass


async def test_who_may_not_see_the_pods_any_more_says_so_and_tries_again(kube, join, proxied):
    proxy, api = proxied
    async with join(api=api) as joined:
        proxy.fail(Failure("GET", "/pods", code=403, reason="Forbidden", times=3))
        proxy.cut()
        proxy.mend()
        await kube.create_pod("one", gpus=1)
        await kube.until_phase("one", "Running")
        (refused,) = joined.seen("ApiRequestRefused")
        assert (refused.what, refused.problem) == ("watch the node's pods", "403 Forbidden: no")


async def test_who_is_not_known_any_more_says_so_and_tries_again(kube, join, proxied):
    """Somebody who replaces credentials may be late."""
    proxy, api = proxied
    async with join(api=api) as joined:
        unknown = proxy.fail(Failure("GET", "/pods", code=401, reason="Unauthorized", times=3))
        proxy.cut()
        proxy.mend()
        await kube.create_pod("one", gpus=1)
        await kube.until_phase("one", "Running")
        assert unknown.met.is_set()
        # That connections were cut may have been seen before.
        assert f"{api.connection.server} does not know us" in joined.seen("ApiServerLost")[-1].problem


async def test_a_pod_ends_in_time_although_nobody_can_be_told(kube, join, proxied):
    proxy, api = proxied
    async with join(devices=1, api=api) as joined:
        await kube.create_pod("one", gpus=1, annotations={"devicemgr.dev/complete-after": "10s"})
        await kube.until_phase("one", "Running")
        await lose(proxy, joined)
        await wait_for(joined, lambda: joined.available() == 1)
        assert (await kube.api.get(f"{kube.pods}/one"))["status"]["phase"] == "Running"
        proxy.mend()
        await kube.until_phase("one", "Succeeded")


async def test_a_watch_that_has_expired_is_listed_again(kube, join, proxied):
    proxy, api = proxied
    async with join(devices=2, api=api) as joined:
        await kube.create_pod("one", gpus=1)
        await kube.until_phase("one", "Running")
        expired = proxy.fail(Failure("GET", "/pods.*watch=1", code=410, reason="Expired"))
        await lose(proxy, joined)
        await kube.api.delete(f"{kube.pods}/one", grace=0)
        await kube.create_pod("one", gpus=2)
        proxy.mend()
        await expired.met.wait()
        await kube.until_phase("one", "Running")
        assert joined.available() == 0
        assert len(joined.seen("PodAdmitted")) == 2


@pytest.mark.parametrize("target", ["/pods/one/status", "/nodes"])
async def test_a_busy_api_server_is_left_alone_for_as_long_as_it_asks(kube, join, proxied, target):
    proxy, api = proxied
    method = "PATCH" if target.endswith("status") else "POST"
    busy = proxy.fail(Failure(method, target, code=429, times=2, headers={"Retry-After": "1"}))
    began = trio.current_time()
    async with join(api=api) as joined:
        await kube.create_pod("one", gpus=1)
        await kube.until_phase("one", "Running")
        assert busy.met.is_set()
        assert trio.current_time() - began >= 2
        assert len(joined.seen("PodAdmitted")) == len(joined.seen("NodeRegistered")) == 1
        assert not joined.seen("ApiServerLost")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/nodes"),
        ("POST", "/leases"),
        ("PATCH", "/pods/one/status"),
        ("DELETE", "/pods/one"),
        ("PATCH", "/nodes/.*/status"),
    ],
)
async def test_an_answer_that_is_lost(kube, join, proxied, method, path):
    """It was carried out, and is asked for again."""
    proxy, api = proxied
    lost = proxy.fail(Failure(method, path))
    async with join(devices=1, api=api) as joined:
        await kube.create_pod("one", gpus=1)
        await kube.until_phase("one", "Running")
        await kube.api.delete(f"{kube.pods}/one")
        await kube.until_gone("one")
        if "nodes" in path:
            joined.plugin.set_devices([])
            await kube.until_allocatable(0)
        assert lost.met.is_set()
        assert len(joined.seen("PodAdmitted")) == len(joined.seen("PodRemoved")) == 1


@pytest.mark.parametrize("path", ["/leases$", "/nodes$"])
async def test_a_start_that_is_cut_short_leaves_nothing_behind(kube, join, proxied, path, monkeypatch):
    """The API server has done what it was asked for, and its answer has not come."""
    monkeypatch.setattr("devicemgr.cluster.api.retries.FIRST_DELAY", 1000)
    proxy, api = proxied
    proxy.fail(Failure("POST", path))
    made = kube.node_path if path == "/nodes$" else lease_path(kube.node)

    async def be_there() -> None:
        async with join(api=api):
            pytest.fail("it cannot join")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(be_there)
        await kube.until(made, lambda found: found is not None)
        nursery.cancel_scope.cancel()
    assert await kube.get_or_none(lease_path(kube.node)) is None
    node = await kube.get_or_none(kube.node_path)
    assert node is None or node["status"]["conditions"][-1]["status"] == "False"


@pytest.mark.parametrize(
    ("method", "path"), [("PATCH", "/pods/one/status"), ("DELETE", "/pods/one"), ("PUT", "/leases/")]
)
async def test_a_conflict_is_looked_into(kube, join, proxied, method, path, monkeypatch):
    monkeypatch.setattr("devicemgr.cluster.node.lease.RENEW_PERIOD", 0.1)
    monkeypatch.setattr("devicemgr.cluster.node.pod_reports.RETRY_PERIOD", 0.1)
    proxy, api = proxied
    conflict = proxy.fail(Failure(method, path, code=409, reason="Conflict", times=2))
    async with join(devices=1, api=api) as joined:
        await kube.create_pod("one", gpus=1)
        await kube.until_phase("one", "Running")
        await kube.api.delete(f"{kube.pods}/one")
        await kube.until_gone("one")
        with trio.fail_after(PATIENCE):
            await conflict.met.wait()
        assert joined.available() == 1
        assert len(joined.seen("NodeLeaseTaken")) == 1
        assert not joined.seen("ApiRequestRefused")


async def test_what_is_refused_is_told_once_and_tried_again(kube, join, proxied, monkeypatch):
    monkeypatch.setattr("devicemgr.cluster.node.refusals.RETRY_PERIOD", 0.1)
    proxy, api = proxied
    async with join(api=api) as joined:
        refused = proxy.fail(Failure("PATCH", "/pods/one/status", code=403, reason="Forbidden", times=4))
        await kube.create_pod("one", gpus=1)
        await kube.until_phase("one", "Running")
        assert refused.met.is_set()
        (event,) = joined.seen("ApiRequestRefused")
        assert event.what == f"publish the status of {kube.namespace}/one"
        assert event.problem == "403 Forbidden: no"


async def test_a_status_that_is_invalid_is_not_sent_for_ever(kube, join, proxied):
    proxy, api = proxied
    async with join(api=api) as joined:
        proxy.fail(Failure("PATCH", "/pods/one/status", code=422, reason="Invalid", times=1))
        await kube.create_pod("one", gpus=1)
        await wait_for(joined, lambda: joined.seen("ApiRequestRefused"))
        await kube.create_pod("two", gpus=1)
        await kube.until_phase("two", "Running")
        assert proxy.count("PATCH", "/pods/one/status") == 1


async def test_a_status_for_a_pod_that_is_gone(kube, join, proxied):
    """Another pod has its name by then, which must not get it."""
    proxy, api = proxied
    async with join(devices=1, api=api) as joined:
        proxy.hold("PATCH .*/pods/one/status")
        await kube.create_pod("one", gpus=1)
        await wait_for(joined, lambda: proxy.count("PATCH", "/pods/one/status") or joined.seen("PodAdmitted"))
        await kube.api.delete(f"{kube.pods}/one", grace=0)
        second = await kube.create_pod("one", annotations={"devicemgr.dev/complete-after": "1h"})
        proxy.release()
        pod = await kube.until_phase("one", "Running")
        assert pod["metadata"]["uid"] == second["metadata"]["uid"]
        assert "allocatedResourcesStatus" not in pod["status"]["containerStatuses"][0]
        await wait_for(joined, lambda: joined.available() == 1)


@pytest.mark.parametrize("skew", [-3600, 3600])
async def test_a_clock_that_is_wrong(kube, join, skew):
    async with join(devices=1, clock=lambda: time.time() + skew) as joined:
        await kube.create_pod("one", gpus=1, annotations={"devicemgr.dev/complete-after": "1s"})
        await kube.until_phase("one", "Succeeded")
        await kube.create_pod("two", gpus=1)
        await kube.until_phase("two", "Running")
        await kube.api.delete(f"{kube.pods}/two")
        await kube.until_gone("two")
        assert joined.available() == 1


async def test_while_it_stands_alone_for_long_a_node_admits_nothing(kube, join, proxied, monkeypatch):
    """Another agent may have taken its Lease by then."""
    monkeypatch.setattr("devicemgr.cluster.node.lease.RENEW_PERIOD", 0.2)
    monkeypatch.setattr("devicemgr.cluster.node.lease.DURATION", 1)
    proxy, api = proxied
    async with join(api=api) as joined:
        await kube.create_pod("before")
        await kube.until_phase("before", "Running")
        proxy.hold("(PUT|GET) .*/leases/")
        await trio.sleep(1.5)
        await kube.create_pod("one", gpus=1)
        await kube.api.delete(f"{kube.pods}/before", grace=0)
        await wait_for(joined, lambda: joined.seen("PodRemoved"))  # so it has been told of the other one, too
        assert [event.name for event in joined.seen("PodAdmissionRequested")] == ["before"]
        proxy.release()
        await kube.until_phase("one", "Running")


async def test_a_pod_that_comes_before_the_label_for_which_it_was_sent(kube, join, proxied):
    """The scheduler has seen the Node as it is now, and the watch of the Node is late."""
    proxy, api = proxied
    proxy.hold("GET .*/nodes.*watch=1")
    async with join(api=api) as joined:
        await kube.until_allocatable(2)
        theirs = "example.com/dongle"
        await kube.api.patch(kube.node_path, {"metadata": {"labels": {"disk": "ssd"}}})
        counts = {"capacity": {theirs: "1"}, "allocatable": {theirs: "1"}}
        await kube.api.patch(f"{kube.node_path}/status", {"status": counts})
        await kube.create_pod("one", gpus=1, nodeSelector={"disk": "ssd"})
        await kube.until_phase("one", "Running")
        pod = kube.pod("two")
        pod["spec"]["containers"][0]["resources"] = {"limits": {theirs: "2"}}
        await kube.api.create(kube.pods, pod)
        assert (await kube.until_phase("two", "Failed"))["status"]["reason"] == f"OutOf{theirs}"
        assert not joined.seen("ApiRequestRefused")
        proxy.release()


async def test_reports_about_a_pod_whose_name_another_one_has(kube):
    """The watch may be late."""
    log = EventLog()
    reports = PodReports(kube.api, log, Refusals(kube.api, log))
    first = await kube.create_pod("one")
    await kube.api.delete(f"{kube.pods}/one", grace=0)
    refused = refused_status(first, reason="No", message="no", time=time.time())
    with pytest.raises(PodGone):
        await reports.publish(first, refused)
    second = await kube.create_pod("one")
    with pytest.raises(PodGone):
        await reports.publish(first, refused)
    await reports.delete(first)
    assert (await kube.api.get(f"{kube.pods}/one"))["metadata"]["uid"] == second["metadata"]["uid"]
    assert log.after(0) == []
