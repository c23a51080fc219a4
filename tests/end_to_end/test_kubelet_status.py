"""``status --pod-resources``: our own daemon serves that API, too, so both sides of ``status`` can be compared."""

from __future__ import annotations

import json

import grpc
import pytest

from tests.fake_kubelet import ALLOCATABLE, LIMITED, LIST, fake_kubelet

POD = """\
kind: Pod
metadata: {name: p}
spec:
  containers:
  - name: main
    resources: {limits: {vendor.com/gpu: 2}}
"""


@pytest.fixture
def node(daemon, start, root_dir):
    """With four devices on two NUMA nodes: a pod holds two of them, and one is unhealthy."""
    program = daemon("--numa", "0,1")
    arguments = ["--root-dir", root_dir, "--resource", "vendor.com/gpu", "--count", "4", "--unhealthy", "dev-3"]
    start("-m", "devicemgr", "plugin", *arguments, "--numa", "0,1").wait_for("registered")
    program.wait_for("DeviceListApplied")
    return program


def test_it_says_what_the_manager_says(node, run, root_dir):
    assert run("admit", "-f", "-", text=POD).returncode == 0
    ours, theirs = (json.loads(run("status", *more, "-o", "json").stdout) for more in ((), ("--pod-resources",)))
    for key in ("allocatable", "allocated", "available"):
        assert theirs["resources"]["vendor.com/gpu"][key] == ours["resources"]["vendor.com/gpu"][key]
    held = [
        [(one["name"], one["devices"]) for pod in side["pods"] for one in pod["containers"]] for side in (ours, theirs)
    ]
    assert held[0] == held[1] == [("main", {"vendor.com/gpu": ["dev-0", "dev-1"]})]
    assert theirs["pods"][0]["containers"][0]["numa_nodes"] == {"vendor.com/gpu": {"dev-0": [0], "dev-1": [1]}}
    shown = run("status", "--no-headers", "--pod-resources", f"unix://{root_dir}/pod-resources/kubelet.sock")
    assert [line.split() for line in shown.stdout.splitlines()] == [
        ["vendor.com/gpu", "3", "2", "1"],
        ["default/p", "main", "vendor.com/gpu", "dev-0", "0"],
        ["default/p", "main", "vendor.com/gpu", "dev-1", "1"],
    ]
    assert run("status", "--pod-resources", "-o", "name").stdout == run("status", "-o", "name").stdout


def test_each_failure_has_its_status(run, root_dir):
    socket = root_dir / "kubelet.sock"
    missing = run("status", "--pod-resources", socket)
    assert (missing.returncode, missing.stderr.splitlines()[0][:35]) == (3, "Error: no kubelet can be reached on")
    socket.touch()
    assert run("status", "--pod-resources", socket).returncode == 2
    socket.unlink()
    with fake_kubelet(socket, {LIST: (grpc.StatusCode.PERMISSION_DENIED, "not you")}):
        assert run("status", "--pod-resources", socket).returncode == 1


def test_a_rate_limit_is_spoken_of(run, root_dir):
    with fake_kubelet(root_dir / "kubelet.sock", {LIST: [LIMITED, b""], ALLOCATABLE: b""}):
        done = run("status", "--pod-resources", root_dir / "kubelet.sock")
    assert (done.returncode, done.stderr.partition(":")[0]) == (0, "Waiting")
    assert done.stdout == "Resources: none\nPods: none\n"


def test_a_watch_shows_changes_and_survives_a_restart(node, start, run, daemon, root_dir):
    watch = start("-m", "devicemgr", "status", "--root-dir", root_dir, "--pod-resources", "--watch")
    watch.wait_for("Pods: none")
    assert run("admit", "-f", "-", text=POD).returncode == 0
    watch.wait_for("default/p")
    assert node.end() == 0
    watch.wait_for("This was the last answer. Now no kubelet")
    daemon("--numa", "0,1")
    assert run("remove", "default/p").returncode == 0
    watch.wait_for("Pods: none", count=2)
    assert watch.end(2) == 0
