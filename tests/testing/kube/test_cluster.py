"""A cluster for tests whose API server goes away."""

from __future__ import annotations

import pytest

from devicemgr.cluster.api.client import open_api_client
from devicemgr.cluster.control_plane.processes import ControlPlane
from devicemgr.testing.kube.cluster import KubeCluster
from tests.cluster.api.scripted_server import scripted_server


async def test_an_api_server_that_is_away_at_the_end_hides_no_error_of_the_test(tmp_path):
    async def makes_a_namespace_and_goes_away(exchange):
        made = {"metadata": {"uid": "1", "resourceVersion": "1"}}
        await (exchange.answer(made) if exchange.method == "POST" else exchange.hang_up())

    class FailedTest(Exception):
        pass

    async with (
        scripted_server(makes_a_namespace_and_goes_away) as server,
        open_api_client(server.connection()) as api,
    ):
        cluster = KubeCluster(ControlPlane(server.url, tmp_path, {"admin": "t"}, {}), api)
        with pytest.raises(FailedTest):
            async with cluster.open_namespace():
                raise FailedTest
    assert [exchange.method for exchange in server.requests] == ["POST", "DELETE"]
