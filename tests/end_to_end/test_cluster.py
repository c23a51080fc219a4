"""``cluster up`` and ``cluster build`` as their user sees them."""

from __future__ import annotations

import fcntl
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest
import trio

from devicemgr.cli.node.run import open_files
from devicemgr.cluster.control_plane.go_program import in_use
from devicemgr.cluster.control_plane.programs import COMPONENTS, CONTROL_PLANE, SCHEDULER, find_programs
from devicemgr.errors import ProgramUnavailable
from devicemgr.testing.conformance.subject.isolation import Bind, isolated
from tests.interop.building import NotToBeHad, go_program, upstream_sample
from tests.processes import running

from .conftest import HANGS

RESOURCE = "example.com/resource"
"""That of Kubernetes' sample plug-in."""
POD = """kind: Pod
apiVersion: v1
metadata: {{name: pod-{}}}
spec: {{containers: [{{name: c, image: i, resources: {{limits: {{vendor.com/gpu: 1}}}}}}]}}"""


@pytest.fixture(scope="module")
def programs():
    try:
        return trio.run(find_programs, [*COMPONENTS, SCHEDULER])
    except ProgramUnavailable as missing:
        pytest.skip(str(missing))


class Cluster:
    """One that runs, with what it has printed."""

    def __init__(self, start, *options, **more):
        self.program = start("-m", "devicemgr", "cluster", "up", *options, **more)
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
        found = [allocatable(one, "vendor.com/gpu") for one in nodes["items"]]
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


def test_a_node_does_not_stop_with_who_reads_what_it_prints_and_ends_with_it(programs, start):
    cluster = Cluster(start, "--nodes", "0")
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    command = [sys.executable, "-m", "devicemgr", "node", "--kubeconfig", cluster.kubeconfig, "--name", "unread"]
    command += ["--as-node", "--no-taint", "--verbose", "--plugin", "examples/plugin-script.yaml"]
    with running(command, stdout=write, stderr=subprocess.PIPE) as node:
        os.close(write)
        gpus = "vendor.com/gpu"
        until(cluster, lambda nodes: [allocatable(one, gpus) for one in nodes["items"]] == ["4"], "nodes")
        for name in "abc":
            cluster.kubectl("apply", "-f", "-", text=POD.format(name))
        until(cluster, lambda pods: phases(pods) == ["Running"] * 3, "pods")
        assert b"pod-c" not in os.read(read, 2**16), "the pipe was full before it came"
        os.close(read)
        assert (node.wait(timeout=HANGS), node.stderr.read()) == (141, b"")
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
            stack.enter_context(running(command, **quiet))
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


def allocatable(node, resource=RESOURCE):
    return node["status"]["allocatable"].get(resource)


def phases(pods):
    return sorted(one["status"]["phase"] for one in pods["items"])


def devices_of(pod):
    for container in pod["status"].get("containerStatuses", ()):
        for found in container["allocatedResourcesStatus"]:
            yield from ((pod["spec"]["nodeName"], one["resourceID"]) for one in found["resources"])


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


def test_what_a_killed_run_has_left_in_a_temporary_directory_is_removed_by_the_next(programs, start):
    killed, lives = Cluster(start), Cluster(start)
    killed.program.end(signal.SIGKILL)
    assert "token" in killed.kubeconfig.read_text()
    deadline = time.monotonic() + HANGS
    while killed.processes:  # they end by themselves
        assert time.monotonic() < deadline
        time.sleep(0.1)
    Cluster(start)
    assert not killed.directory.exists()
    assert lives.kubectl("get", "nodes", "-o", "name") == "node/node-0\n"


def few_open_files(limit):
    return partial(resource.setrlimit, resource.RLIMIT_NOFILE, (limit, limit))


@pytest.mark.parametrize(
    ("verb", "needed"),
    [
        (["cluster", "up", "--nodes", "20"], "a cluster of --nodes 20 needs about 360 open files"),
        (["cluster", "up"], "a cluster of --nodes 1 needs about 300 open files"),
        (
            ["node", "--name", "n", "--nodes", "20", "--plugin", "examples/plugin-script.yaml"],
            "--nodes 20 needs about 4",
        ),
    ],
)
def test_too_few_open_files_are_an_error_before_anything_starts(start, tmp_path, verb, needed):
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text(
        "{apiVersion: v1, kind: Config, current-context: a, contexts: [{name: a, context: {cluster: a}}],"
        " clusters: [{name: a, cluster: {server: 'http://127.0.0.1:1'}}]}"
    )
    refused = start(
        *("-m", "devicemgr", *verb), preexec_fn=few_open_files(64), env={**os.environ, "KUBECONFIG": str(kubeconfig)}
    )
    assert refused.wait() == 1
    (line,) = refused.lines
    assert line.startswith(f"Error: {needed}")
    assert "this process may have 64: ask for fewer nodes, or raise its hard limit (ulimit -Hn" in line


def test_as_many_open_files_as_it_asks_for_are_enough_and_not_far_too_many(programs, start):
    needed = open_files(20, plugins=1)
    options = ("--nodes", "20", "--plugin", "examples/plugin-script.yaml")
    cluster = Cluster(start, *options, preexec_fn=few_open_files(needed))
    pods = "\n---\n".join(POD.format(number) for number in range(40))
    cluster.kubectl("create", "-f", "-", text=pods)
    until(cluster, lambda pods: phases(pods) == ["Running"] * 40, "pods")
    opened = len(os.listdir(f"/proc/{cluster.program.process.pid}/fd"))
    assert needed / 2 < opened < needed
    assert cluster.program.end() == 0


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
    with in_use(older):  # by a cluster, which may start a component of it again
        done = run("cluster", "build")
        assert f"\nkept, since a cluster uses them: {older.name}\n" in done.stdout
    assert done.returncode == 0
    assert older.exists()
    assert "compiling: 500 of 1000 packages\n" in done.stderr
    assert done.stderr.endswith("linking: 1000 of 1000 packages\n")
    assert len(done.stderr.splitlines()) < 30
    path = tmp_path / "cache" / "devicemgr" / CONTROL_PLANE.path.name
    assert re.match(rf"Kubernetes [\d.]+ was built in \d+ s: {path}\n", done.stdout)
    again = run("cluster", "build").stdout
    assert re.fullmatch(
        rf".* was built before: {path}\nremoved, since they are of other versions: {older.name}\n", again
    )
    assert not older.exists()
