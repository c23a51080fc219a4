"""Why a pod got its devices: every decision as text, with its rule (kubernetes #123037)."""

from __future__ import annotations

import json

import pytest

from devicemgr import Container, ContainerKind, Device, Pod, open_device_manager
from devicemgr.core.allocation.explanation import render
from devicemgr.core.checkpoint import kubelet_format
from devicemgr.core.topology.numa import Numa
from devicemgr.core.topology.policy import Policy, Scope, Topology
from devicemgr.model import PluginOptions
from devicemgr.testing import open_simulated_plugin

GPU = "vendor.com/gpu"
DEVICES = [Device(id=f"{name}{n}", numa_nodes=(node,)) for node, name in enumerate("ab") for n in range(2)]


def pod(name, *containers):
    return Pod(name=name, uid=f"uid-{name}", containers=containers)


def container(name, count, kind=ContainerKind.MAIN):
    return Container(name=name, kind=kind, limits={GPU: count})


@pytest.fixture
async def aligned(root_dir):
    topology = Topology(policy=Policy.RESTRICTED, scope=Scope.CONTAINER, numa=Numa(nodes=(0, 1)))
    async with open_device_manager(root_dir, topology=topology) as manager:
        options = PluginOptions(get_preferred_allocation_available=True)
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=DEVICES, options=options) as plugin:
            await plugin.register()
            await manager.wait_for_resource(GPU, allocatable=4)
            yield manager, plugin


def explained(manager, name):
    explanation = manager.explain("default", name)
    json.dumps(explanation)  # it goes over a socket
    return list(render(explanation))


async def test_an_admitted_pods_explanation(aligned):
    manager, plugin = aligned

    async def prefer(available, must_include, size):
        return ["a1"]

    plugin.on_preferred = prefer
    await manager.admit(pod("p", container("setup", 1, ContainerKind.INIT), container("main", 2)))
    assert explained(manager, "p") == [
        "Pod default/p (uid uid-p) was admitted.",
        "  Topology policy restricted, scope container (TM-14).",
        "  Init container setup:",
        "    vendor.com/gpu could be served on nodes {0} (preferred); nodes {1} (preferred); "
        "nodes {0,1} (not preferred) (TM-8).",
        "    For this container, the best hint is nodes {0} (preferred): every list prefers it, and of several it is "
        "the narrowest and lowest (TM-12); good enough for this policy (TM-13).",
        "    vendor.com/gpu: requests 1.",
        "      Considered: aligned: a0, a1; unaligned: b0, b1.",
        "      There was a choice: 1 of 2 devices (ALLOC-18).",
        "      GetPreferredAllocation returned a1.",
        "      Taken: a1: preferred by the plug-in (ALLOC-7d).",
        "      Allocate returned 1 environment variable, 1 device node.",
        "  Container main:",
        "    vendor.com/gpu could be served on nodes {0} (preferred); nodes {0,1} (not preferred) (TM-8).",
        "    For this container, the best hint is nodes {0} (preferred): every list prefers it (TM-12); "
        "good enough for this policy (TM-13).",
        "    vendor.com/gpu: requests 2.",
        "      Considered: reusable: a1; aligned: a0; unaligned: b0, b1.",
        "      Taken: a1: left by an init container of the same pod (ALLOC-7a).",
        "      Taken: a0: on the NUMA nodes that were chosen (ALLOC-7e).",
        "      Allocate returned 1 environment variable, 2 device nodes.",
    ]


async def test_a_refused_pods_explanation_ends_where_it_was_refused(aligned):
    manager, _ = aligned
    await manager.admit(pod("first", container("main", 1)))
    await manager.admit(pod("second", container("main", 3)))
    await manager.admit(pod("third", container("main", 5)))
    told = explained(manager, "third")
    assert told[0] == "Pod default/third (uid uid-third) was refused."
    assert told[1].startswith("  TopologyAffinityError by rule TM-13: Pod was rejected: Resources cannot be allocated")
    assert "    vendor.com/gpu cannot be satisfied on any set of NUMA nodes (TM-7)." in told
    assert told[-2:] == ["    vendor.com/gpu: requests 5.", "      It got none."]


async def test_an_explanation_names_the_nodes_that_only_the_plugin_knows(aligned):
    """The refusal because of a wrong node has the same text as for a full node."""
    manager, plugin = aligned
    plugin.set_devices([Device(id="x", numa_nodes=(7, 9)), Device(id="y", numa_nodes=(-1,))])
    await manager.wait_for_resource(GPU, capacity=2)
    await manager.admit(pod("p", container("main", 2)))
    told = explained(manager, "p")
    line = told.index("    vendor.com/gpu cannot be satisfied on any set of NUMA nodes (TM-7).")
    assert told[line + 1] == "    Its plug-in names nodes that this machine does not have: 7, 9."


