"""``check`` as a user runs it: what it prints, what it writes, and its exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from xml.etree import ElementTree

import pytest

PLUGIN = (sys.executable, "-m", "devicemgr", "plugin", "--resource", "vendor.com/gpu")
QUICK = ("--only", "first-list,allocate-answers")


@pytest.fixture
def script(root_dir):
    """``script(text)`` is the path of an executable shell script."""

    def make(text):
        path = root_dir / "plugin.sh"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    return make


def test_list_and_explain_need_no_plugin(run):
    listed = run("check", "--list")
    assert listed.returncode == 0
    assert "sigterm-removes-socket" in listed.stdout
    explained = run("check", "--explain", "restart")
    assert explained.returncode == 0
    for words in (
        "after an update of the kubelet the node has no devices",
        "Mend it:",
        "Rule: REG-17",
        "sriov-network-device-plugin#411",
    ):
        assert words in explained.stdout


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "give either a command after -- or --attach RESOURCE"),
        (("--only", "no-such", "--", "true"), "no-such: no such check; there are registers, api-version"),
        (("--explain", "no-such"), "no-such: no such check"),
        (("--", "/no/such/program"), "cannot start /no/such/program: No such file or directory"),
    ],
)
def test_what_cannot_be_run_is_exit_status_2(run, arguments, problem):
    done = run("check", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert problem in done.stderr


def test_a_program_that_ends_is_shown_with_what_it_wrote(run, script):
    done = run("check", "--", script("echo looking for devices; echo 'panic: none' >&2; exit 1"))
    assert done.returncode == 1
    assert "0 passed, 1 failed, 35 skipped" in done.stdout
    assert "not made, for they need registers" in done.stdout
    assert done.stdout.index("looking for devices\npanic: none") > done.stdout.index("--explain CHECK")
    assert "use --isolate" in done.stdout


@pytest.mark.parametrize("place", ["$1", "$DEVICE_PLUGIN_DIR", '$(dirname "$KUBELET_SOCKET")', '$(dirname "$2")'])
def test_a_plugin_learns_the_directory_in_every_usual_way(run, script, place):
    command = f'exec {sys.executable} -m devicemgr plugin --resource vendor.com/gpu --root-dir "$(dirname "{place}")"'
    done = run("check", *QUICK, "--", script(command), "{dir}", "{socket}")
    assert done.returncode == 0, done.stdout


def test_a_check_that_others_need_fails_the_run_though_nobody_named_it(run, script):
    done = run("check", *QUICK, "-o", "json", "--", script("exit 1"))
    assert done.returncode == 1
    assert json.loads(done.stdout)["summary"] == {"passed": 0, "failed": 1, "skipped": 2}


def test_reports_are_written_for_machines(run, root_dir):
    files = {name: root_dir / name for name in ("junit", "trace", "log")}
    done = run(
        *("check", *QUICK, "-o", "json", "--junit", files["junit"], "--trace", files["trace"]),
        *("--plugin-log", files["log"], "--", *PLUGIN, "--root-dir", "{dir}/.."),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["summary"] == {"passed": 2, "failed": 0, "skipped": 0}
    assert [result["check"] for result in report["results"]] == ["first-list", "allocate-answers"]
    suite = ElementTree.parse(files["junit"]).getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "0")
    events = [json.loads(line)["event"] for line in files["trace"].read_text().splitlines()]
    assert {"RegistrationRequested", "ListReceived"} <= set(events)
    assert "registered vendor.com/gpu" in files["log"].read_text()


def test_a_plugin_with_the_kubelets_path_compiled_in_is_isolated(run):
    allowed = subprocess.run(["unshare", "--mount", "true"], capture_output=True)
    if allowed.returncode:
        pytest.skip(f"mount namespaces are not allowed here: {allowed.stderr.decode()}")
    done = run("check", *QUICK, "--isolate", "--", *PLUGIN)
    assert done.returncode == 0, done.stdout


def test_the_private_manager_can_live_where_a_plugin_looks_for_it(run, root_dir):
    done = run("check", *QUICK, "--root-dir", root_dir / "node", "--", *PLUGIN, "--root-dir", root_dir / "node")
    assert done.returncode == 0, done.stdout


def test_a_plugin_that_somebody_else_starts(run, root_dir, start):
    (root_dir / "device-plugins").mkdir()
    start(*PLUGIN[1:], "--root-dir", root_dir)
    done = run("check", *QUICK, "--root-dir", root_dir, "--attach", "vendor.com/gpu")
    assert done.returncode == 0, done.stdout
