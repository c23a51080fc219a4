"""The answer to Status, put together and taken apart by hand, against betterproto2's own of the same message."""

from __future__ import annotations

from time import thread_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devicemgr.errors import PluginUnavailable
from devicemgr.model import ContainerStatus, EffectiveSettings, PodStatus, ResourceCounts
from devicemgr.rpc import status
from devicemgr.rpc.stubs.devicemgr import v1 as own
from devicemgr.steps import done

texts = st.text(max_size=4) | st.sampled_from(["gpu-1", "x" * 130])
healths = st.sampled_from(["Healthy", "Unhealthy", "Unknown", "", "odd"])
containers = st.builds(
    ContainerStatus, name=texts, health=st.dictionaries(texts, st.dictionaries(texts, healths, max_size=4), max_size=2)
)
pods = st.builds(
    PodStatus, namespace=texts, name=texts, uid=texts, containers=st.lists(containers, max_size=2).map(tuple)
)
COUNTS = {"a.com/x": ResourceCounts(capacity=3, allocatable=2, allocated=1, available=1, endpoint="serving")}
SETTINGS = EffectiveSettings(
    policy="none",
    scope="container",
    prefer_closest=False,
    numa_nodes=(0, 1),
    gates={"DevicePlugins": True},
    bounds={"time-share": 0.02},
    node_resources={},
)


def to_wire(pods):
    """As a message object for each device."""
    return own.StatusResponse(pods=[pod_to_wire(pod) for pod in pods])


def pod_to_wire(pod):
    found = [own.ContainerStatus(name=one.name) for one in pod.containers]
    for message, one in zip(found, pod.containers, strict=True):
        message.allocated_resources_status = [
            own.AllocatedResourceStatus(
                name=name, resources=[own.ResourceHealth(resource_id=id, health=health) for id, health in held.items()]
            )
            for name, held in one.health.items()
        ]
    return own.PodStatus(namespace=pod.namespace, name=pod.name, uid=pod.uid, containers=found)


def encoded(pods):
    return done(status.encoding(COUNTS, pods, SETTINGS)).SerializeToString()


@given(st.lists(pods, max_size=3))
def test_what_is_put_together_is_the_message_and_comes_back(pods):
    raw = encoded(pods)
    assert own.StatusResponse.parse(raw).pods == to_wire(pods).pods
    assert status.decoded(raw) == (COUNTS, pods, SETTINGS)
    assert status.decoded(bytes(to_wire(pods)))[1] == pods


def test_an_id_that_does_not_come_first_is_read_as_well():
    device = b"\x12\x07Healthy\x0a\x01a"
    twice = b"\x0a\x01a\x12\x07Healthy\x0a\x01b"  # the last one counts
    one = b"\x12\x0c" + device + bytes([0x12, len(twice)]) + twice
    raw = b"\x12" + bytes([len(one) + 4]) + b"\x22" + bytes([len(one) + 2]) + b"\x1a" + bytes([len(one)]) + one
    assert status.decoded(raw)[1][0].containers[0].health == {"": {"a": "Healthy", "b": "Healthy"}}


@pytest.mark.parametrize("raw", [b"\x12", b"\x12\x05\x22", b"\x12\x02\x22\x03", b"\x10\x01", b"\x12\x03\x0a\x01\xff"])
def test_bytes_that_are_no_answer_are_the_failure_of_whoever_sent_them(raw):
    with pytest.raises(PluginUnavailable, match="malformed"):
        status.decoded(raw)


@given(st.lists(pods, min_size=1, max_size=2), st.data())
def test_so_is_an_answer_that_was_cut_off(pods, data):
    raw = bytes(to_wire(pods))
    try:
        found = status.decoded(raw[: data.draw(st.integers(0, len(raw) - 1))])[1]
    except PluginUnavailable:
        return
    assert found == pods[: len(found)], "where a pod ends nobody can see that there were more"


def test_very_many_devices_take_a_fraction_of_the_time_that_as_many_objects_take():
    devices = {f"dev-{n}": "Healthy" for n in range(20_000)}
    pod = PodStatus(namespace="n", name="p", uid="u", containers=(ContainerStatus(name="c", health={"r": devices}),))
    began = thread_time()
    assert status.decoded(encoded([pod]))[1] == [pod]
    by_hand = thread_time() - began
    began = thread_time()
    own.StatusResponse.parse(bytes(to_wire([pod])))
    assert by_hand < (thread_time() - began) / 4
    assert len(list(status.encoding({}, [pod], SETTINGS))) > 4, "in steps"
