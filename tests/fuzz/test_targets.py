"""Every fuzz target on its stored corpus, and on what hypothesis thinks of: YAML, JSON, messages, whole and damaged."""

from __future__ import annotations

import json
import socket

import pytest
import trio
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from devicemgr.rpc.stubs import v1beta1 as wire
from devicemgr.rpc.stubs.devicemgr import v1 as admin
from devicemgr.rpc.transport.server import open_server

from .http2 import ANSWER, CALL, PREFACE, TRAILERS, frame
from .targets import BASE, CORPUS, TARGETS, stored

KEYS = st.sampled_from(
    """kind metadata name generateName namespace uid spec template jobTemplate items ordinals start <<
    containers initContainers resources limits requests restartPolicy
    vendor.com/gpu data kubelet kubeletConfig kubeletconfig nodeRegistration kubeletExtraArgs
    kubeletArguments feature-gates featureGates DevicePlugins topologyManagerPolicy
    topologyManagerPolicyOptions PodDeviceEntries RegisteredDevices PodUID ContainerName ResourceName DeviceIDs
    AllocResp DeviceManager Pods 0 x""".split()  # noqa: SIM905
)
VALUES = st.sampled_from(
    [
        "Pod",
        "ConfigMap",
        "KubeletConfig",
        "Job",
        "CronJob",
        "StatefulSet",
        "List",
        "main",
        "1",
        1,
        -1,
        2**70,
        "1e3",
        "DevicePlugins=true",
        "restricted",
        "Always",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | VALUES
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=20
)
ALLOCATED = bytes(
    wire.AllocateResponse(
        container_responses=[
            wire.ContainerAllocateResponse(envs={"A": "b"}, mounts=[wire.Mount(container_path="/a", host_path="/b")])
        ]
    )
)
ADMITTED = bytes(
    admin.AdmitRequest(
        pod=admin.Pod(name="p", uid="u", containers=[admin.Container(name="c", limits={"v.com/gpu": 1})])
    )
)


@st.composite
def damaged(draw):
    """A message with some bytes changed, left out, or doubled."""
    data = bytearray(draw(st.sampled_from([BASE, ALLOCATED, ADMITTED])))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data) - 1)) if data else 0
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(data)


FRAMES = st.builds(
    frame,
    st.integers(0, 12) | st.integers(0, 255),
    st.sampled_from([0, 1, 4, 5, 8, 0x20, 0xFF]),
    st.sampled_from([0, 1, 1, 3, 5, 2, 2**31 - 1]),
    st.binary(max_size=12)
    | st.sampled_from([CALL, ANSWER, TRAILERS])
    | st.sampled_from([b"\0" * 4, b"\0" * 5, b"\0" * 8, b"\0\0\0\0\1\0"]),
)
INPUTS = {
    "http2": st.lists(FRAMES, max_size=6).map(b"".join),
    "http2_client": st.lists(FRAMES, max_size=6).map(b"".join),
    "device_list": damaged(),
    "messages": damaged(),
    "answer": damaged(),
    "checkpoint": DOCUMENTS.map(lambda value: json.dumps(value).encode()),
    "any_checkpoint": DOCUMENTS.map(lambda value: json.dumps(value).encode()),
    "checkpoint_data": DOCUMENTS.map(lambda value: json.dumps(value).encode()),
    "node_config": DOCUMENTS.map(lambda value: yaml.safe_dump(value).encode()),
    "manifest": DOCUMENTS.map(lambda value: yaml.safe_dump(value).encode()),
}


@pytest.mark.parametrize("name", TARGETS)
def test_any_input_is_a_value_or_one_of_our_errors(name):
    @given(INPUTS[name] | st.binary(max_size=100) | st.text(max_size=100).map(str.encode))
    @settings(max_examples=300, deadline=None, derandomize=True)
    def run(data):
        TARGETS[name](data)

    run()


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_found_once(path):
    TARGETS[path.parent.name](path.read_bytes())


async def test_a_call_that_is_reset_before_it_begins_leaves_no_task(root_dir):
    """HTTP/2 rapid reset."""
    async with open_server(root_dir / "s.sock", []):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(root_dir / "s.sock"))
            sock.sendall(PREFACE + frame(4, 0, 0, b""))
            await wait_all_tasks_blocked()
            before = trio.lowlevel.current_statistics().tasks_living
            for stream in range(1, 41, 2):
                sock.sendall(frame(1, 4, stream, CALL) + frame(3, 0, stream, b"\0\0\0\x08"))
            await wait_all_tasks_blocked()
            assert trio.lowlevel.current_statistics().tasks_living == before


def test_every_target_has_a_corpus():
    assert {name for name in TARGETS if stored(name)} == set(TARGETS)
