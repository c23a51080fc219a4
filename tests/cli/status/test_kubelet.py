"""What ``status --pod-resources`` makes of a kubelet's answer: plain data, and tables of it."""

from __future__ import annotations

import json

import pytest

from devicemgr.cli.shared.output import draw_parts, show
from devicemgr.cli.status.kubelet import KubeletWatch, kubelet_data, kubelet_parts
from devicemgr.errors import KubeletUnavailable
from devicemgr.rpc.pod_resources.answers import (
    Claim,
    ClaimedDevice,
    KubeletAnswer,
    ListedContainer,
    ListedPod,
    ListedResources,
    MemoryBlock,
)
from tests.fake_kubelet import ALLOCATABLE, LIST, fake_kubelet

GPU = "vendor.com/gpu"
GI = 2**30


def pod(name="p", *held, whole=None):
    """Whose containers ``c0``, ``c1``, … hold these."""
    containers = tuple(ListedContainer(name=f"c{number}", held=one) for number, one in enumerate(held))
    return ListedPod(namespace="n", name=name, containers=containers, held=whole or ListedResources())


def gpus(*ids, node=0):
    return ListedResources(devices={GPU: dict.fromkeys(ids, (node,))})


def answer(*pods, allocatable=None, reason=""):
    return KubeletAnswer(api="v1", pods=pods, allocatable=allocatable, reason=reason)


def printed(capsys, data, **options):
    draw_parts(kubelet_parts(data, **options))
    return [line.split() for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("pods", "allocatable", "counts"),
    [
        ([], ["a", "b"], (2, 0, 2, ["a", "b"], [])),
        ([pod("p", gpus("a"), gpus("b")), pod("q", gpus("c"))], ["a", "b", "c", "d"], (4, 3, 1, ["d"], [])),
        ([pod("p", gpus("a"), gpus("a"))], ["a", "b"], (2, 1, 1, ["b"], [])),  # a sidecar's, reused
        ([pod("p", gpus("a", "x"))], ["a", "b"], (2, 2, 1, ["b"], ["x"])),
        ([pod("p", gpus("a"))], [], (0, 1, 0, [], ["a"])),
    ],
    ids=["none held", "held", "held twice", "broken while held", "all broken"],
)
def test_devices_are_counted_by_their_ids(pods, allocatable, counts):
    data = kubelet_data(answer(*pods, allocatable=gpus(*allocatable)))
    keys = ("allocatable", "allocated", "available", "free", "not_allocatable")
    assert data["resources"] == {GPU: dict(zip(keys, counts, strict=True))}


def test_a_resource_may_be_held_only():
    """Its plug-in is gone."""
    data = kubelet_data(answer(pod("p", gpus("a")), allocatable=ListedResources()))
    assert data["resources"][GPU]["not_allocatable"] == ["a"]


def test_what_the_kubelet_does_not_say_is_unknown(capsys):
    of_memory = MemoryBlock(type="memory", size=GI)
    held = ListedResources(devices={GPU: {"a": ()}}, cpus=(1,), memory=(of_memory,))
    data = kubelet_data(answer(pod("p", held), reason="it is old"))
    for counts in (data["resources"][GPU], data["cpus"]):
        assert counts == {
            "allocatable": None,
            "allocated": 1,
            "available": None,
            "free": None,
            "not_allocatable": None,
        }
    assert data["memory"]["memory"] == {"allocatable": None, "allocated": GI, "available": None}
    assert printed(capsys, data) == [
        ["Resources"],
        ["resource", "allocatable", "allocated", "available"],
        [GPU, "unknown", "1", "unknown"],
        ["cpu", "(exclusive)", "unknown", "1", "unknown"],
        ["memory", "unknown", "1Gi", "unknown"],
        ["Pods"],
        ["pod", "container", "resource", "devices", "numa"],
        ["n/p", "c0", GPU, "a"],
        ["n/p", "c0", "cpu", "(exclusive)", "1"],
        ["n/p", "c0", "memory", "1Gi"],
        ["it", "is", "old"],
    ]


