"""A plug-in whose server says goodbye on each connection when it is 200 ms old, and cuts it 200 ms later (grpc-go's
MaxConnectionAge): the end of a connection is the end of an endpoint, and of nothing else."""

from __future__ import annotations

from itertools import count

import pytest
from grpc import StatusCode

from .clients import Call
from .conftest import ForeignPlugin, wait_until

AGING, STEADY = "interop.example/aging", "interop.example/steady"
REGISTER = Call(
    method="/v1beta1.Registration/Register",
    request={"version": "v1beta1", "endpoint": "aging.sock", "resource_name": AGING},
)
ADMIT = "/devicemgr.v1.Admin/Admit"
REMOVE = "/devicemgr.v1.Admin/Remove"
AT_ONCE = 8
LIVES = 12


class Pods:
    """Pods with one device each, ``AT_ONCE`` of them at the same time, which end at once."""

    def __init__(self, client, allocation):
        self._client = client
        self._allocation = allocation
        self._numbers = count()

    def admit(self, resource):
        """How many were admitted? The others must have been told why not."""
        names = [f"p{next(self._numbers)}" for _ in range(AT_ONCE)]
        answers = self._ask(ADMIT, [{"pod": pod_with(name, resource)} for name in names])
        for answer in answers:
            assert answer.get("admitted") or "Allocate failed due to" in answer["message"]
        self._ask(REMOVE, [{"namespace": "default", "name": name} for name in names])
        return sum(answer.get("admitted", False) for answer in answers)

    def _ask(self, method, requests):
        answers = self._client.at_once(self._allocation, [Call(method=method, request=one) for one in requests])
        return [answer.message for answer in answers]


def pod_with(name, resource):
    containers = [{"name": "main", "limits": {resource: 1}}]
    return {"namespace": "default", "name": name, "uid": name, "containers": containers}


@pytest.fixture
def daemon(node, go_plugin):
    """With a plug-in that stays and one that says goodbye."""
    daemon = node.start_daemon()
    plugin = ForeignPlugin(command=(go_plugin,), env="GO_DEVICES")
    plugin.start(node, resource=STEADY, count=AT_ONCE, endpoint="steady.sock")
    node.wait_for_resource(STEADY, allocatable=AT_ONCE)
    plugin.start(node, "-connection-age", "200ms", resource=AGING, count=AT_ONCE, endpoint="aging.sock")
    return daemon


def test_a_server_that_says_goodbye_ends_its_endpoint_and_nothing_else(node, daemon, grpcio_client):
    kubelet, allocation = node.sockets
    pods = Pods(grpcio_client, allocation)

    def is_back():
        """It registers as a plug-in does that has lost its stream; its server goes on."""
        assert daemon.is_running
        registered = grpcio_client.call(kubelet, REGISTER)  # a busy machine may take longer than its connection lives
        return registered.code is StatusCode.OK and pods.admit(AGING) > 0

    for _ in range(LIVES):
        wait_until(is_back, lambda: f"{AGING} has no devices though its plug-in registers")
        while pods.admit(AGING):
            assert pods.admit(STEADY) == AT_ONCE

    assert daemon.is_running
    assert pods.admit(STEADY) == AT_ONCE
    node.wait_for_resource(AGING, capacity=AT_ONCE, allocatable=0, endpoint="stopped")
    assert {event["resource"] for event in node.events("EndpointStopped")} == {AGING}
