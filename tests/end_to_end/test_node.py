"""``node`` as its user sees it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import trio

from devicemgr import open_portal
from devicemgr.cluster.control_plane.processes import open_control_plane
from devicemgr.cluster.control_plane.programs import find_programs
from devicemgr.errors import ProgramUnavailable

from .conftest import HANGS, ROOT

SCRIPT = """
resource: vendor.com/gpu
devices:
- {prefix: gpu, count: 4}
"""


@pytest.fixture(scope="module")
def cluster():
    try:
        programs = trio.run(find_programs)
    except ProgramUnavailable as missing:
        pytest.skip(str(missing))
    with tempfile.TemporaryDirectory() as directory, open_portal() as portal:
        with portal.enter(open_control_plane(Path(directory), programs, nodes=["other"])) as running:
            yield running


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "gpus.yaml"
    path.write_text(SCRIPT)
    return path


@pytest.mark.parametrize("verb", [["node", "--name", "n"], ["cluster", "up"]], ids=" ".join)
def test_without_the_packages_of_a_cluster_the_error_says_how_to_get_them(verb, tmp_path):
    (tmp_path / "httpcore2.py").write_text("raise ModuleNotFoundError('no', name='httpcore2')")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    command = [sys.executable, "-m", "devicemgr", *verb]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=HANGS)
    missing = "Error: httpcore2 is not installed: pip install 'devicemgr[cluster]'\n"
    assert (done.returncode, done.stderr) == (1, missing)


def objects(cluster, path):
    async def fetch():
        async with cluster.client() as api:
            return await api.get(path)

    return trio.run(fetch)


def ready(node):
    return next(one["status"] for one in node["status"]["conditions"] if one["type"] == "Ready")


def test_nodes_with_simulated_devices(cluster, start, script, root_dir):
    options = ["--label", "zone=b", "--capacity", "cpu=2", "--root-dir", root_dir, "--address", "10.1.2.3"]
    program = start(
        *("-m", "devicemgr", "node", "--kubeconfig", cluster.kubeconfig(), "--name", "sim", "--nodes", "2"),
        *("--plugin", script, *options),
    )
    program.wait_for("2 nodes, sim-0 … sim-1, have joined https://")
    for name in ("sim-0", "sim-1"):
        program.wait_for(f"{name}: vendor.com/gpu 4 of 4\n")
        node = objects(cluster, f"/api/v1/nodes/{name}")
        assert node["status"]["allocatable"]["vendor.com/gpu"] == "4"
        assert node["status"]["capacity"]["cpu"] == "2"
        assert node["metadata"]["labels"]["zone"] == "b"
        assert {"type": "InternalIP", "address": "10.1.2.3"} in node["status"]["addresses"]
        assert ready(node) == "True"
        assert (root_dir / name / "device-plugins" / "kubelet.sock").is_socket()
    assert program.end(signal.SIGTERM) == 0
    assert [ready(objects(cluster, f"/api/v1/nodes/sim-{number}")) for number in (0, 1)] == ["False", "False"]


def test_one_node_and_what_it_says_of_its_pods(cluster, start, script, tmp_path):
    trace = tmp_path / "trace"
    program = start(
        *("-m", "devicemgr", "node", "--kubeconfig", cluster.kubeconfig(), "--name", "one", "--plugin", script),
        *("--no-taint", "--delete-on-exit", "--trace", trace),
    )
    program.wait_for("one has joined https://")

    async def create():
        async with cluster.client() as api:
            for name, count in (("fits", "4"), ("greedy", "1")):
                container = {"name": "c", "image": "i", "resources": {"limits": {"vendor.com/gpu": count}}}
                pod = {"metadata": {"name": name}, "spec": {"nodeName": "one", "containers": [container]}}
                await api.create("/api/v1/namespaces/default/pods", pod)
                wanted = "Running" if name == "fits" else "Failed"
                path = f"/api/v1/namespaces/default/pods/{name}"
                with trio.fail_after(HANGS):
                    await api.wait_until(path, lambda found: found and found["status"]["phase"] == wanted)  # noqa: B023

    trio.run(create)
    program.wait_for("one: default/fits Running")
    program.wait_for("one: default/greedy Failed: UnexpectedAdmissionError")
    told = [json.loads(line) for line in trace.read_text().splitlines()]
    assert [one["name"] for one in told if one["event"] == "PodAdmitted"] == ["fits"]
    (joined,) = [line for line in program.lines if "plug-ins register below" in line]
    directory = Path(joined.split()[-1])
    assert directory.is_dir()
    program.process.send_signal(signal.SIGINT)
    program.end(signal.SIGTERM)  # a second one does not keep it from ending as it should
    assert not directory.exists()
    assert "one" not in [node["metadata"]["name"] for node in objects(cluster, "/api/v1/nodes")["items"]]


def test_what_is_wrong_with_all_nodes_is_told_once(cluster, run, tmp_path):
    many = ["--name", "long", "--nodes", "3", "--root-dir", tmp_path / ("x" * 100)]
    done = run("node", "--kubeconfig", cluster.kubeconfig(), *many)
    assert done.returncode == 1
    assert done.stderr.count("Error: ") == done.stderr.count("\n") == 1


def test_who_may_not_join(cluster, run):
    done = run("node", "--kubeconfig", cluster.kubeconfig("system:node:other"), "--name", "mine")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: 403 Forbidden: ")


def test_a_wrong_token_is_told_at_once(cluster, run, tmp_path):
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text(cluster.kubeconfig().read_text().replace(cluster.tokens["admin"], "wrong"))
    done = run("node", "--kubeconfig", kubeconfig, "--name", "mine", "--nodes", "2", "--root-dir", tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        f"Error: 401 Unauthorized: {cluster.url} does not know us: the token, certificate or password is wrong, or has "
        "expired (Unauthorized)\n"
    )
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--capacity", "cpu"], "'cpu': write NAME=QUANTITY"),
        (["--capacity", "cpu=much"], "cpu=much: 'much' is not a quantity"),
        (["--capacity", "cpu=-1"], "cpu=-1: must not be negative"),
        (["--capacity", "vendor.com/gpu=4"], "an extended resource is provided by a device plug-in"),
        (["--label", "=b"], "write KEY=VALUE"),
        (["--label", "zone=a b"], "zone=a b: 'a b' is not 1 to 63 letters"),
        (["--name", "My_Node"], "'My_Node': must be lower-case letters"),
        (["--nodes", "0"], "0 is not in the range"),
        (["--nodes", "2", "--trace", "trace"], "--trace is for one node"),
        (["--kubeconfig", "/nowhere"], "/nowhere"),
        (["--plugin", "/nowhere"], "/nowhere"),
    ],
)
def test_what_cannot_be_used_is_named(run, options, text, tmp_path):
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text(
        "{apiVersion: v1, kind: Config, current-context: a, contexts: [{name: a, context: {cluster: a}}],"
        " clusters: [{name: a, cluster: {server: 'http://127.0.0.1:1'}}]}"
    )
    done = run("node", "--kubeconfig", kubeconfig, *options)
    assert done.returncode == 2
    assert text in done.stderr
