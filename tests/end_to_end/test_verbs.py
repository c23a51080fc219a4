"""The verbs, against a daemon and a simulated plug-in, each a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from devicemgr.cli.shared.output import MOST_ON_TERMINAL, draw_status, status_data
from devicemgr.core.checkpoint.kubelet_format import canonical_text, checksum_of
from devicemgr.model import ContainerStatus, PodStatus
from devicemgr.rules.book import read_book
from tests.processes import HANGS, running
from tests.terminals import press, read_until

POD = """\
kind: Pod
metadata: {{name: {name}}}
spec:
  containers:
  - name: main
    resources: {{limits: {{vendor.com/gpu: {count}}}}}
"""


ROOT = Path(__file__).parent.parent.parent
MANIFESTS = Path(__file__).parent.parent / "files" / "manifests"


@pytest.fixture
def node(daemon, start, root_dir):
    """A manager with a plug-in of four devices, one of them unhealthy."""
    program = daemon()
    arguments = ["--root-dir", root_dir, "--resource", "vendor.com/gpu", "--count", "4", "--unhealthy", "dev-3"]
    plugin = start("-m", "devicemgr", "plugin", *arguments, "--numa", "0,1")
    plugin.wait_for("registered vendor.com/gpu with 4 devices")
    program.wait_for("DeviceListApplied")
    return program, plugin


def test_the_tree_of_tasks_as_text_json_and_a_diagram(node, run):
    text, data, diagram = (run("tree", "-o", how).stdout for how in ("text", "json", "mermaid"))
    assert "├─ vendor.com/gpu #1 · serving · waits for the next list of vendor.com/gpu, " in text
    assert text.startswith("run · waits for a stop or a restart\n└─ writer\n")
    tree = json.loads(data)
    assert tree["root"]["children"][0]["name"] == "writer"
    assert tree["root"]["since"] is None
    assert diagram.startswith("flowchart TB\n")
    assert run("tree", "--watch", "-o", "mermaid").returncode == 2


def test_the_tree_is_watched_until_the_manager_ends_and_then_that_of_the_next_one(node, daemon, start, root_dir):
    program, plugin = node
    lines = start("-m", "devicemgr", "tree", "--root-dir", root_dir, "--watch")
    objects = start("-m", "devicemgr", "tree", "--root-dir", root_dir, "--watch", "-o", "json")
    lines.wait_for("stop · waits for a stop")
    objects.wait_for('"root"')
    plugin.end(signal.SIGTERM)
    lines.wait_for("vendor.com/gpu #1 · stopped · waits for the end of the grace period")
    assert program.end(signal.SIGTERM) == 0
    ended = f"the manager on {root_dir}/devicemgr/admin.sock has ended or restarts; waiting for the next one\n"
    for watching in (lines, objects):
        watching.wait_for(ended)
    assert lines.lines[-2:] == [
        "The manager ends or restarts. The listeners have ended; the rest ends in this order: "
        "handlers, connections, readers, writer.\n",
        ended,
    ]
    last = json.loads(objects.lines[-2])
    assert "listeners" not in str(last)
    assert "handlers" in str(last)
    daemon()
    for watching in (lines, objects):
        watching.wait_for(f"a manager is on {root_dir}/devicemgr/admin.sock again")
    assert (lines.end(signal.SIGINT), objects.end(signal.SIGINT)) == (0, 0)


def test_the_tree_of_a_recorded_trace(daemon, start, run, root_dir):
    program = daemon("--trace", root_dir / "trace")
    plugin = start("-m", "devicemgr", "plugin", "--root-dir", root_dir, "--resource", "vendor.com/gpu")
    program.wait_for("DeviceListApplied")
    assert plugin.end() == 0
    program.wait_for("EndpointStopped")
    assert program.end() == 0
    events = [json.loads(line) for line in (root_dir / "trace").read_text().splitlines()]
    (stopped,) = [event["time"] for event in events if event["event"] == "ManagerStopping"]
    before = run("tree", "--trace", root_dir / "trace", "--at", stopped - events[0]["time"]).stdout
    assert before.startswith(
        "run\n└─ writer\n   └─ readers\n      ├─ vendor.com/gpu #1 · stopped · waits for the end of"
    )
    assert before.endswith("      └─ connections\n         └─ handlers\n            └─ listeners\n")
    end = run("tree", "--trace", root_dir / "trace")
    assert (end.stdout[:20], "The manager began to end" in end.stderr) == (before[:20], True)
    late = run("tree", "--trace", root_dir / "trace", "--at", "1e6")
    assert (late.returncode, "trace ends after" in late.stderr) == (2, True)
    assert run("tree", "--at", "1").returncode == 2


def test_on_a_terminal_the_tree_is_drawn_again_in_its_place(node, start, root_dir):
    command = f"stty columns 100; exec {sys.executable} -m devicemgr tree --root-dir {root_dir} --watch"
    ours, theirs = pty.openpty()
    with running(["sh", "-c", command], stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT) as watching:
        os.close(theirs)
        drawn = b""
        while b"\x1b[2K\x1b[1A" not in drawn:  # a line is cleared, and the one above comes next
            drawn += os.read(ours, 65536)
        assert "vendor.com/gpu #1 · serving".encode() in drawn
        watching.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # the end of a terminal
            while os.read(ours, 65536):
                pass
        assert watching.wait(timeout=HANGS) in (0, -signal.SIGINT, 130)
    os.close(ours)


@pytest.mark.parametrize("verb", ["tree", "status"])
def test_a_terminal_is_drawn_again_when_its_size_changes_and_keeps_its_cursor(node, root_dir, verb):
    """What is there is not what was drawn: its lines are folded elsewhere. A cursor that is hidden would stay so
    if the program were killed."""
    command = f"stty columns 40 rows 8; exec {sys.executable} -m devicemgr {verb} --root-dir {root_dir} --watch"
    ours, theirs = pty.openpty()
    with running(["sh", "-c", command], stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT) as watching:
        os.close(theirs)
        drawn = b""

        def read_until(words):
            nonlocal drawn
            while words not in drawn:
                drawn += os.read(ours, 65536)
            found, drawn = drawn, b""
            return found

        first = read_until(b"\x1b[2K\x1b[1A")
        assert first.count(b"\x1b[?25l") == first.count(b"\x1b[?25h") == 1
        for number in (signal.SIGWINCH, signal.SIGCONT):
            watching.send_signal(number)
            read_until(b"\x1b[2J\x1b[H")
    os.close(ours)


def test_a_terminal_that_cannot_draw_again_gets_one_tree_after_the_other(node, root_dir):
    command = [sys.executable, "-m", "devicemgr", "tree", "--root-dir", root_dir, "--watch"]
    ours, theirs = pty.openpty()
    with running(command, stdout=theirs, cwd=ROOT, env={**os.environ, "TERM": "dumb"}):
        os.close(theirs)
        shown = b""
        while b"vendor.com/gpu #1" not in shown:
            shown += os.read(ours, 65536)
    os.close(ours)


STEPS = [
    "1. The manager",
    "2. Two",
    "3. A pod",
    "4. Another",
    "5. A device",
    "6. A plug-in",
    "7. It comes",
    "That is all",
]


def test_a_story_told_in_steps_has_the_calls_the_tree_and_the_rules(run, request):
    """Without a terminal it runs through. Each step says what happened, who called whom, what has changed in the tree,
    and which rule explains it; what signs and names mean is said where they come first."""
    told = run("demo", "--step")
    assert (told.returncode, told.stderr) == (0, "")
    golden = Path(__file__).parent / "demo_step.golden"
    got = _without_what_differs(told.stdout)
    if request.config.getoption("--rewrite-traces"):
        golden.write_text(got)
    assert got == golden.read_text()


def _without_what_differs(told):
    """Times, the directory, and how the calls to two plug-ins, side by side, come among each other; and what there is
    only where the system has no watches left."""
    lines = [line for line in told.splitlines() if "nic.sock [vendor.com/nic]       Allocate" not in line]
    text = "".join(f"{line}\n" for line in lines if " is scanned: " not in line)
    for pattern, instead in [
        (r"/\S+/devicemgr-[^/]+/", "DIRECTORY/"),
        (r"(?m)^ +[\d.]+ s( [ !])", r"  TIME \1"),
        (r" \([\d.]+ m?s\)$", " (TIME)"),
        (r", for [\d.]+ s more$", ", for TIME more"),
        (r"(plug-in watcher|checkpoint writer) · waits for .*", r"\1 · waits for …"),
    ]:
        text = re.sub(pattern, instead, text, flags=re.MULTILINE)
    return text


@pytest.mark.parametrize(("keys", "told"), [(b"\r\r\r\r\r\r\r", 7), (b"\rq", 2)], ids=["to the end", "no more"])
def test_on_a_terminal_the_next_step_comes_with_a_key(root_dir, keys, told):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "devicemgr", "demo", "--step"]
    with running(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT) as demo:
        os.close(theirs)
        shown = ""
        for asked in range(1, told + 1):
            shown += read_until(ours, b"q ends)").decode(errors="replace")
            assert [step in shown for step in STEPS] == [True] * asked + [False] * (8 - asked)
            press(ours, keys[asked - 1 : asked])
        with contextlib.suppress(OSError):  # the end of a terminal
            while more := os.read(ours, 65536):
                shown += more.decode(errors="replace")
        assert demo.wait(timeout=HANGS) == 0
    os.close(ours)
    assert [step in shown for step in STEPS] == [True] * told + [False] * (7 - told) + [True]
    assert "listeners, handlers, connections, readers, writer" in shown
    assert max(len(line) for line in re.sub(r"\x1b\[[\d;]*m", "", shown).splitlines()) <= 80, "as wide as the terminal"


def test_what_others_have_chosen_is_shown_and_not_obeyed(daemon, start, run, root_dir):
    """Ids that are markup for a console, or control characters for a terminal."""
    program = daemon()
    script = root_dir / "script.yaml"
    ids = ["[/evil]", "[red]x", "a\x1b[2J", "b\nc"]
    devices = "".join(f"  - {{id: {json.dumps(id)}}}\n" for id in ids)
    script.write_text(f"resource: vendor.com/gpu\ndevices:\n{devices}")
    start("-m", "devicemgr", "plugin", "--root-dir", root_dir, "--script", script)
    program.wait_for("DeviceListApplied")
    admitted = run("admit", "-f", "-", text=POD.format(name="a", count=4))
    assert (admitted.returncode, admitted.stderr) == (0, "")
    for shown in (admitted, run("status"), run("explain", "a")):
        assert shown.returncode == 0, shown.stderr
        assert "[/evil]" in shown.stdout
        assert "\x1b" not in shown.stdout.replace("\\x1b", "")


def test_a_plugin_that_stands_by_is_shown_until_it_serves_again(daemon, run, start, root_dir):
    program = daemon()
    plugin = ["-m", "devicemgr", "plugin", "--root-dir", root_dir, "--resource", "vendor.com/gpu"]
    start(*plugin, "--count", 2, "--endpoint", "old.sock").wait_for("registered")
    new = start(*plugin, "--count", 3, "--endpoint", "new.sock")
    new.wait_for("registered")
    program.wait_for("capacity=3")
    assert run("status", "--no-headers").stdout.splitlines()[0].split() == [
        *("vendor.com/gpu", "3", "3", "0", "3"),
        *("serving", "(1", "stands", "by)"),
    ]
    assert json.loads(run("status", "-o", "json").stdout)["resources"]["vendor.com/gpu"]["standbys"] == ["old.sock"]
    new.end()
    program.wait_for("PluginPromoted resource=vendor.com/gpu endpoint=old.sock generation=1")
    assert run("status", "--no-headers").stdout.split() == ["vendor.com/gpu", "2", "2", "0", "2", "serving"]


def test_status_admit_and_remove(node, run):
    status = json.loads(run("status", "-o", "json").stdout)
    assert status["resources"] == {
        "vendor.com/gpu": {
            "capacity": 4,
            "allocatable": 3,
            "allocated": 0,
            "available": 3,
            "endpoint": "serving",
            "standbys": [],
        }
    }
    done = run("admit", "-f", "-", "-o", "json", text=POD.format(name="a", count=2))
    assert done.returncode == 0
    admitted = json.loads(done.stdout)
    assert (admitted["admitted"], admitted["pod"]["name"]) == (True, "a")
    assert admitted["containers"] == [
        {
            "name": "main",
            "devices": {"vendor.com/gpu": ["dev-0", "dev-1"]},
            "envs": {"GPU_DEVICES": "dev-0,dev-1"},
            "mounts": [],
            "device_specs": [
                {"container_path": "/dev/dev-0", "host_path": "/dev/null", "permissions": "rw"},
                {"container_path": "/dev/dev-1", "host_path": "/dev/null", "permissions": "rw"},
            ],
            "annotations": {},
            "cdi_devices": [],
        }
    ]
    (pod,) = json.loads(run("status", "-o", "json").stdout)["pods"]
    held = [{"resourceID": id, "health": "Healthy"} for id in ("dev-0", "dev-1")]
    assert pod["containers"] == [
        {
            "name": "main",
            "devices": {"vendor.com/gpu": ["dev-0", "dev-1"]},
            "allocatedResourcesStatus": [{"name": "vendor.com/gpu", "resources": held}],
        }
    ]
    assert run("remove", "default/a").stdout == "removed default/a\n"
    assert run("remove", "default/a").returncode == 1
    assert json.loads(run("status", "-o", "json").stdout)["resources"]["vendor.com/gpu"]["available"] == 3


def test_a_refusal_has_reason_and_message_and_exit_status_1(node, run):
    text = POD.format(name="small", count=1) + "---\n" + POD.format(name="large", count=9)
    done = run("admit", "-f", "-", "-o", "json", text=text)
    assert done.returncode == 1
    small, large = json.loads(done.stdout)
    assert small["admitted"]
    assert large == {
        "admitted": False,
        "reason": "UnexpectedAdmissionError",
        "message": "Pod was rejected: Allocate failed due to requested number of devices unavailable for "
        "vendor.com/gpu. Requested: 9, Available: 2, which is unexpected",
    }


def test_explain_has_the_sentence_of_each_rule_that_it_names(node, run):
    run("admit", "-f", "-", text=POD.format(name="large", count=9))
    rules = {id: read_book()[id].sentence for id in ("ALLOC-E6", "TM-13")}
    assert json.loads(run("explain", "large", "-o", "json").stdout)["rules"] == rules
    shown = run("explain", "large").stdout.splitlines()
    assert shown[-3:] == ["Rules:", *(f"  {id:8}  {sentence}" for id, sentence in rules.items())]


def test_several_files_and_a_directory_are_admitted_in_order(node, run, tmp_path):
    for name in ("b.yml", "a.yaml", "c.json"):
        (tmp_path / name).write_text(POD.format(name=name[0], count=0))
    (tmp_path / "notes.txt").write_text("not ours")
    arguments = ["-f", MANIFESTS / "namespace-and-pod.yaml", "-f", tmp_path, "-f", "-"]
    done = run("admit", *arguments, "-o", "json", text=POD.format(name="z", count=0))
    assert done.returncode == 0
    assert [one["pod"]["name"] for one in json.loads(done.stdout)] == ["train", "a", "b", "c", "z"]
    skipped = "'Namespace' is skipped: it is not a Pod, and no known kind that makes pods"
    assert done.stderr.splitlines()[0] == f"{MANIFESTS}/namespace-and-pod.yaml:3: kind: {skipped}"
    assert len(done.stderr.splitlines()) == 2


def test_replicas_are_admitted_each(node, run):
    done = run("admit", "-f", MANIFESTS / "workloads.yaml", "--replicas", "2", "-o", "json")
    admitted = [one["admitted"] for one in json.loads(done.stdout)]
    assert (done.returncode, admitted) == (1, [True, True, True, False, True]), "there are three healthy devices"


def test_a_misspelt_field_is_a_warning_and_an_error_when_strict(node, run):
    text = POD.format(name="a", count=1).replace("limits", "limit")
    problem = "<stdin>:6: spec.containers[0].resources.limit: unknown field; did you mean limits?\n"
    done = run("admit", "-f", "-", text=text)
    assert (done.returncode, done.stderr) == (0, f"warning: {problem}")
    done = run("admit", "-f", "-", "--strict", text=text)
    assert (done.returncode, done.stderr) == (2, f"Error: {problem}")


def test_tables_and_yaml_show_the_same_without_colour(node, run):
    assert run("admit", "-f", "-", text=POD.format(name="a", count=1)).returncode == 0
    table = run("status").stdout
    assert "vendor.com/gpu" in table
    assert "default/a" in table
    assert "\x1b" not in table
    assert "allocatable: 3" in run("status", "-o", "yaml").stdout
    assert "PodAdmitted" in run("events").stdout


def test_off_a_terminal_a_row_is_a_line_that_other_programs_can_take_apart(daemon, start, run, root_dir):
    """However long it is; --no-headers and -o name as kubectl has them."""
    program = daemon()
    long = "d" * 300
    script = root_dir / "script.yaml"
    script.write_text(f"resource: vendor.com/gpu\ndevices: [{{id: {long}}}]\n")
    start("-m", "devicemgr", "plugin", "--root-dir", root_dir, "--script", script)
    program.wait_for("DeviceListApplied")
    assert run("admit", "-f", "-", text=POD.format(name="a", count=1)).returncode == 0
    lines = run("status").stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["Resources"],
        ["resource", "capacity", "allocatable", "allocated", "available", "endpoint"],
        ["vendor.com/gpu", "1", "1", "1", "0", "serving"],
        ["Pods"],
        ["pod", "container", "resource", "devices"],
        ["default/a", "main", "vendor.com/gpu", long],
    ]
    rows = run("status", "--no-headers").stdout.splitlines()
    assert [row.split() for row in rows] == [lines[2].split(), lines[5].split()]
    assert run("status", "-o", "name").stdout == "resource/vendor.com/gpu\npod/default/a\n"
    assert run("node-status", "--no-headers").stdout.split() == ["vendor.com/gpu", "1", "1"]


def test_events_are_json_lines(node, run):
    events = [json.loads(line) for line in run("events", "-o", "json").stdout.splitlines()]
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert {"ManagerReady", "PluginRegistered", "DeviceListApplied"} <= {event["event"] for event in events}


def test_events_are_filtered_as_kubectl_does(node, run, start, root_dir):
    start("-m", "devicemgr", "plugin", "--root-dir", root_dir, "--resource", "vendor.com/nic")
    node[0].wait_for("DeviceListApplied resource=vendor.com/nic")
    for name in ("a", "b"):
        assert run("admit", "-f", "-", text=POD.format(name=name, count=1)).returncode == 0
    assert run("remove", "a").returncode == 0

    def types(*options):
        done = run("events", "-o", "json", *options)
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["event"] for line in done.stdout.splitlines()]

    story = ["PodAdmissionRequested", "DevicesAllocated", "PodAdmitted", "ContainerStarted", "PodRemoved"]
    assert types("--for", "pod/a") == story, "also of a pod that has ended, and what has its uid only"
    assert types("--for", "pod/default/b") == story[:4]
    assert types("--for", "pod/other") == []
    nic = types("--for", "vendor.com/nic")
    assert set(nic) == {"RegistrationRequested", "CallFinished", "PluginRegistered", "DeviceListApplied"}
    assert types("--type", "PodAdmitted,PodRemoved", "--type", "PodRefused") == [
        "PodAdmitted",
        "PodAdmitted",
        "PodRemoved",
    ]
    assert types("--since", "1h", "--type", "PodRemoved") == ["PodRemoved"]
    assert types("--since", "0s") == []


def test_followers_hold_up_no_stop_and_go_on_with_the_next_manager(node, daemon, start, root_dir):
    """Also after one that was killed, as ``tail -F`` does."""
    program, plugin = node
    shown = {"events --follow": "ManagerReady", "sequence --follow": "the manager is ready", "status --watch": "Pods"}
    followers = {
        start("-m", "devicemgr", *verb.split(), "--root-dir", root_dir): words for verb, words in shown.items()
    }
    for follower, words in followers.items():
        follower.wait_for(words)
    plugin.end()
    next(iter(followers)).wait_for("EndpointStopped")
    for times, end in enumerate((signal.SIGTERM, signal.SIGKILL), start=1):
        assert program.end(end) == (0 if end == signal.SIGTERM else -end)
        for follower in followers:
            follower.wait_for("; waiting for the next one", count=times)
        program = daemon()
        for follower, words in followers.items():
            follower.wait_for(f"a manager is on {root_dir}/devicemgr/admin.sock again", count=times)
            follower.wait_for(words, count=times + 1)
    assert [follower.end(signal.SIGINT) for follower in followers] == [0, 0, 0]


def test_a_follower_is_told_nothing_twice_by_a_manager_that_has_restarted(daemon, start, run, root_dir):
    daemon("--allow-faults")
    follower = start("-m", "devicemgr", "events", "--follow", "-o", "json", "--root-dir", root_dir)
    follower.wait_for("ManagerReady")
    assert run("fault", "restart").returncode == 0
    follower.wait_for("ManagerReady", count=2)
    assert follower.end(signal.SIGINT) == 0
    told = [json.loads(line)["sequence"] for line in follower.lines if line.startswith("{")]
    assert told == [*range(1, len(told) + 1)]


def test_what_a_kubelets_file_has_of_pods_that_are_gone_is_cleared_by_retain(daemon, run, root_dir):
    """GC-1: only somebody else knows which pods exist."""
    entry = {"PodUID": "", "ContainerName": "c", "ResourceName": "a.com/x", "DeviceIDs": {"-1": []}, "AllocResp": ""}
    entries = [entry | {"PodUID": uid, "DeviceIDs": {"-1": [f"d-{uid}"]}} for uid in ("kept", "refused", "ended")]
    data = {"PodDeviceEntries": entries, "RegisteredDevices": {"a.com/x": []}}
    (root_dir / "device-plugins").mkdir()
    file = root_dir / "device-plugins" / "kubelet_internal_checkpoint"
    file.write_text(json.dumps({"Data": data, "Checksum": checksum_of(canonical_text(data))}))
    daemon()
    empty = run("retain", "-", text=" \n")
    assert (empty.returncode, "no pod is named" in empty.stderr) == (2, True)
    done = run("retain", "kept another")  # as a shell gives what was quoted
    assert (done.returncode, done.stdout) == (0, "removed uid refused\nremoved uid ended\n")
    again = run("retain", "-", text="kept\n")
    assert (again.returncode, again.stdout) == (0, "there was no other pod\n")
    assert [pod["uid"] for pod in json.loads(run("status", "-o", "json").stdout)["pods"]] == ["kept"]


def test_to_retain_the_name_of_a_pod_would_remove_it(node, run):
    text = POD.format(name="a", count=1).replace("name: a}", "name: a, uid: u-1}")
    assert run("admit", "-f", "-", text=text).returncode == 0
    for name in ("a", "default/a"):
        done = run("retain", "other", name)
        assert (done.returncode, f"{name} is the name of a pod: its uid is u-1" in done.stderr) == (2, True)
    assert run("retain", "u-1").stdout == "there was no other pod\n"


def test_two_pods_of_one_name_are_told_apart_by_their_uids(node, run):
    """GC-3: the one that was deleted by force is still ending."""
    for uid in ("old", "new"):
        text = POD.format(name="a", count=1).replace("name: a}", f"name: a, uid: {uid}}}")
        assert run("admit", "-f", "-", text=text).returncode == 0
    shown = run("status").stdout
    assert "default/a (uid old)" in shown
    assert "default/a (uid new)" in shown
    unclear = run("remove", "default/a")
    assert (unclear.returncode, "say which by its uid: old, new" in unclear.stderr) == (1, True)
    assert run("remove", "--uid", "old").stdout == "removed uid old\n"
    assert run("remove", "default/a").stdout == "removed default/a\n"


def test_the_plugin_registers_again_with_a_new_manager(node, daemon):
    program, plugin = node
    program.end()
    again = daemon()
    plugin.wait_for("registered vendor.com/gpu", count=2)
    again.wait_for("DeviceListApplied")


def test_a_plugin_that_is_there_before_the_manager_waits_and_says_for_what(start, daemon, root_dir):
    plugin = start("-m", "devicemgr", "plugin", "--root-dir", root_dir / "new", "--resource", "vendor.com/gpu")
    plugin.wait_for(f"waiting for a manager: there is no {root_dir}/new/device-plugins")
    daemon("--root-dir", root_dir / "new").wait_for("DeviceListApplied")
    plugin.wait_for("registered vendor.com/gpu with 1 device on")


def test_a_plugin_that_is_not_registered_says_why(start, daemon, root_dir):
    daemon("--peer-limit", "resources=1").end(signal.SIGKILL)
    plugin = ["-m", "devicemgr", "plugin", "--root-dir", root_dir, "--resource"]
    first = start(*plugin, "vendor.com/a")
    first.wait_for(f"waiting for a manager: {root_dir}/device-plugins/kubelet.sock: [Errno 111] Connection refused")
    daemon("--peer-limit", "resources=1")
    first.wait_for("registered")
    start(*plugin, "vendor.com/b").wait_for("waiting for a manager: no room for vendor.com/b")


def test_a_plugin_that_is_stopped_says_so_itself(node):
    program, plugin = node
    assert plugin.end() == 0
    program.wait_for(
        'EndpointStopped resource=vendor.com/gpu generation=1 reason="rpc error: code = Unavailable desc = '
        'the simulated plug-in was stopped"'
    )


def test_a_hang_up_ends_a_plugin_unless_its_script_waits_for_it(daemon, start, root_dir):
    daemon()
    script = root_dir / "script.yaml"
    script.write_text("resource: vendor.com/nic\ndevices: [{id: a}]\nschedule:\n- {on: HUP, health: {a: Unhealthy}}\n")
    listed = ["-m", "devicemgr", "plugin", "--root-dir", root_dir]
    plain = start(*listed, "--resource", "vendor.com/gpu")
    scripted = start(*listed, "--script", script)
    for plugin in (plain, scripted):
        plugin.wait_for("registered")
    scripted.process.send_signal(signal.SIGHUP)
    assert plain.end(signal.SIGHUP) == 0
    assert scripted.process.poll() is None
    assert scripted.end() == 0


@pytest.mark.parametrize("verb", [["status"], ["remove", "default/a"], ["retain", "a"], ["events"]])
def test_without_a_manager_the_exit_status_is_3_and_the_way_out_is_named(run, root_dir, verb):
    done = run(*verb)
    assert done.returncode == 3
    assert f"no manager reachable on {root_dir}/devicemgr/admin.sock" in done.stderr
    assert f"python -m devicemgr --root-dir {root_dir}" in done.stderr


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        (["admit", "-f", "-"], "<stdin>:1: this is not valid YAML"),
        (["admit", "-f", "/nowhere.yaml"], "/nowhere.yaml: cannot be read"),
        (["admit", "-f", "proto"], "proto: no file of this directory ends in .json, .yaml, .yml"),
        (["remove", "a/b/c"], "write NAMESPACE/NAME"),
        (["retain"], "Missing argument"),
        (["status", "--nonsense"], "No such option"),
        (["nonsense"], "No such command 'nonsense'\n"),
        (["events", "--type", "PodAdmited"], "there are no events 'PodAdmited'; did you mean PodAdmitted?"),
        (["events", "--since", "5"], "'5': write a time as 90s, 5m or 1h30m"),
        (["events", "--for", "pod/"], "'': write NAMESPACE/NAME"),
        (["events", "--for", "training"], "'training': write pod/NAME, or a resource as vendor.com/gpu"),
        (["wait", "gpu"], "'gpu': it has no domain (as in vendor.com/gpu)"),
        (["retain", " \n"], "no pod is named, and all of them would be removed"),
        (["statsu"], "No such command 'statsu'; did you mean status?\n"),
        (["fault", "restrt"], "No such command 'restrt'; did you mean restart?\n"),
        (["checkpoint", "shwo"], "No such command 'shwo'; did you mean show?\n"),
        (["status", "--wacth"], "--watch"),
        (["--peer-limit", "devcies=3"], "did you mean devices?"),
        (["--deadline", "alocate=3"], "did you mean allocate?"),
        (["plugin", "--resource", "gpu"], "it has no domain"),
    ],
)
def test_bad_input_has_exit_status_2(run, verb, words):
    done = run(*verb, text="a: [")
    assert done.returncode == 2
    assert words in done.stderr


@pytest.mark.parametrize(
    "verb",
    [
        [],
        ["status", "-o"],
        ["admit", "-f"],
        ["checkpoint", "show"],
        ["plugin", "--resource"],
        ["check", "--only"],
        ["--peer-limit"],
        ["--root-dir"],
    ],
)
def test_what_was_given_is_quoted_within_reason_and_moves_no_cursor(run, verb):
    """Whole it would be longer than the screen, and hide what is wrong with it."""
    done = run(*verb, "x\x1b[2J" + "y" * 5000)
    assert done.returncode in (1, 2)
    assert "Error: " in done.stderr
    assert len(done.stderr) < 1500
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize("words", [("fault", "--root-dir", "/a", "wipe"), ("fault", "wipe", "--root-dir", "/a")])
def test_the_root_directory_is_told_before_the_verb_or_after_it(run, words):
    assert "no manager reachable on /a/devicemgr/admin.sock" in run(*words).stderr


def test_pods_and_resources_that_were_misspelt_have_a_hint(daemon, start, run, root_dir):
    daemon("--allow-faults")
    plugin = start("-m", "devicemgr", "plugin", "--root-dir", root_dir, "--resource", "vendor.com/gpu")
    plugin.wait_for("registered")
    assert run("admit", "-f", "-", text=POD.format(name="training", count=0)).returncode == 0
    for verb in ("remove", "explain"):
        assert run(verb, "trainig").stderr.endswith("; did you mean default/training?\n")
    assert run("remove", "other").stderr == "Error: there is no pod default/other; 'status' lists the pods\n"
    dropped = run("fault", "drop-connection", "vendor.com/gpuu")
    warning = "warning: there is no vendor.com/gpuu; did you mean vendor.com/gpu?\n"
    assert (dropped.returncode, dropped.stderr.startswith(warning)) == (1, True)
    early = run("fault", "stop-reading", "vendor.com/another")
    assert (early.returncode, early.stderr) == (0, "")


@pytest.mark.parametrize("verb", [[], ["status"], ["plugin", "--resource", "vendor.com/gpu"], ["demo"]])
def test_a_path_too_long_for_sockets_is_named_with_the_way_out(run, tmp_path, monkeypatch, verb):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    done = run("--root-dir", long, *verb)
    assert done.returncode == 1
    assert str(long) in done.stderr
    assert "unix allows 107. Give a shorter --root-dir, or, if it is a temporary directory, set TMPDIR" in done.stderr


# --- checkpoint, explain, node-status ------------------------------------------------------------------

SAMPLE = (
    '{"Data":{"PodDeviceEntries":[{"PodUID":"pod1","ContainerName":"con1","ResourceName":"a.com/x","DeviceIDs":'
    '{"-1":["d9"],"0":["d1","d2"]},"AllocResp":"CgYKAUsSAXY="}],"RegisteredDevices":{"a.com/x":["d1"]}},'
    '"Checksum":%d}'
)


def test_checkpoint_show_reads_any_kubelets_file(run, tmp_path):
    """Item 2: a table or JSON, and the checksum verified."""
    file = tmp_path / "kubelet_internal_checkpoint"
    data = json.loads(SAMPLE % 0)["Data"]
    file.write_text(SAMPLE % checksum_of(canonical_text(data)))
    shown = run("checkpoint", "show", file)
    assert shown.returncode == 0
    assert "The checksum is right." in shown.stdout
    assert "env K=v" in shown.stdout
    (entry,) = json.loads(run("checkpoint", "show", file, "-o", "json").stdout)["entries"]
    assert (entry["pod_uid"], entry["devices"]) == ("pod1", {"d1": [0], "d2": [0], "d9": None})
    assert entry["answer"]["envs"] == {"K": "v"}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "this is not JSON"),
        ('{"Data":{"PodDeviceEntries":[{"DeviceIDs":3}]},"Checksum":1}', "DeviceIDs must be a JSON object"),
        ('{"policyName":"none","defaultCpuSet":"","checksum":1353318690}', "it is not a device manager's"),
    ],
)
def test_checkpoint_show_of_what_is_no_checkpoint_is_bad_input(run, tmp_path, content, problem):
    file = tmp_path / "damaged"
    file.write_text(content)
    done = run("checkpoint", "show", file)
    assert (done.returncode, problem in done.stderr, str(file) in done.stderr) == (2, True, True)
    missing = run("checkpoint", "show", tmp_path / "nothing")
    assert (missing.returncode, "cannot be read" in missing.stderr) == (2, True)


def test_checkpoint_show_tells_a_wrong_checksum_and_shows_the_content(run, tmp_path):
    file = tmp_path / "damaged"
    file.write_text(SAMPLE % 1)
    done = run("checkpoint", "show", file)
    assert done.returncode == 1
    assert done.stderr.startswith(f"warning: {file}: the checksum is 1, but the content's is ")
    assert "The checksum is wrong." in done.stdout
    assert "env K=v" in done.stdout
    data = json.loads(run("checkpoint", "show", file, "-o", "json").stdout)
    assert (data["checksum"], data["entries"][0]["pod_uid"]) == ("wrong", "pod1")


CHECKPOINTS = Path(__file__).parent.parent / "files" / "checkpoints"


@pytest.mark.parametrize(
    ("name", "layout", "words"),
    [
        ("1.9.json", "1.8 to 1.10", "A kubelet of this age wrote no checksum."),
        ("1.19.json", "1.11 to 1.19", "The checksum is right."),
    ],
)
def test_checkpoint_show_reads_the_layouts_of_old_kubelets_also_from_standard_input(run, name, layout, words):
    text = (CHECKPOINTS / name).read_text()
    shown = run("checkpoint", "show", "-", text=text)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert f"The layout is that of Kubernetes {layout}. {words}" in shown.stdout
    data = json.loads(run("checkpoint", "show", CHECKPOINTS / name, "-o", "json").stdout)
    assert data["layout"] == layout
    assert [list(entry["devices"]) for entry in data["entries"]] == [["GPU-0a", "GPU-0b"], ["GPU-1"]]
    assert data["entries"][0]["answer"]["envs"] == {"NVIDIA_VISIBLE_DEVICES": "GPU-0a,GPU-0b"}


def test_numa_nodes_stand_beside_their_devices_when_ids_are_long(run):
    ids = {"0": ["A" * 150, "B" * 150], "1": ["C" * 150]}
    data = {"PodDeviceEntries": [{"PodUID": "p", "ContainerName": "c", "ResourceName": "v.com/r", "DeviceIDs": ids}]}
    text = json.dumps({"Data": data, "Checksum": checksum_of(canonical_text(data))})
    shown = run("checkpoint", "show", "-", text=text).stdout
    assert re.findall(r"(A|B|C)\1{149} +(\S+)", shown) == [("A", "0"), ("B", "0"), ("C", "1")]


def test_explain_tells_of_admitted_and_of_refused_pods(node, run):
    run("admit", "-f", "-", text=POD.format(name="a", count=2))
    run("admit", "-f", "-", text=POD.format(name="greedy", count=9))
    told = run("explain", "default/a").stdout
    assert "Pod default/a " in told
    assert "Taken: dev-0, dev-1: free, and first in order (ALLOC-7f)." in told
    assert "UnexpectedAdmissionError by rule ALLOC-E6" in run("explain", "greedy").stdout
    unknown = run("explain", "nobody")
    assert (unknown.returncode, "there is no pod default/nobody" in unknown.stderr) == (1, True)
    assert run("explain", "a/b/c").returncode == 2


def test_node_status_shows_what_is_published(node, run):
    status = json.loads(run("node-status", "-o", "json").stdout)
    assert status == {
        "capacity": {"vendor.com/gpu": 4},
        "allocatable": {"vendor.com/gpu": 3},
        "removed": [],
        "reset": True,
    }
    assert "vendor.com/gpu" in run("node-status", "--acknowledge").stdout


def test_a_pod_of_which_a_container_does_not_start_is_shown_with_all_of_them(daemon, start, run, root_dir):
    program = daemon()
    script = root_dir / "script.yaml"
    script.write_text(
        "resource: vendor.com/gpu\ndevices: [{id: dev-0}]\noptions: {preStartRequired: true}\n"
        f"calls: [{{call: PreStartContainer, error: reset failed {'x ' * 200}}}]\n"
    )
    start("-m", "devicemgr", "plugin", "--root-dir", root_dir, "--script", script)
    program.wait_for("DeviceListApplied")
    done = run("admit", "-f", "-", text=POD.format(name="a", count=1))
    assert done.returncode == 1
    assert [line.split() for line in done.stdout.splitlines()[:3]] == [
        ["admitted", "default/a"],
        ["container", "what", "value"],
        ["main", "not", "started"],
    ]
    assert done.stdout.splitlines()[3].startswith("container main could not start: ")
    assert done.stdout.splitlines()[3].endswith("reset failed " + "x " * 199 + "x"), "in one line"


def test_a_plugin_that_has_waited_for_its_directory_still_takes_nobody_elses_file(start, root_dir):
    named = "--resource", "vendor.com/gpu", "--endpoint", "gpu.sock"
    plugin = start("-m", "devicemgr", "plugin", "--root-dir", root_dir, *named)
    plugin.wait_for("waiting for a manager")
    made = root_dir / "made"
    (made / "gpu.sock").mkdir(parents=True)
    made.rename(root_dir / "device-plugins")
    assert plugin.wait() == 1
    assert "gpu.sock is no socket: give another endpoint" in plugin.lines[-1]


def test_status_shows_the_health_of_what_is_held(node, run):
    """LIM-7: after the plug-in is gone nobody knows."""
    program, plugin = node
    run("admit", "-f", "-", text=POD.format(name="a", count=1))
    plugin.end(signal.SIGTERM)
    program.wait_for("EndpointStopped")
    assert "dev-0 (Unknown)" in run("status").stdout


@pytest.mark.parametrize("terminal", ["1", ""])
def test_a_terminal_is_spared_what_nobody_reads(terminal, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", terminal)
    count = MOST_ON_TERMINAL + 1234
    health = {"vendor.com/gpu": {f"dev-{n}-": "Healthy" for n in range(count)}}
    pod = PodStatus(namespace="n", name="p", uid="u", containers=(ContainerStatus(name="c", health=health),))
    draw_status(status_data({}, [pod]))
    shown = capsys.readouterr().out
    assert shown.count("dev-") == (MOST_ON_TERMINAL if terminal else count)
    assert ("1,234 more" in " ".join(shown.replace("│", " ").split())) == bool(terminal)


def test_what_the_node_has_without_a_plugin_is_counted_and_shown(daemon, run, root_dir):
    """The command line counts more than the file; what is wrong with either is bad usage or bad input."""
    config = root_dir / "kubelet.yaml"
    config.write_text("nodeResources: {a.com/enclaves: 2, vendor.com/gpu: 9}\n")
    program = daemon("--config", config, "--node-resource", "vendor.com/gpu=1k")
    admitted = run("admit", "-f", "-", text=POD.format(name="a", count=600))
    assert (admitted.returncode, admitted.stdout.split()[-4:]) == (0, ["main", "vendor.com/gpu", "600", "(counted)"])
    refused = json.loads(run("admit", "-f", "-", "-o", "json", text=POD.format(name="b", count=600)).stdout)
    assert refused["reason"] == "OutOfvendor.com/gpu"
    assert json.loads(run("status", "-o", "json").stdout)["resources"] == {
        "a.com/enclaves": {
            "capacity": 2,
            "allocatable": 2,
            "allocated": 0,
            "available": 2,
            "endpoint": "node",
            "standbys": [],
        },
        "vendor.com/gpu": {
            "capacity": 1000,
            "allocatable": 1000,
            "allocated": 600,
            "available": 400,
            "endpoint": "node",
            "standbys": [],
        },
    }
    assert run("wait", "a.com/enclaves").stdout.startswith("a.com/enclaves: capacity 2")
    status = json.loads(run("node-status", "-o", "json").stdout)
    assert status["allocatable"] == status["capacity"] == {"a.com/enclaves": 2, "vendor.com/gpu": 1000}
    assert "the node has 1000, by --node-resource, and no plug-in was asked" in run("explain", "a").stdout
    assert run("explain", "a", "-o", "yaml").stdout.count("node_resource: 1000") == 1
    assert program.end(signal.SIGTERM) == 0
    for words in (["gpu=1"], ["a.com/b"], ["a.com/b=x"], ["a.com/b=1.5"]):
        wrong = run("--node-resource", *words)
        assert (wrong.returncode, "Invalid value for '--node-resource'" in wrong.stderr) == (2, True), wrong.stderr


def test_a_watched_plugin_is_found_and_goes(daemon, start, run, root_dir):
    """Item 5, as its user sees it."""
    program = daemon()
    arguments = ["--root-dir", root_dir, "--resource", "vendor.com/gpu", "--count", "2", "--watched"]
    plugin = start("-m", "devicemgr", "plugin", *arguments)
    plugin.wait_for("waiting to be found")
    program.wait_for("DeviceListApplied")
    assert json.loads(run("status", "-o", "json").stdout)["resources"]["vendor.com/gpu"]["allocatable"] == 2
    (own,) = (root_dir / "plugins_registry").glob("vendor.com-gpu-*.sock")
    own.unlink()
    plugin.wait_for("made again")
    program.wait_for("PluginRegistered", count=2)
    plugin.end(signal.SIGTERM)
    program.wait_for("EndpointStopped", count=2)


def test_the_page_of_a_trace_is_served_until_it_is_interrupted(start, root_dir, tmp_path):
    trace = tmp_path / "a.trace"
    trace.write_text('{"time": 5.0, "event": "ManagerStopping"}\n{"time": 7.5, "event": "ManagerStopping"}\n{"cut')
    program = start("-m", "devicemgr", "page", "--trace", trace)
    program.wait_for("Ctrl-C ends it")
    assert re.search(r"warning: .*:3: the line is cut off.*; left out", "".join(program.lines))
    (url,) = re.findall(r"http://127\.0\.0\.1:\d+/", "".join(program.lines))
    with urlopen(f"{url}at?seconds=1") as response:
        assert json.load(response)["moment"] == {
            "event": 1,
            "of": 2,
            "seconds": 0.0,
            "has_times": True,
            "next": 2.5,
            "missing": 0,
            "what": "ManagerStopping",
        }
    assert program.end() == 0


def test_the_page_of_no_trace_is_an_error(run, tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("hello\n")
    done = run("page", "--trace", file)
    assert (done.returncode, "A trace is what --trace writes" in done.stderr) == (2, True)


def test_the_demo_has_a_page(run):
    done = run("demo", "--page", ":0", text="")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"kubelet\.sock and the page http://127\.0\.0\.1:\d+/\.", done.stdout)
