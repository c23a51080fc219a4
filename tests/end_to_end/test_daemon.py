"""``python -m devicemgr`` as its user meets it: start, refusals, signals, what it leaves behind."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from dataclasses import asdict
from urllib.request import Request, urlopen

import pytest

from devicemgr import PeerLimits
from devicemgr.core.checkpoint.kubelet_format import Checkpoint, render
from tests.processes import running

from .conftest import HANGS, ROOT


def modes(*paths):
    return [stat.S_IMODE(path.stat().st_mode) for path in paths]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_starts_serves_and_stops_in_order(daemon, root_dir, how):
    program = daemon()
    registry = root_dir / "device-plugins" / "kubelet.sock"
    admin = root_dir / "devicemgr" / "admin.sock"
    assert next(line for line in program.lines if "ManagerReady" in line).count(".sock") == 3
    assert modes(registry, admin) == [0o660, 0o660]
    assert modes(registry.parent, admin.parent) == [0o750, 0o750]
    assert program.end(how) == 0
    assert not registry.exists()
    assert not admin.exists()


def test_under_nohup_it_outlives_its_terminal(start, run, root_dir):
    def nohup():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    program = start("-m", "devicemgr", "--root-dir", root_dir, preexec_fn=nohup)
    program.wait_for("ManagerReady")
    program.process.send_signal(signal.SIGHUP)
    assert run("status").returncode == 0
    assert program.end() == 0


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_systemd_is_told_when_it_is_ready_and_when_it_stops(start, root_dir, kind):
    """sd_notify(3)."""
    name = f"{root_dir}/notify" if kind == "path" else f"@{root_dir}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name.replace("@", "\0"))
        systemd.settimeout(HANGS)
        options = ["--root-dir", root_dir, "--log-level", "warning"]
        program = start("-m", "devicemgr", *options, env=os.environ | {"NOTIFY_SOCKET": name})
        assert systemd.recv(100) == b"READY=1"
        assert (root_dir / "device-plugins" / "kubelet.sock").exists()
        assert program.end() == 0
        assert systemd.recv(100) == b"STOPPING=1"
    assert program.lines == []


def test_a_systemd_that_does_not_listen_is_no_reason_to_end(start, root_dir):
    environment = os.environ | {"NOTIFY_SOCKET": f"{root_dir}/nobody"}
    program = start("-m", "devicemgr", "--root-dir", root_dir, env=environment)
    program.wait_for("warning: systemd could not be notified of READY=1: [Errno 2]")
    assert program.end() == 0


def test_a_shell_can_complete_verbs_and_options():
    def complete(words):
        environment = {"_DEVICEMGR_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        command = [sys.executable, "-c", "from devicemgr.cli import main; main(prog_name='devicemgr')"]
        done = subprocess.run(
            command, env=os.environ | environment, capture_output=True, text=True, cwd=ROOT, check=True
        )
        return done.stdout.split()

    assert complete("devicemgr sta") == ["plain,status"]
    assert complete("devicemgr status --w") == ["plain,--watch"]
    assert "plain,restart" in complete("devicemgr fault re")


def test_only_stale_sockets_are_removed(daemon, root_dir):
    """CC-005, CKPT-1, REG-17."""
    plugins = root_dir / "device-plugins"
    (plugins / "sub").mkdir(parents=True)
    (plugins / "kubelet_internal_checkpoint").write_text(render(Checkpoint()))
    (plugins / "DEPRECATION").write_text("")
    with socket.socket(socket.AF_UNIX) as stale, socket.socket(socket.AF_UNIX) as nested:
        stale.bind(str(plugins / "stale.sock"))
        nested.bind(str(plugins / "sub" / "kept.sock"))
    program = daemon()
    assert sorted(path.name for path in plugins.iterdir()) == [
        "DEPRECATION",
        "kubelet.sock",
        "kubelet_internal_checkpoint",
        "sub",
    ]
    assert (plugins / "sub" / "kept.sock").exists()
    assert any("StaleSocketRemoved" in line and "stale.sock" in line for line in program.lines)


def test_a_second_manager_is_refused_and_the_first_is_not_disturbed(daemon, run, root_dir):
    first = daemon()
    second = run()
    assert second.returncode == 1
    assert second.stderr == (
        f"Error: another manager (process {first.process.pid}) serves {root_dir}. "
        "Stop it, or give this one another --root-dir\n"
    )
    assert run("status", "-o", "json").returncode == 0


def test_a_live_kubelet_is_not_cut_off(run, root_dir):
    registry = root_dir / "device-plugins" / "kubelet.sock"
    registry.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as kubelet:
        kubelet.bind(str(registry))
        kubelet.listen()
        refused = run()
    assert refused.returncode == 1
    assert "perhaps a kubelet, accepts connections on" in refused.stderr
    assert registry.exists()


def test_after_kill_9_the_next_manager_starts(daemon):
    daemon().end(signal.SIGKILL)
    assert daemon().end() == 0


@pytest.mark.parametrize("root", ["/proc/devicemgr", "/dev/null/x"])
def test_a_root_directory_that_cannot_be_written_is_a_clear_error(start, root):
    program = start("-m", "devicemgr", "--root-dir", root)
    assert program.wait() == 1
    assert program.lines[0].startswith(f"Error: cannot use {root}")
    assert "Give --root-dir a directory that this user may write" in program.lines[0]


def test_a_root_directory_too_long_for_sockets_is_a_clear_error(start):
    program = start("-m", "devicemgr", "--root-dir", "/tmp/" + "x" * 100)
    assert program.wait() == 1
    assert "its sockets would need 133 bytes, unix allows 107. Give a shorter --root-dir" in program.lines[0]


def test_with_the_gate_off_nothing_is_served(run, root_dir, tmp_path):
    config = tmp_path / "node-config.yaml"
    config.write_text("kind: NodeConfig\nkubeletArguments:\n  feature-gates:\n  - Other=true\n")
    done = run("--config", config)
    assert done.returncode == 4
    assert "feature-gates:\n  - DevicePlugins=true" in done.stderr
    assert "feature gate Other means nothing to devicemgr" in done.stderr
    assert not (root_dir / "device-plugins").exists()


def test_what_it_goes_by_is_one_line_at_the_start_and_stands_in_the_status(daemon, run, tmp_path):
    config = tmp_path / "kubelet.yaml"
    config.write_text(
        "kind: KubeletConfiguration\ntopologyManagerPolicy: restricted\ntopologyManagerScop: pod\n"
        "topologyManagerPolicyOptions: {prefer-closest-numa-nodes: 'true'}\n"
    )
    options = ["--numa", "0=10,21;1=21,10", "--peer-limit", "devices=77", "--peer-limit", "report_rate=2.5"]
    options += ["--node-resource", "vendor.com/gpumem=16Gi", "--kubernetes-version", "1.36"]
    program = daemon("--config", config, *options)
    (line,) = [line for line in program.lines if "ManagerReady" in line]
    assert "policy=restricted scope=container numa_nodes=[0,1] gates=[DevicePlugins=true]" in line
    assert line.endswith("kubernetes_version=1.36 peer_limits=[devices=77,report-rate=2.5]\n")
    warning = "topologyManagerScop: unknown key; did you mean topologyManagerScope?"
    assert f"warning: {config}:3: {warning}\n" in program.lines
    settings = json.loads(run("status", "-o", "json").stdout)["settings"]
    peer_limits = settings.pop("peer_limits")
    assert settings == {
        "topology": {"policy": "restricted", "scope": "container", "prefer-closest-numa-nodes": True},
        "numa_nodes": [0, 1],
        "gates": {"DevicePlugins": True},
        "node_resources": {"vendor.com/gpumem": 16 * 2**30},
        "kubernetes_version": "1.36",
    }
    usual = {name.replace("_", "-"): value for name, value in asdict(PeerLimits()).items()}
    assert peer_limits == usual | {"devices": 77, "report-rate": 2.5}


@pytest.mark.parametrize(
    ("stated", "option", "version", "gate"),
    [
        ("", [], "1.37", "SidecarContainers"),
        ("1.36", [], "1.36", "PodLevelResourcesFixDefaulting"),
        ("1.36", ["--kubernetes-version", "1.37"], "1.37", "SidecarContainers"),
    ],
)
def test_gates_that_the_version_of_kubernetes_does_not_have_are_told(
    daemon, run, tmp_path, stated, option, version, gate
):
    """D37-24: a kubelet does not start with them. The option takes precedence."""
    config = tmp_path / "kubelet.yaml"
    gates = "{SidecarContainers: true, PodLevelResourcesFixDefaulting: true, Other: false}"
    config.write_text(f"kind: KubeletConfiguration\nkubernetesVersion: '{stated}'\nfeatureGates: {gates}\n")
    program = daemon("--config", config, *option)
    told = [line for line in program.lines if "gate" in line and str(config) in line]
    assert (
        f"the kubelet of Kubernetes v{version} does not start with this: unrecognized feature gate: {gate}; ignored\n"
        in [line.partition(": ")[2] for line in told]
    )
    assert len([line for line in told if "means nothing to devicemgr; ignored" in line]) == 2
    assert json.loads(run("status", "-o", "json").stdout)["settings"]["kubernetes_version"] == version


def test_a_directory_of_drop_ins_counts_by_name(daemon, run, tmp_path):
    config, drop_ins = tmp_path / "config.json", tmp_path / "config.json.d"
    config.write_text('{"kind": "KubeletConfiguration", "topologyManagerPolicy": "restricted"}')
    drop_ins.mkdir()
    done = run("--config", drop_ins)
    assert (done.returncode, done.stderr) == (
        2,
        f"Error: {drop_ins}: no file of this directory ends in .conf, as the kubelet's drop-ins do\n",
    )
    for name, scope in {"40-nodeadm.conf": "pod", "00-nodeadm.conf": "container", "99.yaml": "none"}.items():
        (drop_ins / name).write_text(f"kind: KubeletConfiguration\ntopologyManagerScope: {scope}\n")
    program = daemon("--config", config, "--config", drop_ins)
    assert any("policy=restricted scope=pod" in line for line in program.lines)


def test_a_malformed_gate_is_bad_input(run, tmp_path):
    config = tmp_path / "node-config.yaml"
    config.write_text("kubeletArguments:\n  feature-gates:\n  - DevicePlugins=maybe\n")
    done = run("--config", config)
    assert done.returncode == 2
    assert done.stderr.startswith(f"Error: {config}:3: kubeletArguments.feature-gates[0]: 'DevicePlugins=maybe'")


def test_the_trace_and_the_json_log_have_every_event(daemon, tmp_path):
    trace = tmp_path / "trace.jsonl"
    program = daemon("--trace", trace, "--log-format", "json", "--config", "examples/node-config.yaml")
    program.end()
    traced = [json.loads(line) for line in trace.read_text().splitlines()]
    nurseries = ["writer", "readers", "connections", "handlers", "listeners"]
    assert [(one["event"], one.get("nursery")) for one in traced] == [
        *(("NurseryOpened", name) for name in nurseries[:-1]),
        ("ManagerReady", None),
        ("NurseryOpened", nurseries[-1]),
        ("ManagerStopping", None),
        *(("NurseryClosed", name) for name in reversed(nurseries)),
    ]
    logged = [one["event"] for one in traced if "nursery" not in one]  # those are for debugging
    assert [json.loads(line)["event"] for line in program.lines] == logged == ["ManagerReady", "ManagerStopping"]


def test_bad_deadlines_are_bad_usage(run):
    done = run("--deadline", "lunch=3")
    assert done.returncode == 2
    assert "write CALL=SECONDS, with CALL one of dial, options" in done.stderr


def test_a_full_disk_under_the_trace_does_not_end_the_manager(daemon, run):
    program = daemon("--trace", "/dev/full")
    program.wait_for("/dev/full")
    assert any("no more events are written there" in line for line in program.lines)
    assert run("status").returncode == 0
    assert program.end() == 0


DEPLOYMENT = """\
kind: Deployment
metadata: {name: d}
spec: {template: {spec: {containers: [{name: a-container-with-a-long-name}]}}}
"""


def test_a_log_that_nobody_reads_stops_nothing(run, root_dir):
    """Two lines for each pod are more than the pipe takes."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    command = [sys.executable, "-m", "devicemgr", "--root-dir", root_dir, "-v"]
    with open(reader) as read, running(command, stderr=writer, cwd=ROOT) as program:
        os.close(writer)
        assert any("ManagerReady" in line for line in read)
        assert run("admit", "-f", "-", "--replicas", "50", text=DEPLOYMENT).returncode == 0
        program.terminate()
        assert program.wait(HANGS) == 0
        assert read.read().count("PodAdmitted") < 50, "the pipe was full"


