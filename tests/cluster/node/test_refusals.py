"""What the API server refuses is reported once, and not remembered for ever."""

from __future__ import annotations

import pytest
import trio

from devicemgr.cluster.api.client import open_api_client
from devicemgr.cluster.api.connection import Connection
from devicemgr.cluster.api.retries import LASTING
from devicemgr.cluster.node.refusals import REMEMBERED, Refusals, with_way_out
from devicemgr.daemon.event_log import EventLog
from devicemgr.errors import ApiError

from ..api.scripted_server import Exchange, scripted_server


async def test_refusals_of_pods_without_end_are_not_all_remembered():
    reported, invalid = [], ApiError(422, "Invalid", "no")
    pods = [f"publish the status of default/pod-{number}" for number in range(REMEMBERED + 1)]
    async with open_api_client(Connection("https://127.0.0.1:1")) as nobody:
        refusals = Refusals(nobody, EventLog([reported.append]))

        def reports(what: str) -> int:
            before = len(reported)
            refusals.report(what, invalid)
            return len(reported) - before

        assert [reports(pod) for pod in pods] == [1] * len(pods)
        assert (reports(pods[-1]), reports(pods[1])) == (0, 0)
        assert reports(pods[0]) == 1


async def test_a_request_that_fails_for_long_is_reported_though_it_is_tried_again(autojump_clock):
    """Nobody else says so: the server is there. One that starts, or is busy for a moment, is nothing to speak of."""
    reported = []

    async def fails(exchange: Exchange) -> None:
        await exchange.status(500 if trio.current_time() < fails_until else 200, "InternalError")

    async with scripted_server(fails) as server, open_api_client(server.connection()) as api:
        refusals = Refusals(api, EventLog([reported.append]))
        for seconds, reports in ((LASTING / 2, 0), (10 * LASTING, 1), (10 * LASTING, 2)):
            fails_until = trio.current_time() + seconds
            with trio.fail_after(20 * LASTING):
                await refusals.persist("do it", lambda: api.delete("/x"))
            assert len(reported) == reports
    assert reported[0].event.problem == "500 InternalError: says the script: InternalError"


BINDING = "kubectl create clusterrolebinding devicemgr --clusterrole=system:node"


@pytest.mark.parametrize(
    ("user", "way_out"),
    [
        ("alice", f"{BINDING} --user=alice"),
        ("a; reboot", f"{BINDING} '--user=a; reboot'"),
        ("system:serviceaccount:gpus:sim", f"{BINDING} --serviceaccount=gpus:sim"),
        (
            "system:anonymous",
            "The API server does not know who asks: the kubeconfig has no credentials for it, or of a kind that this "
            "API server does not take",
        ),
        ("system:node:other", "These are the credentials of node other, which may be that one only"),
    ],
)
def test_a_missing_permission_comes_with_the_way_out(user, way_out):
    message = f'nodes is forbidden: User "{user}" cannot create resource "nodes" in API group "" at the cluster scope'
    error = with_way_out(ApiError(403, "Forbidden", message))
    assert (error.code, error.reason) == (403, "Forbidden")
    assert error.message.startswith(f"{message}. ")
    assert error.message.endswith(way_out)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (403, 'admission webhook "policy" denied the request: no'),
        (403, 'users "x" is forbidden: User "alice" cannot impersonate resource "users" in API group ""'),
        (422, 'Node "x" is invalid: User "alice" cannot be'),
    ],
)
def test_what_no_permission_would_change_is_left_as_it_is(code, message):
    error = ApiError(code, "Reason", message)
    assert with_way_out(error) is error