async def test_the_explanation_of_a_pod_that_asked_for_too_much(manager, open_plugin):
    async with open_plugin(GPU, devices=1) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=1)
        await manager.admit(pod("p", container("main", 2)))
        assert explained(manager, "p")[1:3] == [
            "  UnexpectedAdmissionError by rule ALLOC-E6: Pod was rejected: Allocate failed due to requested number of "
            "devices unavailable for vendor.com/gpu. Requested: 2, Available: 1, which is unexpected",
            "  Topology policy none: NUMA nodes were not considered (TM-13).",
        ]
        assert explained(manager, "p")[3:] == [
            "  Container main:",
            "    vendor.com/gpu: requests 2.",
            "      It got none.",
            "      Considered: free: dev-0.",
        ]


async def test_a_refused_pods_explanation_says_who_else_was_in_the_way(manager, open_plugin):
    async with open_plugin(GPU, devices=3) as plugin:
        plugin.set_health("dev-2", "Unhealthy")
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=2)
        await manager.admit(pod("first", container("main", 1)))
        await manager.admit(pod("second", container("main", 2)))
        assert explained(manager, "second")[-1] == "      Considered: free: dev-1; held: dev-0; not healthy: dev-2."
        unknown = Container(name="main", limits={"vendor.com/unknown": 1})
        await manager.admit(pod("third", unknown))
        assert explained(manager, "third")[-3:] == [
            "  Container main:",
            "    vendor.com/unknown: requests 1.",
            "      It got none.",
        ]


async def test_the_newest_explanation_counts_and_an_ended_pod_is_remembered(manager, open_plugin):
    async with open_plugin(GPU, devices=1) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=1)
        one = pod("p", container("main", 1))
        await manager.admit(one)
        before = explained(manager, "p")
        await manager.admit(one)
        assert explained(manager, "p") == before, "what gave it its devices, not that it has them already"
        await manager.admit(pod("p", container("main", 2)))
        told = explained(manager, "p")
        assert told[0] == before[0]
        assert told[1].startswith("  Admitting it again was refused, and changed nothing: Pod was rejected: ")
        assert told[1].endswith("(rule ALLOC-E1)")
        await manager.remove("default", "p")
        assert manager.explain("default", "p")["admitted"]
        assert manager.explain("default", "nobody") is None


async def test_a_pod_from_before_a_restart_has_no_explanation_but_its_devices(aligned):
    manager, _ = aligned
    await manager.admit(pod("p", container("main", 1)))
    await manager.faults.restart()
    await manager.admit(pod("p", container("main", 1)))
    assert explained(manager, "p") == [
        "Pod default/p (uid uid-p) was admitted.",
        "  That was before the manager restarted: what the pod holds is known, but not why.",
        "  Container main:",
        "    vendor.com/gpu: requests 1.",
        "      It holds a0 already, so nothing was allocated (ALLOC-6f).",
    ]
    await manager.admit(pod("p", container("main", 2)))
    (refused,) = manager.explain("default", "p")["later_refusals"]
    assert refused["rule"] == "ALLOC-E1"


async def test_an_explanation_of_many_devices_names_a_few(manager, open_plugin):
    async with open_plugin(GPU, devices=300) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=300)
        await manager.admit(pod("p", container("main", 1)))
        assert "      Considered: no affinity: dev-0, dev-1" in "\n".join(explained(manager, "p"))
        assert "dev-9 and 290 more." in "\n".join(explained(manager, "p"))
        assert len(json.dumps(manager.explain("default", "p"))) < 5000


async def test_what_a_refused_pod_had_taken_was_given_back(manager, open_plugin):
    async with open_plugin(GPU, devices=2) as plugin:
        await plugin.register()
        await manager.wait_for_resource(GPU, allocatable=2)
        manager.faults.fail_calls("allocate")
        await manager.admit(pod("p", container("main", 1)))
        assert explained(manager, "p")[-2:] == [
            "      Taken: dev-0: free, and first in order (ALLOC-7f).",
            "  All devices taken were released again (ALLOC-5).",
        ]


async def test_a_pod_without_a_name_is_asked_about_by_its_uid(root_dir):
    async with open_device_manager(root_dir) as manager:
        async with open_simulated_plugin(manager.layout.plugins, GPU, devices=2) as plugin:
            await plugin.register()
            await manager.wait_for_resource(GPU, allocatable=2)
            await manager.admit(pod("p", container("main", 1)))
    path = root_dir / "device-plugins" / kubelet_format.FILE_NAME
    path.write_text(kubelet_format.render(kubelet_format.parse_checkpoint(path.read_text())))  # as a kubelet writes it
    async with open_device_manager(root_dir) as manager:
        assert manager.explain("default", "uid-p") is None
        assert "      It holds dev-0 already, so nothing was allocated (ALLOC-6f)." in render(
            manager.explain("", "uid-p")
        )