def test_without_a_standard_error_it_runs_and_is_traced(run, start, root_dir, tmp_path):
    trace = tmp_path / "fifo"
    os.mkfifo(trace)
    program = start("-m", "devicemgr", "--root-dir", root_dir, "--trace", trace, preexec_fn=lambda: os.close(2))
    with trace.open() as read:
        assert any("ManagerReady" in line for line in read)
        assert run("status").returncode == 0
        assert program.end() == 0


# --- topology, metrics, restart ------------------------------------------------------------------------

CONFIG = """\
kind: KubeletConfiguration
topologyManagerPolicy: {policy}
topologyManagerScope: pod
topologyManagerPolicyOptions:
  prefer-closest-numa-nodes: "{closest}"
"""


def test_the_topology_comes_from_the_node_configuration(daemon, run, start, root_dir, tmp_path):
    """Item 1; the machine's NUMA nodes are stated by an option."""
    config = tmp_path / "kubelet.yaml"
    config.write_text(CONFIG.format(policy="single-numa-node", closest="true"))
    program = daemon("--config", config, "--numa", "0=10,21;1=21,10")
    arguments = ["--root-dir", root_dir, "--resource", "vendor.com/gpu", "--count", "4", "--numa", "0,1"]
    start("-m", "devicemgr", "plugin", *arguments)
    program.wait_for("DeviceListApplied")
    pod = "kind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, resources: {limits: {vendor.com/gpu: %d}}}]}"
    refused = run("admit", "-f", "-", text=pod % 3)
    assert (refused.returncode, "TopologyAffinityError" in refused.stdout) == (1, True)
    admitted = run("admit", "-f", "-", text=pod % 2)
    assert "dev-0, dev-2" in admitted.stdout
    assert "Topology policy single-numa-node, scope pod" in run("explain", "p").stdout


