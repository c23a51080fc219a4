"""``cluster up`` and ``cluster build`` as their user sees them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import trio

from devicemgr.cluster.control_plane.programs import COMPONENTS, CONTROL_PLANE, SCHEDULER, find_programs
from devicemgr.errors import ProgramUnavailable
from devicemgr.testing.conformance.isolation import Bind, isolated
from tests.interop.building import NotToBeHad, go_program, upstream_sample

from .conftest import HANGS

RESOURCE = "example.com/resource"
"""That of Kubernetes' sample plug-in."""


@pytest.fixture(scope="module")
def programs():
    try:
        return trio.run(find_programs, [*COMPONENTS, SCHEDULER])
    except ProgramUnavailable as missing:
        pytest.skip(str(missing))


class Cluster:
    """One that runs, with what it has printed."""

    def __init__(self, start, *options):
        self.program = start("-m", "devicemgr", "cluster", "up", *options)
        self.program.wait_for("export KUBECONFIG=")
        self.program.wait_for("kubectl")
        printed = "".join(self.program.lines)
        self.kubeconfig = Path(re.search(r"^export KUBECONFIG=(.*)$", printed, re.MULTILINE)[1])
        self.directory = self.kubeconfig.parent
        self.port = int(re.search(r"https://127.0.0.1:(\d+)", printed)[1])
        path = re.search(r"^export PATH=(\S+):", printed, re.MULTILINE)
        self.path = f"{path[1]}:{os.environ['PATH']}" if path else os.environ["PATH"]

    def kubectl(self, *arguments, text=None):
        environment = os.environ | {"KUBECONFIG": str(self.kubeconfig), "PATH": self.path}
        command = ["kubectl", *arguments]
        done = subprocess.run(command, env=environment, input=text, capture_output=True, text=True, timeout=HANGS)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def processes(self):
        found = []
        for one in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"{self.directory}/" in (one / "cmdline").read_text():
                    found.append(int(one.name))
        return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_cluster_answers_kubectl_until_a_signal_and_leaves_nothing(programs, start, number):
    cluster = Cluster(start)
    assert cluster.program.lines[0].startswith("starting etcd ")
    assert f"kube-scheduler {programs[SCHEDULER].version}" in cluster.program.lines[0]
    name = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mine"}}
    assert cluster.kubectl("create", "-f", "-", text=json.dumps(name)) == "namespace/mine created\n"
    assert cluster.kubeconfig.stat().st_mode & 0o077 == 0
    assert [line for line in cluster.program.lines if "node-0: registered" in line]
    assert len(cluster.processes) == 3
    assert cluster.program.end(number) == 0
    assert cluster.processes == []
    assert not cluster.directory.exists()


def test_a_second_signal_leaves_nothing_either(programs, start):
    """A terminal that is closed sends one, and its shell another."""
    cluster = Cluster(start)
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGHUP):
        cluster.program.process.send_signal(number)
    cluster.program.wait()
    assert cluster.processes == []
    assert not cluster.directory.exists()


def until(cluster, holds, *arguments):
    """What kubectl gets as soon as it is as wanted."""
    deadline = time.monotonic() + HANGS
    while not holds(found := json.loads(cluster.kubectl("get", *arguments, "-o", "json"))):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


def test_nodes_with_simulated_plugins_and_one_that_joins_later(programs, start, tmp_path):
    cluster = Cluster(start, "--nodes", "2", "--plugin", "examples/plugin-script.yaml")

    def all_have_four(nodes, count):
        found = [one["status"]["allocatable"].get("vendor.com/gpu") for one in nodes["items"]]
        return found == ["4"] * count

    nodes = until(cluster, lambda nodes: all_have_four(nodes, 2), "nodes")
    assert [one["metadata"]["name"] for one in nodes["items"]] == ["node-0", "node-1"]
    assert [one["spec"].get("taints") for one in nodes["items"]] == [None, None]
    assert (cluster.directory / "node-1" / "device-plugins" / "kubelet.sock").is_socket()
    options = ["--name", "later", "--as-node", "--plugin", "examples/plugin-script.yaml"]
    later = start("-m", "devicemgr", "node", "--kubeconfig", cluster.kubeconfig, *options)
    later.wait_for("later has joined")
    until(cluster, lambda nodes: all_have_four(nodes, 3), "nodes")
    assert later.end() == 0
    assert cluster.program.end() == 0


@pytest.fixture(scope="module")
def foreign_plugins(tmp_path_factory):
    """Kubernetes' own sample, which has two devices, and one on grpc-go."""
    directory = tmp_path_factory.mktemp("plugins")
    try:
        return upstream_sample(directory), go_program("go_plugin", directory)
    except NotToBeHad as reason:
        pytest.skip(str(reason))