def test_tables_have_a_row_for_each_container_resource_and_numa_node(capsys):
    two = ListedResources(devices={GPU: {"a": (0,), "b": (1,), "c": (0,), "d": (0, 1)}})
    data = kubelet_data(answer(pod("p", two, gpus("x")), pod("q", ListedResources()), allocatable=gpus(*"abcde")))
    assert printed(capsys, data) == [
        ["Resources"],
        ["resource", "allocatable", "allocated", "available"],
        [GPU, "5", "5", "1"],
        ["Pods"],
        ["pod", "container", "resource", "devices", "numa"],
        ["n/p", "c0", GPU, "a,", "c", "0"],
        ["n/p", "c0", GPU, "d", "0-1"],
        ["n/p", "c0", GPU, "b", "1"],
        ["n/p", "c1", GPU, "x", "(not", "allocatable)", "0"],
        ["1", "of", "2", "pods", "hold", "none", "of", "these."],
    ]
    rows = printed(capsys, data, headers=False)
    assert (rows[0], rows[-1]) == ([GPU, "5", "5", "1"], ["n/p", "c1", GPU, "x", "(not", "allocatable)", "0"])


def test_cpus_memory_and_claims(capsys):
    claims = (
        Claim(namespace="n", name="one", devices=(ClaimedDevice(driver="gpu.io", pool="node", device="g0"),)),
        Claim(
            namespace="n",
            name="shared",
            devices=(
                ClaimedDevice(driver="gpu.io", pool="node", device="g1", share_id="s1"),
                ClaimedDevice(driver="", pool="", device="", cdi_devices=("gpu.io/gpu=2", "gpu.io/gpu=3")),
            ),
        ),
    )
    memory = (MemoryBlock(type="memory", size=3 * GI // 2, numa_nodes=(0, 1)),)
    held = ListedResources(cpus=(2, 3, 4, 8), memory=memory, claims=claims)
    there = ListedResources(cpus=tuple(range(16)), memory=(MemoryBlock(type="memory", size=8 * GI),))
    data = kubelet_data(answer(pod("p", held), allocatable=there))
    assert printed(capsys, data, headers=False) == [
        ["cpu", "(exclusive)", "16", "4", "12"],
        ["memory", "8Gi", "1536Mi", "6656Mi"],
        ["n/p", "c0", "cpu", "(exclusive)", "2-4,8"],
        ["n/p", "c0", "memory", "1536Mi", "0-1"],
        ["n/p", "c0", "claim", "n/one", "gpu.io/node/g0"],
        ["n/p", "c0", "claim", "n/shared", "gpu.io/node/g1", "(share", "s1),", "gpu.io/gpu=2,", "gpu.io/gpu=3"],
    ]


def test_what_a_pod_holds_as_a_whole_includes_what_its_containers_hold(capsys):
    of_container = ListedResources(cpus=(2,), memory=(MemoryBlock(type="memory", size=GI),))
    whole = ListedResources(cpus=(2, 3), memory=(MemoryBlock(type="memory", size=4 * GI),))
    there = ListedResources(cpus=(2, 3, 4), memory=(MemoryBlock(type="memory", size=8 * GI),))
    data = kubelet_data(answer(pod("p", of_container, whole=whole), allocatable=there))
    assert (data["cpus"]["allocated"], data["cpus"]["free"], data["memory"]["memory"]["available"]) == (2, [4], 4 * GI)
    assert ["n/p", "(the", "whole", "pod)", "cpu", "(exclusive)", "2-3"] in printed(capsys, data)


@pytest.mark.parametrize("output", ["json", "yaml"])
def test_every_shape_can_be_written(capsys, output):
    """Lists are lists and not Python's tuples."""
    claim = Claim(namespace="n", name="c", devices=(ClaimedDevice(driver="d", pool="p", device="g"),))
    held = ListedResources(cpus=(1,), memory=(MemoryBlock(type="memory", size=1, numa_nodes=(0,)),), claims=(claim,))
    data = kubelet_data(answer(pod("p", held)))
    show(data, output, lambda data: None)
    written = capsys.readouterr().out
    assert "!!" not in written
    if output == "json":
        (container,) = json.loads(written)["pods"][0]["containers"]
        assert container["memory"] == [{"type": "memory", "size": 1, "numa_nodes": [0]}]
        assert container["claims"][0]["devices"] == [
            {"driver": "d", "pool": "p", "device": "g", "share_id": None, "cdi_devices": []}
        ]


async def test_a_watched_kubelet_may_go_and_come_back(root_dir):
    watch = KubeletWatch(root_dir / "kubelet.sock")
    with pytest.raises(KubeletUnavailable):  # it has never been there
        await watch.look()
    for _ in range(2):
        with fake_kubelet(root_dir / "kubelet.sock", {LIST: b"", ALLOCATABLE: b""}):
            there = await watch.look()
        assert there["notes"] == []
        away = await watch.look()
        assert {**away, "notes": []} == there
        assert away == await watch.look()
        (note,) = away["notes"]
        assert note.startswith("This was the last answer. Now no kubelet ")