@pytest.mark.parametrize(
    ("policy", "closest", "numa", "problem"),
    [
        ("nonsense", "false", "0", "unknown topology manager policy 'nonsense'"),
        ("restricted", "perhaps", "0", "prefer-closest-numa-nodes must be true or false"),
        ("restricted", "true", "0,1", "NUMA node 0 reports none"),
        ("restricted", "false", ",".join(map(str, range(9))), "9 NUMA nodes, more than max-allowable-numa-nodes (8)"),
        ("restricted", "false", "3-0", "NUMA nodes '3-0': write them as 0,1 or 0-1"),
    ],
)
def test_a_topology_that_cannot_be_is_bad_input(run, tmp_path, policy, closest, numa, problem):
    """TM-1…TM-4."""
    config = tmp_path / "kubelet.yaml"
    config.write_text(CONFIG.format(policy=policy, closest=closest))
    done = run("--config", config, "--numa", numa)
    assert (done.returncode, problem in done.stderr) == (2, True), done.stderr


def test_metrics_and_healthz_are_served(daemon):
    program = daemon("--metrics-address", "127.0.0.1:0")
    line = next(line for line in program.lines if "ManagerReady" in line)
    address = line.rpartition("http://")[2].partition("/")[0]
    with urlopen(f"http://{address}/metrics") as page:
        text = page.read().decode()
    assert "kubelet_topology_manager_admission_requests_total 0.0" in text
    assert re.search(r'^devicemgr_build_info\{python_version="3[.0-9a-z+]+",version="[^"]+"\} 1.0$', text, re.MULTILINE)
    assert re.search(r"^process_open_fds [1-9]", text, re.MULTILINE)
    assert re.search(r"^process_cpu_seconds_total 0?[0-9.]+$", text, re.MULTILINE)
    with urlopen(f"http://{address}/healthz") as page:
        assert page.read() == b"ok\n"