def test_of_a_deployment_as_many_pods_run_as_plugins_of_others_have_devices(programs, foreign_plugins, start, tmp_path):
    """On two nodes. For the last one the scheduler says why not."""
    cluster = Cluster(start, "--nodes", "2", "--controllers")
    first, second = (cluster.directory / f"node-{number}" / "device-plugins" for number in (0, 1))
    sample, other = foreign_plugins
    commands = [
        isolated([str(sample)], [Bind(first, Path("/var/lib/kubelet/device-plugins"))]),
        [str(other), "-directory", str(second), "-resource", RESOURCE, "-count", "1"],
    ]
    labels = {"app": "four"}
    container = {"name": "main", "image": "none", "resources": {"limits": {RESOURCE: 1}}}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": 4, "selector": {"matchLabels": labels}, "template": template}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "four"}, "spec": spec}
    with ExitStack() as stack:
        for command in commands:
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            process = stack.enter_context(subprocess.Popen(command, **quiet))
            stack.callback(process.kill)
        until(cluster, lambda nodes: [allocatable(one) for one in nodes["items"]] == ["2", "1"], "nodes")
        cluster.kubectl("create", "-f", "-", text=json.dumps(deployment))
        wanted = ["Pending", "Running", "Running", "Running"]
        pods = until(cluster, lambda pods: phases(pods) == wanted, "pods")["items"]
        devices = sorted(device for pod in pods for device in devices_of(pod))
        assert devices == [("node-0", "Dev-1"), ("node-0", "Dev-2"), ("node-1", "dev-0")]
        (waiting,) = (one for one in pods if one["status"]["phase"] == "Pending")
        pending = ["pod", waiting["metadata"]["name"]]
        waiting = until(cluster, lambda pod: "2 Insufficient" in why_unscheduled(pod), *pending)
        assert why_unscheduled(waiting).startswith(f"0/2 nodes are available: 2 Insufficient {RESOURCE}.")
    assert cluster.program.end() == 0


def allocatable(node):
    return node["status"]["allocatable"].get(RESOURCE)


def phases(pods):
    return sorted(one["status"]["phase"] for one in pods["items"])


def devices_of(pod):
    for container in pod["status"].get("containerStatuses", ()):
        for resource in container["allocatedResourcesStatus"]:
            yield from ((pod["spec"]["nodeName"], one["resourceID"]) for one in resource["resources"])


def why_unscheduled(pod):
    (scheduled,) = (one for one in pod["status"]["conditions"] if one["type"] == "PodScheduled")
    return scheduled.get("message", "")


def test_two_clusters_beside_each_other_in_directories_of_their_own(programs, start, run, tmp_path):
    first = Cluster(start, "--dir", tmp_path / "first")
    second = Cluster(start)
    assert second.port != first.port
    first.kubectl("create", "namespace", "only-here")
    assert "only-here" not in second.kubectl("get", "namespaces")
    refused = run("cluster", "up", "--dir", tmp_path / "first")
    assert (refused.returncode, refused.stderr) == (
        1,
        f"Error: a cluster runs in {tmp_path}/first: end it, or name another directory\n",
    )
    assert second.program.end() == 0
    assert first.program.end() == 0
    assert "kube-apiserver.log" in {one.name for one in (tmp_path / "first").iterdir()}


def test_what_a_killed_run_has_left_is_taken_over(programs, start, tmp_path):
    killed = Cluster(start, "--dir", tmp_path / "it")
    killed.kubectl("create", "namespace", "old")
    killed.program.end(signal.SIGKILL)
    cluster = Cluster(start, "--dir", tmp_path / "it")
    assert "old" not in cluster.kubectl("get", "namespaces")


def test_a_directory_of_others_is_left_alone(run, tmp_path):
    (tmp_path / "precious").write_text("")
    refused = run("cluster", "up", "--dir", tmp_path)
    assert refused.returncode == 1
    assert f"{tmp_path} has files that are not of a cluster: name an empty directory" in refused.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["precious"]


def test_without_programs_it_says_how_to_get_them(run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    refused = run("cluster", "up")
    assert refused.returncode == 1
    assert "there is no etcd" in refused.stderr
    assert "python -m devicemgr cluster build" in refused.stderr
    refused = run("cluster", "build")
    assert (refused.returncode, "install Go" in refused.stderr) == (1, True)


def test_what_is_built_is_shown_and_replaces_older_builds(run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    go = tmp_path / "go"
    go.write_text(
        "#!/bin/sh\nif [ $1 = list ]; then seq 1 1000; exit; fi\n"
        'seq 1 1000 >&2\nwhile [ "$1" != -o ]; do shift; done\necho x > "$2"\n'
    )
    go.chmod(0o755)
    older = tmp_path / "cache" / "devicemgr" / "go_control_plane-1.36.3-0123456789ab"
    older.parent.mkdir(parents=True)
    older.touch()
    done = run("cluster", "build")
    assert done.returncode == 0
    assert "compiling: 500 of 1000 packages\n" in done.stderr
    assert done.stderr.endswith("linking: 1000 of 1000 packages\n")
    assert len(done.stderr.splitlines()) < 30
    path = tmp_path / "cache" / "devicemgr" / CONTROL_PLANE.path.name
    assert re.fullmatch(
        rf"Kubernetes [\d.]+ was built in \d+ s: {path}\nremoved, since they are of other versions: {older.name}\n",
        done.stdout,
    )
    assert f"was built before: {path}" in run("cluster", "build").stdout
