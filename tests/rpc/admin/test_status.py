"""The answer to Status is decoded to the values that were encoded, in however many messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devicemgr.concurrency.steps import SMALL_CHUNK, run_steps
from devicemgr.errors import ManagerUnavailable, RpcFailed
from devicemgr.model import ContainerStatus, EffectiveSettings, PodStatus, ResourceCounts
from devicemgr.rpc.admin import status
from devicemgr.rpc.admin.client import connect_manager
from devicemgr.rpc.admin.service import AdminService
from devicemgr.rpc.messages import checked, parsed
from devicemgr.rpc.stubs.devicemgr import v1 as admin
from devicemgr.rpc.transport.server import open_server
from devicemgr.rpc.wire_format import EncodedMessage

texts = st.text(max_size=4) | st.sampled_from(["gpu-1", "x" * 130])
healths = st.sampled_from(["Healthy", "Unhealthy", "Unknown"])
containers = st.builds(
    ContainerStatus, name=texts, health=st.dictionaries(texts, st.dictionaries(texts, healths, max_size=9), max_size=3)
)
containers_of_pod = st.lists(containers, max_size=3, unique_by=lambda one: one.name).map(tuple)
pods = st.builds(PodStatus, namespace=texts, name=texts, uid=texts, containers=containers_of_pod)
some_pods = st.lists(pods, max_size=3, unique_by=lambda one: one.uid)
COUNTS = {
    "a.com/x": ResourceCounts(
        capacity=3, allocatable=2, allocated=1, available=1, endpoint="serving", standbys=("a.sock", "b.sock")
    )
}
SETTINGS = EffectiveSettings(
    policy="none",
    scope="container",
    prefer_closest=False,
    numa_nodes=(0, 1),
    gates={"DevicePlugins": True},
    peer_limits={"time-share": 0.02},
    node_resources={},
    kubernetes_version="1.36",
)


def encoded(pods):
    return run_steps(status.Encoder().encoding(COUNTS, pods, SETTINGS)).SerializeToString()


def decoded(raw):
    return checked(status.decoded, parsed(admin.StatusResponse, raw))


def devices_of(pods):
    """All of them, with where they are, in order."""
    return [
        (pod.uid, container.name, resource, device, health)
        for pod in pods
        for container in pod.containers
        for resource, devices in container.health.items()
        for device, health in devices.items()
    ]


@given(some_pods, st.integers(1, 4))
def test_decoding_returns_what_was_encoded_in_the_same_order(pods, chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(status, "SMALL_CHUNK", chunk)
        found = decoded(encoded(pods))
    assert found == (COUNTS, pods, SETTINGS)
    assert devices_of(found[1]) == devices_of(pods)


def test_many_devices_are_encoded_in_steps_and_in_several_messages():
    count = 3 * SMALL_CHUNK + 1
    devices = {f"dev-{n}": ("Healthy", "Unhealthy", "Unknown")[n % 3] for n in reversed(range(count))}
    pod = PodStatus(namespace="n", name="p", uid="u", containers=(ContainerStatus(name="c", health={"r": devices}),))
    raw = encoded([pod])
    assert [len(one.device_ids) for one in admin.StatusResponse.parse(raw).pod_devices] == [SMALL_CHUNK] * 3 + [1]
    assert devices_of(decoded(raw)[1]) == devices_of([pod])
    assert len(list(status.Encoder().encoding({}, [pod], SETTINGS))) >= 4


def test_many_pods_are_encoded_in_steps():
    pods = [PodStatus(namespace="n", name="p", uid=str(n), containers=()) for n in range(9)]
    assert len(list(status.Encoder().encoding({}, pods, SETTINGS))) >= len(pods)


def test_concurrent_callers_share_one_encoding_while_nothing_changes():
    """Otherwise a hundred callers at once would delay each other with a hundred encodings."""
    encoder, count = status.Encoder(), 3 * SMALL_CHUNK
    devices = {f"dev-{n}": "Healthy" for n in range(count)}
    pods = [PodStatus(namespace="n", name="p", uid="u", containers=(ContainerStatus(name="c", health={"r": devices}),))]
    alone = len(list(status.Encoder().encoding(COUNTS, pods, SETTINGS)))
    one, other = encoder.encoding(COUNTS, pods, SETTINGS), encoder.encoding({}, pods, SETTINGS)
    next(one), next(other)
    left = sum(1 for _ in one)
    assert left <= alone - 2
    assert decoded(run_steps(other).SerializeToString()) == ({}, pods, SETTINGS)
    others = [PodStatus(namespace="n", name="other", uid="v", containers=())]
    assert decoded(run_steps(encoder.encoding(COUNTS, others, SETTINGS)).SerializeToString())[1] == others


def one_entry(**fields):
    """An answer with one pod, and devices with these fields."""
    pod = admin.PodStatus(uid="u", containers=[admin.ContainerStatus(name="c")])
    default = {"pod_uid": "u", "container_name": "c", "resource_name": "r"}
    return bytes(admin.StatusResponse(pods=[pod], pod_devices=[admin.PodDevicesEntry(**default | fields)]))


def test_an_unknown_value_of_health_is_decoded_as_unknown():
    found = decoded(one_entry(device_ids=["a", "b"], health=[admin.HealthStatus(7), admin.HealthStatus.HEALTHY]))
    assert devices_of(found[1]) == [("u", "c", "r", "a", "Unknown"), ("u", "c", "r", "b", "Healthy")]


MALFORMED = {
    "cut-off": one_entry(device_ids=["abc"], health=[admin.HealthStatus.HEALTHY])[:-1],
    "number-for-text": b"\x22\x02\x20\x01",
    "no-unicode": b"\x22\x03\x22\x01\xff",
    "device-without-health": one_entry(device_ids=["a"]),
    "health-without-device": one_entry(device_ids=["a"], health=[admin.HealthStatus.HEALTHY] * 2),
    "no-such-pod": one_entry(pod_uid="v"),
    "no-such-container": one_entry(container_name="d"),
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_answer_is_an_error_of_the_manager(root_dir, raw):
    class Odd(AdminService):
        async def status(self, message):
            return EncodedMessage(raw)

    path = root_dir / "a.sock"
    async with open_server(path, [Odd(None)]):
        with pytest.raises(ManagerUnavailable, match="malformed StatusResponse") as caught:
            async with connect_manager(path) as client:
                await client.status()
    assert isinstance(caught.value.__cause__, RpcFailed)


@given(some_pods, st.data())
def test_a_truncated_answer_has_no_wrong_device(pods, data):
    raw = encoded(pods)
    try:
        found = devices_of(decoded(raw[: data.draw(st.integers(0, len(raw)))])[1])
    except RpcFailed:
        return
    assert found == devices_of(pods)[: len(found)], "an answer that is cut between two fields is a shorter one"