def test_metrics_are_served_on_every_address(daemon):
    program = daemon("--metrics-address", ":0")
    line = next(line for line in program.lines if "ManagerReady" in line)
    port = int(line.rpartition("http://")[2].partition("/metrics")[0].rpartition(":")[2])
    with urlopen(f"http://127.0.0.1:{port}/healthz") as page:
        assert page.read() == b"ok\n"


@pytest.mark.parametrize("option", [["-v"], ["--log-level", "debug"]])
def test_the_log_is_as_loud_as_was_asked(daemon, start, root_dir, option):
    program = daemon(*option)
    start("-m", "devicemgr", "plugin", "--root-dir", root_dir, "--resource", "vendor.com/gpu", "--numa", "0-1")
    program.wait_for("DEBUG   RegistrationRequested")


def test_the_page_is_served_and_faults_need_the_printed_token(daemon, run):
    program = daemon("--page", ":0", "--allow-faults")
    (page,) = re.findall(r"http://127\.0\.0\.1:\d+/", " ".join(program.lines))
    (token,) = re.findall(r"token, to inject faults: (\S+)", " ".join(program.lines))
    with urlopen(page) as response:
        assert b"<title>Device Manager</title>" in response.read()
    body = json.dumps({"name": "wipe"}).encode()
    with urlopen(Request(f"{page}fault", body, {"x-devicemgr-token": token})) as response:
        assert response.status == 204
    program.wait_for("FaultInjected")
    assert token not in run("events", "-o", "json").stdout
    assert program.end() == 0


