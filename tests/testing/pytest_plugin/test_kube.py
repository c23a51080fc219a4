"""The fixtures for tests in a cluster, as their users have them: a pytest of its own, with nothing imported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from devicemgr.cluster.control_plane.programs import COMPONENTS, CONTROLLERS, SCHEDULER, find_programs
from devicemgr.errors import ProgramUnavailable

pytest_plugins = ["pytester"]

GPU_POD = """
GPU = "vendor.com/gpu"

def pod(name, gpus=1):
    container = {"name": "main", "image": "none", "resources": {"limits": {GPU: gpus}}}
    return {"kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container]}}
"""


CACHE = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
"""That of the user, for whom pytester makes another home."""


@pytest.fixture
def in_cluster(run, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", CACHE)
    try:
        trio.run(find_programs, [*COMPONENTS, SCHEDULER, CONTROLLERS])
    except ProgramUnavailable as missing:
        pytest.skip(str(missing))
    return lambda source, *options, **more: run(GPU_POD + source, *options, **more)


def test_an_ordinary_and_a_trio_test_share_a_cluster_and_nothing_else(in_cluster):
    result = in_cluster(
        """
import pytest
seen = {}

def test_ordinary(kube, kube_node, simulated_plugin, kube_cluster):
    seen.update(cluster=kube_cluster.url, namespace=kube.namespace, node=kube_node.name)
    with simulated_plugin(kube_node.manager, GPU, devices=2) as gpu:
        one = kube.apply(pod("one"))
        assert one["metadata"]["namespace"] == kube.namespace
        running = kube.wait_for_pod(one, timeout=120)
        assert running["spec"]["nodeName"] == kube_node.name
        gpu.set_health("dev-0", "Unhealthy")
        kube.wait_for(one, lambda now: "Unhealthy" in str(now["status"]), timeout=120)
        two, three = kube.apply("kind: List\\nitems:\\n" + "".join(f"- {pod(name)}\\n" for name in ("two", "three")))
        assert [one["metadata"]["name"] for one in kube.pods()] == ["one", "three", "two"]
        kube.delete("one", grace=0)
        kube.wait_until_deleted(one, timeout=120)
        assert kube.get("one") is None
    assert kube_cluster.versions["kube-scheduler"] == kube_cluster.versions["kube-apiserver"]
    assert kube_cluster.kubeconfig.exists()

@pytest.mark.trio
@pytest.mark.device_manager(kubernetes_version="1.36")
async def test_trio(kube, kube_node, simulated_plugin, kube_cluster):
    assert kube_cluster.url == seen["cluster"]
    assert (kube.namespace, kube_node.name) != (seen["namespace"], seen["node"])
    assert kube_node.manager.settings().kubernetes_version == "1.36"
    async with simulated_plugin(kube_node.manager, GPU, devices=1):
        await kube.wait_for_pod(await kube.apply(pod("one")), timeout=120)
        assert await kube.pods("app=other") == []
""",
        "-W",
        "error",
    )
    result.assert_outcomes(passed=2)


def test_what_went_wrong_is_shown_together(in_cluster):
    result = in_cluster(
        """
def test_too_many(kube, kube_node, simulated_plugin):
    with simulated_plugin(kube_node.manager, GPU, devices=1):
        kube.wait_for_pod(kube.apply(pod("one", gpus=2)), timeout=20)

def test_refused(kube, kube_node, simulated_plugin):
    with simulated_plugin(kube_node.manager, GPU, devices=1):
        kube_node.manager.faults.fail_calls("allocate", error="no such card")
        kube.wait_for_pod(kube.apply(pod("one")), timeout=120)

def test_elsewhere(kube, kube_node):
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "elsewhere"}})
    made = pod("one")
    made["metadata"]["namespace"] = "elsewhere"
    kube.wait_for_pod(kube.apply(made), phase="Running", timeout=0.5)

def test_a_node(kube, kube_node):
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": kube_node.name}}
    event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "told", "namespace": "default"}}
    about = {"involvedObject": {"kind": "Node", "name": kube_node.name}, "reason": "Told", "message": "of a node"}
    kube.apply({**event, **about})
    kube.wait_for(node, lambda node: False, timeout=0.1)

def test_unknown_kinds(kube):
    kube.apply({"apiVersion": "apps/v1", "kind": "Deploymnet", "metadata": {"name": "x"}})

def test_unknown_api(kube):
    kube.apply({"apiVersion": "example.com/v1", "kind": "Gpu", "metadata": {"name": "x"}})

def test_invalid(kube):
    kube.apply({"kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": []}})
"""
    )
    result.assert_outcomes(failed=7)
    lines = [line.removeprefix("E").strip() for line in result.outlines if line.startswith("E ")]
    for words in (
        "KubeWaitTimeout: Pod test-too-many-1/one is not Running after ",
        "PodScheduled False, Unschedulable: 0/1 nodes are available: 1 Insufficient vendor.com/gpu.",
        "Warning FailedScheduling: 0/1 nodes are available",
        "Node node-2: Ready True",
        "vendor.com/gpu: 1 of 1",
        "last events of its manager:",
        "Failed: UnexpectedAdmissionError: ",
        "Warning UnexpectedAdmissionError: ",
        "KubeWaitTimeout: Pod elsewhere/one is not Running after ",
        "KubeWaitTimeout: Node node-",
        "Normal Told: of a node",
        "BadInput: Deploymnet x: kind: apps/v1 has no Deploymnet; did you mean Deployment?",
        "BadInput: Gpu x: apiVersion: the API server knows no example.com/v1: is its CustomResourceDefinition applied?",
        "spec.containers: Required value",
    ):
        assert any(words in line for line in lines), f"{words}\n\n{result.outlines}"


def test_without_programs_they_are_skipped_with_the_reason(run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    result = run("def test_one(kube): pass\ndef test_two(kube_node): pass", "-rs")
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["SKIPPED*there is no etcd*python -m devicemgr cluster build*"])


def test_without_its_extra_it_says_what_to_install(run, pytester, monkeypatch):
    pytester.makeconftest("import sys\nsys.modules['httpcore2'] = None")
    result = run("def test_one(kube): pass")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*httpcore2*pip install 'devicemgr?cluster?'*"])
