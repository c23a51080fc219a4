"""Monitoring agents are PodResources clients: here is one on grpcio, with stubs made by protoc, against the daemon."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

PROTO = Path(__file__).parent.parent.parent / "proto"


@pytest.fixture(scope="session")
def stubs(tmp_path_factory):
    """(v1 messages, v1 stubs, v1alpha1 messages, v1alpha1 stubs), made from our .proto files by Google's protoc."""
    out = tmp_path_factory.mktemp("stubs")
    files = [f"podresources/{version}/api.proto" for version in ("v1", "v1alpha1")]
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        f"-I{PROTO}",
        f"--python_out={out}",
        f"--grpc_python_out={out}",
    ]
    subprocess.run([*command, *files], check=True, capture_output=True)
    sys.path.insert(0, str(out))
    try:
        names = [f"podresources.{v}.api_pb2{suffix}" for v in ("v1", "v1alpha1") for suffix in ("", "_grpc")]
        yield [importlib.import_module(name) for name in names]
    finally:
        sys.path.remove(str(out))


@pytest.fixture
def agent(node, stubs):
    """A channel to a daemon with one pod that holds a device of two NUMA nodes, and one without topology."""
    node.start_daemon()
    arguments = ["--root-dir", node.root, "--resource", "vendor.com/gpu", "--count", "2", "--numa", "0"]
    node.run("plugin", [sys.executable, "-m", "devicemgr", "plugin", *arguments])
    node.wait_for_resource("vendor.com/gpu", allocatable=2)
    status, _ = node.admit("p", {"vendor.com/gpu": 1})
    assert status == 0
    with grpc.insecure_channel(f"unix:{node.root}/pod-resources/kubelet.sock") as channel:
        yield channel


def test_every_method_of_both_versions(agent, stubs):
    """PR-1, API-5, API-6, PR-3…PR-7, CC-097, CC-142, CC-146, CC-147."""
    v1, v1_grpc, old, old_grpc = stubs
    lister = v1_grpc.PodResourcesListerStub(agent)
    (pod,) = lister.List(v1.ListPodResourcesRequest()).pod_resources
    assert (pod.namespace, pod.name, [c.name for c in pod.containers]) == ("default", "p", ["main"])
    (held,) = pod.containers[0].devices
    assert (held.resource_name, list(held.device_ids), [n.ID for n in held.topology.nodes]) == (
        "vendor.com/gpu",
        ["dev-0"],
        [0],
    )
    answer = lister.GetAllocatableResources(v1.AllocatableResourcesRequest())
    assert [list(one.device_ids) for one in answer.devices] == [["dev-0"], ["dev-1"]]
    request = v1.GetPodResourcesRequest(pod_name="p", pod_namespace="default")
    assert lister.Get(request).pod_resources == pod
    (before,) = old_grpc.PodResourcesListerStub(agent).List(old.ListPodResourcesRequest()).pod_resources
    assert list(before.containers[0].devices[0].device_ids) == ["dev-0"]
    with pytest.raises(grpc.RpcError) as caught:
        lister.Get(v1.GetPodResourcesRequest(pod_name="q", pod_namespace="x"))
    assert caught.value.code() is grpc.StatusCode.UNKNOWN
    assert caught.value.details() == "pod q in namespace x not found"


def test_a_client_in_a_tight_loop_is_throttled(agent, stubs):
    """CC-149, PR-2. It does not wait for the answers: on a busy machine that would be slow enough."""
    v1, v1_grpc, *_ = stubs
    lister = v1_grpc.PodResourcesListerStub(agent)
    calls = [lister.List.future(v1.ListPodResourcesRequest()) for _ in range(1000)]
    answers = [(call.code(), call.details()) for call in calls]
    assert set(answers) == {
        (grpc.StatusCode.OK, ""),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "rejected by rate limit"),
    }
