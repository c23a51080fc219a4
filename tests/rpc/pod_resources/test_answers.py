"""What a kubelet says becomes values: each device once, with all of its nodes, and everything in an order."""

from __future__ import annotations

from random import Random

import pytest

from devicemgr.rpc.pod_resources.answers import (
    Claim,
    ClaimedDevice,
    MemoryBlock,
    allocatable_from_wire,
    pods_from_wire,
)
from devicemgr.rpc.stubs import v1 as wire

GPU, NIC = "vendor.com/gpu", "vendor.com/nic"


def topology(*nodes):
    return wire.TopologyInfo(nodes=[wire.NumaNode(id=node) for node in nodes])


def entry(resource, *ids, nodes=None):
    return wire.ContainerDevices(
        resource_name=resource, device_ids=list(ids), topology=None if nodes is None else topology(*nodes)
    )


def listed(*pods):
    return pods_from_wire(wire.ListPodResourcesResponse(pod_resources=list(pods)))


def held(*devices, **fields):
    """By the only container of a pod."""
    container = wire.ContainerResources(name="c", devices=list(devices), **fields)
    return listed(wire.PodResources(name="p", namespace="n", containers=[container]))[0].containers[0].held


@pytest.mark.parametrize(
    ("entries", "devices"),
    [
        ([], {}),
        ([entry(GPU, "d0")], {GPU: {"d0": ()}}),
        ([entry(GPU, "d0", nodes=[])], {GPU: {"d0": ()}}),
        ([entry(GPU, "d0", nodes=[1])], {GPU: {"d0": (1,)}}),
        ([entry(GPU, "d0", nodes=[1]), entry(GPU, "d0", nodes=[0])], {GPU: {"d0": (0, 1)}}),  # PR-4
        ([entry(GPU, "d0", "d1", nodes=[0, 1])], {GPU: {"d0": (0, 1), "d1": (0, 1)}}),  # kubelets before 1.23
        ([entry(GPU)], {GPU: {}}),
        ([entry(NIC, "d0"), entry(GPU, "d10"), entry(GPU, "d9")], {GPU: {"d9": (), "d10": ()}, NIC: {"d0": ()}}),
    ],
)
def test_devices(entries, devices):
    for found in (held(*entries).devices, allocatable_from_wire(wire.AllocatableResourcesResponse(entries)).devices):
        assert found == devices
        assert [(name, [*ids]) for name, ids in found.items()] == [(name, [*ids]) for name, ids in devices.items()]


def test_cpus_and_memory():
    fields = {
        "cpu_ids": [9, 10, 2],
        "memory": [
            wire.ContainerMemory(memory_type="memory", size=2**30, topology=topology(1, 0)),
            wire.ContainerMemory(memory_type="hugepages-1Gi", size=2**31),
        ],
    }
    blocks = (MemoryBlock(type="hugepages-1Gi", size=2**31), MemoryBlock(type="memory", size=2**30, numa_nodes=(0, 1)))
    allocatable = allocatable_from_wire(wire.AllocatableResourcesResponse(**fields))
    (pod,) = listed(wire.PodResources(name="p", **fields))
    for found in (held(**fields), allocatable, pod.held):
        assert (found.cpus, found.memory) == ((2, 9, 10), blocks)


def test_claims():
    shared = wire.ClaimResource(driver_name="gpu.io", pool_name="n1", device_name="gpu-10", share_id="s")
    plain = wire.ClaimResource(
        driver_name="gpu.io", pool_name="n1", device_name="gpu-9", cdi_devices=[wire.CdiDevice(name="gpu.io/gpu=9")]
    )
    claims = [
        wire.DynamicResource(claim_name="b", claim_namespace="n", claim_resources=[shared, plain]),
        wire.DynamicResource(claim_name="a", claim_namespace="n"),
    ]
    assert held(dynamic_resources=claims).claims == (
        Claim(namespace="n", name="a"),
        Claim(
            namespace="n",
            name="b",
            devices=(
                ClaimedDevice(driver="gpu.io", pool="n1", device="gpu-9", cdi_devices=("gpu.io/gpu=9",)),
                ClaimedDevice(driver="gpu.io", pool="n1", device="gpu-10", share_id="s"),
            ),
        ),
    )


def test_the_same_state_in_another_order_is_the_same_value():
    """So that ``--watch`` shows changes only. The containers keep the order of the spec."""
    order = Random(1)
    containers = [
        wire.ContainerResources(name=name, devices=[entry(GPU, f"d{n}", nodes=[n % 2]) for n in range(12)])
        for name in "ba"
    ]
    pods = [wire.PodResources(name=f"p{n}", namespace=n_s, containers=containers) for n in range(12) for n_s in "ba"]
    first = listed(*pods)
    assert [(pod.namespace, pod.name) for pod in first] == [(n_s, f"p{n}") for n_s in "ab" for n in range(12)]
    assert [one.name for one in first[0].containers] == ["b", "a"]
    for _ in range(5):
        order.shuffle(pods)
        order.shuffle(containers[0].devices)
        assert listed(*pods) == first