def test_without_the_packages_of_the_page_the_error_says_how_to_get_them(root_dir, tmp_path):
    (tmp_path / "hypercorn.py").write_text("raise ModuleNotFoundError('no', name='hypercorn')")
    command = [sys.executable, "-m", "devicemgr", "--root-dir", root_dir, "--page", ":0"]
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=HANGS, check=False
    )
    assert (done.returncode, done.stderr) == (
        1,
        "Error: hypercorn is not installed: pip install 'devicemgr[page]'\n",
    )


def test_a_bad_metrics_address_is_a_clear_error(run):
    assert run("--metrics-address", "nonsense").returncode == 2
    done = run("--metrics-address", "192.0.2.1:1")
    assert (done.returncode, "cannot serve on 192.0.2.1:1" in done.stderr) == (1, True)


def test_after_kill_9_pods_have_their_devices(daemon, start, run, root_dir):
    """Item 3: what was answered is there again, while the plug-in is still on its way."""
    program = daemon()
    arguments = ["--root-dir", root_dir, "--resource", "vendor.com/gpu", "--count", "2"]
    start("-m", "devicemgr", "plugin", *arguments)
    program.wait_for("DeviceListApplied")
    pod = "kind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, resources: {limits: {vendor.com/gpu: 1}}}]}"
    assert run("admit", "-f", "-", text=pod).returncode == 0
    before = json.loads(run("status", "-o", "json").stdout)["pods"]
    program.process.kill()
    program.wait()
    daemon().wait_for("DeviceListApplied")
    assert json.loads(run("status", "-o", "json").stdout)["pods"] == before
