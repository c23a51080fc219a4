"""``check`` as a user runs it: what it prints, what it writes, and its exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from devicemgr.rules.book import read_book
from devicemgr.testing.conformance import CHECKS
from tests.processes import running

from .conftest import HANGS

PLUGIN = (sys.executable, "-m", "devicemgr", "plugin", "--resource", "vendor.com/gpu")
QUICK = ("--quiet-period", "1", "--only", "first-list,allocate-answers")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Where the failures of the last run are stored."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    return tmp_path


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
    assert [line.split()[-2] for line in listed.stdout.splitlines() if line.startswith("cdi-names")] == ["error"]
    assert "What breaks it is no failure" in run("check", "--explain", "sigterm-removes-socket").stdout
    weights = {one["check"]: one["weight"] for one in json.loads(run("check", "--list", "-o", "json").stdout)}
    assert (weights["registers"], weights["sigterm-removes-socket"]) == ("error", "warning")
    explained = run("check", "--explain", "restart")
    assert explained.returncode == 0
    for words in (
        "after an update of the kubelet the node has no devices",
        "Fix:",
        "Rule: REG-17",
        f"REG-17: {read_book()['REG-17'].sentence}",
        "sriov-network-device-plugin#411",
    ):
        assert words in " ".join(explained.stdout.split())
    data = json.loads(run("check", "--explain", "restart", "-o", "json").stdout)
    assert data["rules"] == {id: read_book()[id].sentence for id in ("REG-17", "REG-22")}
    assert data["explanation"][0] in " ".join(explained.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "give either a command after -- or --attach RESOURCE"),
        (("--only", "no-such", "--", "true"), "no-such: no such check; there are registers, api-version"),
        (("--explain", "no-such"), "no-such: no such check"),
        (("--sequence", "no-such", "--", "true"), "no-such: no such check"),
        (("--", "/no/such/program"), "cannot start /no/such/program: No such file or directory"),
        (("--", ""), "cannot start '': "),
        (("--only", "", "--", "true"), "Invalid value for '--only': '' names nothing"),
        (("--attach", "gpu"), "Invalid value for '--attach': 'gpu': it has no domain"),
        (("--resource", "gpu", "--", "true"), "resource: 'gpu': it has no domain"),
        (("--junit", "report", "--trace", "./report", "--", "true"), "must each have a file of their own"),
    ],
)
def test_what_cannot_be_run_is_exit_status_2(run, arguments, problem):
    done = run("check", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert problem in done.stderr


def test_a_program_that_ends_is_shown_with_what_it_wrote(run, script):
    done = run("check", "--", script("echo looking for devices; echo 'panic: none' >&2; exit 1"))
    assert done.returncode == 1
    assert f"0 passed, 1 failed, {len(CHECKS) - 1} skipped" in done.stdout
    assert "failed  registers: the plug-in has ended, with exit status 1" in done.stderr
    assert "not run, because they need registers" in done.stdout
    order = [
        "not run",
        "│ looking for devices\n│ panic: none",
        "registers ──",
        "Fix: call Register",
        "0 passed, 1 failed",
    ]
    assert [done.stdout.index(words) for words in order] == sorted(done.stdout.index(words) for words in order)
    assert "use --isolate" in done.stdout


@pytest.mark.parametrize("place", ["$1", "$DEVICE_PLUGIN_DIR", '$(dirname "$KUBELET_SOCKET")', '$(dirname "$2")'])
def test_a_plugin_learns_the_directory_in_every_usual_way(run, script, place):
    command = f'exec {sys.executable} -m devicemgr plugin --resource vendor.com/gpu --root-dir "$(dirname "{place}")"'
    done = run("check", *QUICK, "--", script(command), "{dir}", "{socket}")
    assert done.returncode == 0, done.stdout


def test_a_needed_check_fails_the_run_even_if_it_was_not_selected(run, script):
    done = run("check", *QUICK, "-o", "json", "--", script("exit 1"))
    assert done.returncode == 1
    assert json.loads(done.stdout)["summary"] == {"passed": 0, "failed": 1, "warning": 0, "skipped": 2, "not run": 0}


def test_reports_are_written_for_machines(run, root_dir):
    files = {name: root_dir / name for name in ("junit", "trace", "log")}
    done = run(
        *("check", *QUICK, "-o", "json", "--junit", files["junit"], "--trace", files["trace"]),
        *("--plugin-log", files["log"], "--", *PLUGIN, "--root-dir", "{dir}/.."),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["summary"] == {"passed": 2, "failed": 0, "warning": 0, "skipped": 0, "not run": 0}
    assert [result["check"] for result in report["results"]] == ["first-list", "allocate-answers"]
    suite = ElementTree.parse(files["junit"]).getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "0")
    events = [json.loads(line)["event"] for line in files["trace"].read_text().splitlines()]
    assert {"RegistrationRequested", "DeviceListReceived"} <= set(events)
    assert "registered vendor.com/gpu" in files["log"].read_text()


def test_the_conversation_behind_a_verdict(run):
    """Of the checks that it needs there is none: only of what was said while it was run itself."""
    arguments = ("check", "--sequence", "allocate-answers", "--", *PLUGIN, "--root-dir", "{dir}/..")
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    _, _, said = done.stdout.partition("\nWhat was said:\n")
    assert [line.split("  ")[-1].partition("(")[0] for line in said.splitlines() if "check →" in line] == ["Allocate"]
    assert "Register(" not in said
    (result,) = json.loads(run(*arguments[:3], "-o", "json", *arguments[3:]).stdout)["results"]
    assert any("Allocate(" in line for line in result["conversation"])


@pytest.fixture
def mounts_allowed():
    allowed = subprocess.run(["unshare", "--mount", "true"], capture_output=True)
    if allowed.returncode:
        pytest.skip(f"mount namespaces are not allowed here: {allowed.stderr.decode()}")


@pytest.mark.parametrize("how", [(), ("--watched",)])
def test_a_plugin_with_the_kubelets_path_compiled_in_is_isolated(run, mounts_allowed, how):
    """Also from the kubelet of this machine, which would find it in its plugins_registry."""
    there = Path("/var/lib/kubelet")
    before = sorted(there.rglob("*")) if there.exists() else None
    done = run("check", *QUICK, "--isolate", "--", *PLUGIN, *how)
    assert done.returncode == 0, done.stdout
    assert (sorted(there.rglob("*")) if there.exists() else None) == before


def test_a_host_path_is_looked_for_where_the_plugin_sees_it(run, mounts_allowed, root_dir):
    """Fake hardware: a device node that this machine does not have."""
    script = root_dir / "gpu.yaml"
    node = "{containerPath: /dev/gpu, hostPath: /dev/devicemgr-fake0, permissions: rw}"
    script.write_text(f"resource: vendor.com/gpu\ndevices: [{{count: 1}}]\nallocate: {{devices: [{node}]}}\n")
    plugin = "--", sys.executable, "-m", "devicemgr", "plugin", "--script", script, "--root-dir", "{dir}/.."
    usual = "check", "--quiet-period", "0.5", "--only", "host-paths-exist"
    assert run(*usual, "--bind", "/dev/null:/dev/devicemgr-fake0", *plugin).returncode == 0
    without = run(*usual, *plugin)
    assert (without.returncode, "'/dev/devicemgr-fake0', which does not exist here" in without.stdout) == (1, True)


HALF_TOLD = """
import sys
from pathlib import Path
import trio
from devicemgr.testing import open_simulated_plugin

async def main():
    async with open_simulated_plugin(Path(sys.argv[2]), "vendor.com/gpu") as plugin:
        plugin.directory = Path(sys.argv[1])
        try:
            await plugin.register()
        finally:
            await trio.sleep_forever()

trio.run(main)
"""


def test_isolate_is_suggested_for_a_socket_elsewhere(run, root_dir):
    """It uses KUBELET_SOCKET, and has its own directory compiled in."""
    program, own = root_dir / "half_told.py", root_dir / "own"
    program.write_text(HALF_TOLD)
    own.mkdir()
    done = run("check", "--only", "serves-first", "--", sys.executable, program, "{dir}", own)
    assert (done.returncode, "serves-first ──" in done.stdout) == (1, False)
    words = " ".join(done.stdout.replace("│", " ").split())
    assert ".sock', and there is no such socket in" in words
    assert (
        "or make its own socket, in /var/lib/kubelet/device-plugins whatever it is told? Then use --isolate." in words
    )


def test_the_private_manager_can_live_where_a_plugin_looks_for_it(run, root_dir):
    done = run("check", *QUICK, "--root-dir", root_dir / "node", "--", *PLUGIN, "--root-dir", root_dir / "node")
    assert done.returncode == 0, done.stdout


def test_a_plugin_that_is_started_elsewhere(run, root_dir, start):
    (root_dir / "device-plugins").mkdir()
    start(*PLUGIN[1:], "--root-dir", root_dir)
    done = run("check", *QUICK, "--root-dir", root_dir, "--attach", "vendor.com/gpu")
    assert done.returncode == 0, done.stdout


def test_a_warning_fails_the_run_only_when_it_is_meant_strictly(run, root_dir):
    """Also with a configuration file; each warning is reported as a failure is."""
    script = root_dir / "gpu.yaml"
    script.write_text("resource: vendor.com/gpu\ndevices: [{count: 1, numa: [1]}]\n")
    plugin = "--", sys.executable, "-m", "devicemgr", "plugin", "--script", script, "--root-dir", "{dir}/.."
    usual = "check", "--quiet-period", "0.5", "--numa", "0", "--only", "numa-plausible"
    done = run(*usual, *plugin)
    assert (done.returncode, "0 passed, 0 failed, 1 warning, 0 skipped" in done.stdout) == (0, True), done.stdout
    assert "warning numa-plausible: this machine has [0]" in done.stderr
    assert "numa-plausible (a warning) ──" in done.stdout
    strict = root_dir / "check.toml"
    strict.write_text("strict = true\n")
    for how in (("--strict",), ("--config", strict)):
        done = run(*usual, *how, *plugin)
        assert (done.returncode, "0 passed, 1 failed, 0 skipped" in done.stdout) == (1, True), done.stdout


def test_nothing_proved_is_no_success(run):
    skipped = run("check", "--quiet-period", "1", "--only", "pre-start", "--", *PLUGIN, "--root-dir", "{dir}/..")
    assert (skipped.returncode, "0 passed, 0 failed, 1 skipped" in skipped.stdout) == (2, True)
    nothing = run("check", "--only", "registers", "--skip", "registers", "--", "true")
    assert (nothing.returncode, "no check is left" in nothing.stderr) == (2, True)


def test_few_checks_passed_and_most_not_run_is_no_success(run):
    little = "--quiet-period", "0.5", "--only", "first-list,pre-start,preferred-allocation", "--", *PLUGIN, "--root-dir"
    done = run("check", *little, "{dir}/..")
    assert (done.returncode, "1 passed, 0 failed, 2 skipped" in done.stdout) == (2, True)
    assert done.stdout.splitlines()[-1] == (
        "2 of 3 checks were not run: this proves little about the plug-in, and is exit status 2 (--allow-skipped: 0)"
    )
    assert run("check", "--allow-skipped", *little, "{dir}/..").returncode == 0


def test_a_plugin_that_waits_to_be_found_is_checked(run):
    only = "--only", "endpoint-name,serves-first,restart"
    done = run("check", "--quiet-period", "0.5", *only, "--", *PLUGIN, "--watched", "--root-dir", "{dir}/..")
    assert (done.returncode, "3 passed, 0 failed, 0 skipped" in done.stdout) == (0, True), done.stdout
    assert "accepted a connection when GetInfo was called" in done.stdout


def test_a_report_that_cannot_be_written_is_an_error_before_the_run(run, root_dir):
    done = run("check", "--junit", root_dir / "no" / "junit.xml", "--", "true")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no/junit.xml: cannot be written: No such file or directory" in done.stderr


def test_the_evidence_has_the_calls_in_every_report_and_in_the_trace(run, root_dir):
    """Including the calls of the checks themselves."""
    trace, junit = root_dir / "trace", root_dir / "junit"
    done = run(
        *("check", *QUICK, "-o", "json", "--trace", trace, "--junit", junit, "--", *PLUGIN), "--root-dir", "{dir}/.."
    )
    (_, allocate) = json.loads(done.stdout)["results"]
    assert any("Allocate [dev-0]: OK after" in call for call in allocate["calls"])
    (call,) = [one for line in trace.read_text().splitlines() if (one := json.loads(line)).get("method") == "Allocate"]
    assert (call["check"], call["outcome"], call["request"]) == ("allocate-answers", "OK", {"containers": [["dev-0"]]})
    assert call["response"][0]["envs"] == {"GPU_DEVICES": "dev-0"}
    assert "Allocate [dev-0]: OK after" in junit.read_text()


def test_fail_fast_ends_with_the_first_failure(run):
    checks = ("--only", "lists-complete,stream-cancel", "--change", "false")
    done = run(
        "check", "--quiet-period", "1", "--fail-fast", *checks, "-o", "yaml", "--", *PLUGIN, "--root-dir", "{dir}/.."
    )
    assert done.returncode == 1
    assert "  failed: 1\n  warning: 0\n  skipped: 0\n  not run: 1\n" in done.stdout
    assert "evidence: a check before it failed (--fail-fast)" in done.stdout


def test_last_failed_runs_what_failed_the_last_time(run, cache):
    """Failures that were not run again are not forgotten."""
    command = "--", *PLUGIN, "--root-dir", "{dir}/.."
    usual = "check", "--quiet-period", "0.5", "-o", "json"

    def made(*options):
        done = run(*usual, *options, *command)
        return [result["check"] for result in json.loads(done.stdout)["results"]], done.stderr

    names, said = made("--last-failed", "--only", "lists-complete,stream-cancel", "--change", "false")
    assert names == ["lists-complete", "stream-cancel"]
    assert "None of these checks is known to have failed" in said
    assert made("--only", "stream-cancel")[0] == ["stream-cancel"]
    assert made("--last-failed")[0] == ["lists-complete"]
    assert made("--last-failed", "--change", "true", "--skip", "lists-complete", "--only", "first-list")[0] == [
        "first-list"
    ]
    (file,) = (cache / "devicemgr" / "check").iterdir()
    assert json.loads(file.read_text())["failed"] == ["lists-complete"]


def test_all_that_the_plugin_wrote_is_shown_when_asked_for(run):
    command = *PLUGIN, "--root-dir", "{dir}/.."
    done = run("check", *QUICK, "--show-output", "--", *command)
    assert "│ registered vendor.com/gpu" in done.stdout
    assert "registered vendor.com/gpu" not in run("check", *QUICK, "--", *command).stdout


def test_github_gets_annotations_and_a_summary(run, script, monkeypatch, tmp_path):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    done = run("check", "-o", "json", "--", script("exit 4"))
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("::")]
    assert line.startswith(
        "::error title=device plug-in check registers::Registers with the kubelet after its start.%0A"
    )
    assert "with exit status 4%0AFix: call Register" in line
    json.loads(done.stdout)
    assert "| registers | Registers with" in (tmp_path / "summary.md").read_text()


def test_a_plugin_behind_a_shell_that_lives_on_after_sigterm_has_not_ended(run, script):
    """It is gone when the check ends, also from a process group of its own."""
    plugin = " ".join(PLUGIN).replace("gpu", f"gpu-{os.getpid()}")
    text = f"(trap '' TERM; exec setsid {plugin} --root-dir \"$(dirname $1)\") & wait"
    done = run("check", "--quiet-period", "1", "--only", "sigterm-ends", "--", script(text), "{dir}")
    assert done.returncode == 1
    assert "it was still running 10 s after SIGTERM" in done.stdout
    assert f"gpu-{os.getpid()}" not in subprocess.run(["ps", "axww"], capture_output=True, text=True).stdout


def wait_until(condition):
    deadline = time.monotonic() + HANGS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def children_of(program):
    found = subprocess.run(["ps", "--no-headers", "--ppid", str(program.process.pid)], capture_output=True, text=True)
    return found.stdout.split()


@pytest.fixture
def start_check(start, root_dir):
    """A check that has found something, and now watches for a minute."""

    def start_one(*options, **how):
        program = start(
            *("-m", "devicemgr", "check", "--quiet-period", "60"),
            *("--only", "registers,first-list-complete,registers-once", *options),
            *("--", *PLUGIN, "--root-dir", "{dir}/.."),
            **how,
        )
        program.wait_for("passed  registers: vendor.com/gpu after")
        return program

    return start_one


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_was_found_before_a_signal_is_reported_and_the_rest_named(start_check, root_dir, number):
    junit = root_dir / "junit.xml"
    program = start_check("--junit", junit)
    assert program.end(number) == 128 + number
    report = "".join(program.lines)
    assert "1 passed, 0 failed, 0 skipped, 2 not run in" in report
    assert f"interrupted by {number.name}: first-list-complete, registers-once" in report
    suite = ElementTree.parse(junit).getroot()
    assert (suite.get("tests"), suite.get("skipped")) == ("3", "2")
    assert [skipped.get("message") for skipped in suite.iter("skipped")] == [
        f"not run: interrupted by {number.name}"
    ] * 2
    assert [path.name for path in root_dir.iterdir()] == ["junit.xml"], "no temporary file stays"


def test_a_report_that_is_there_stays_until_the_new_one_is_whole(start_check, root_dir):
    junit = root_dir / "junit.xml"
    junit.write_text("the last one")
    program = start_check("--junit", junit)
    assert junit.read_text() == "the last one"
    program.end(signal.SIGTERM)
    assert junit.read_text().startswith("<?xml")


def test_a_terminal_that_is_closed_takes_no_report_with_it(root_dir):
    """Every write there fails from then on."""
    ours, theirs = os.openpty()
    command = "check", "--junit", root_dir / "junit", "--quiet-period", "60", "--only", "registers,first-list-complete"
    with running(
        [sys.executable, "-m", "devicemgr", *command, "--", *PLUGIN, "--root-dir", "{dir}/.."],
        **dict.fromkeys(("stdin", "stdout", "stderr"), theirs),
        start_new_session=True,
    ) as program:
        os.close(theirs)
        shown = b""
        while b": first-list-complete" not in shown:
            shown += os.read(ours, 4096)
        os.close(ours)
        program.send_signal(signal.SIGHUP)
        assert program.wait() == 128 + signal.SIGHUP
    assert "interrupted by SIGHUP" in (root_dir / "junit").read_text()


def test_a_signal_that_was_switched_off_ends_nothing(start_check):
    """As nohup does, and a shell for background jobs."""
    program = start_check(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    program.process.send_signal(signal.SIGHUP)
    assert program.end(signal.SIGTERM) == 128 + signal.SIGTERM
    assert any("interrupted by SIGTERM" in line for line in program.lines)


def test_a_second_signal_ends_it_at_once(start_check, root_dir):
    """Here the report goes to a pipe that is not read."""
    os.mkfifo(root_dir / "junit")
    program = start_check("--junit", root_dir / "junit")
    program.process.send_signal(signal.SIGINT)
    wait_until(lambda: not children_of(program))
    assert program.end(signal.SIGINT) == -signal.SIGINT


def test_a_signal_ends_the_plugin_too(start, root_dir, script):
    seconds = f"12345{os.getpid()}.5"
    program = start("-m", "devicemgr", "check", "--", script(f"touch {root_dir}/started; exec sleep {seconds}"))
    wait_until((root_dir / "started").exists)
    assert program.end(signal.SIGTERM) == 128 + signal.SIGTERM
    assert any(f"{len(CHECKS)} not run" in line for line in program.lines)
    assert not is_running(f"sleep {seconds}")


@pytest.mark.parametrize(("change", "evidence"), [("exit 3", "ended with 3"), ("true", "brings no list, whatever")])
def test_a_change_that_was_asked_for_and_cannot_be_had_is_a_failure(run, change, evidence):
    done = run(
        *("check", "--quiet-period", "1", "--only", "lists-complete", "--change", change),
        *("--", *PLUGIN, "--root-dir", "{dir}/.."),
    )
    assert (done.returncode, evidence in done.stdout) == (1, True)


def test_one_line_names_the_checks_that_an_option_would_allow(run, root_dir):
    told = "With --change COMMAND these could run as well: "
    usual = ("check", "--quiet-period", "1", "--only", "allocate-unhealthy,lists-complete")
    done = run(*usual, "--", *PLUGIN, "--root-dir", "{dir}/..")
    assert [line for line in done.stdout.splitlines() if "could run as well" in line] == [
        f"{told}allocate-unhealthy, lists-complete."
    ]
    done = run(*usual, "--change", "true", "--", *PLUGIN, "--root-dir", "{dir}/..")
    assert "could run as well" not in done.stdout


def test_the_change_of_a_scripted_plugin_is_seen(run, root_dir):
    script = root_dir / "gpu.yaml"
    script.write_text("resource: vendor.com/gpu\ndevices: [{count: 3}]\nschedule: [{on: HUP, unhealthy: [dev-1]}]\n")
    command = [sys.executable, "-m", "devicemgr", "plugin", "--script", script, "--root-dir", "{dir}/.."]
    change = ("--change", 'kill -HUP "$DEVICE_PLUGIN_PID"')
    done = run("check", "--quiet-period", "1", "--only", "lists-complete", *change, "--", *command)
    assert (done.returncode, "has all 3 devices" in done.stdout) == (0, True)


def is_running(words):
    return words in subprocess.run(["ps", "axww"], capture_output=True, text=True).stdout


def test_a_daemon_that_the_plugin_let_go_of_is_ended_too(run, script):
    """Forked twice, in a session of its own, with nothing in its environment."""
    seconds = f"{os.getpid()}.25"
    done = run("check", "--patience", "10", "--", script(f"(setsid -f env -i sleep {seconds} >&- 2>&-); exit 4"))
    assert done.returncode == 1
    assert "its program has ended, with exit status 4, but processes that it started go on" in done.stderr
    assert not is_running(f"sleep {seconds}")


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ("exit 4", "the plug-in has ended, with exit status 4; its last output: looking | none found"),
        (
            "kill -SEGV $$",
            "the plug-in has ended, killed by signal 11 (SIGSEGV); its last output: looking | none found",
        ),
        ("sh -c 'kill -9 $$'; exit $?", "with exit status 137, which is how a shell says signal 9 (SIGKILL)"),
    ],
)
def test_how_a_plugin_exited_is_reported(run, script, ends, words):
    done = run("check", "-o", "json", "--", script(f"echo looking; echo none found; {ends}"))
    assert words in json.loads(done.stdout)["results"][0]["evidence"]


DIES = """
import os, signal, sys
from functools import partial
from pathlib import Path
import trio
from devicemgr.rpc.deviceplugin.client import *
from devicemgr.testing import open_simulated_plugin

async def main(how):
    async with open_simulated_plugin(Path(sys.argv[1]), "vendor.com/gpu") as plugin, trio.open_nursery() as nursery:
        async def allocate(ids):
            os.kill(os.getpid(), signal.SIGSEGV)
        plugin.on_allocate = allocate
        if how == "allocate":
            await plugin.register()
            await trio.sleep_forever()
        nursery.start_soon(partial(plugin.register, endpoint="nobody.sock"))
        await trio.sleep(0.5)
        print("no hardware", flush=True)
        os._exit(3)

trio.run(main, sys.argv[2])
"""


@pytest.mark.parametrize(
    ("when", "check", "words"),
    [
        ("dial", "registers", "the plug-in has ended, with exit status 3; its last output: no hardware"),
        ("allocate", "allocate-answers", "; the plug-in has ended, killed by signal 11 (SIGSEGV)"),
    ],
)
def test_a_plugin_that_dies_fails_the_check_at_once(run, root_dir, when, check, words):
    """And not only when the manager gives up dialling."""
    program, trace = root_dir / "dies.py", root_dir / "trace"
    program.write_text(DIES)
    done = run(
        *("check", "-o", "json", "--quiet-period", "0.5", "--only", check, "--trace", trace),
        *("--", sys.executable, program, "{dir}", when),
    )
    (failed,) = [result for result in json.loads(done.stdout)["results"] if result["verdict"] == "failed"]
    assert (failed["check"], words in failed["evidence"]) == (check, True), failed
    events = [json.loads(line)["event"] for line in trace.read_text().splitlines()]
    assert ("RegistrationRequested" in events, "PluginRefused" in events) == (True, False)


LIVES_ON_ITS_NAME = """
import signal, sys
from pathlib import Path
import trio
from devicemgr.testing import open_simulated_plugin

async def main(directory, name):
    async with open_simulated_plugin(directory, "vendor.com/gpu", endpoint=name) as plugin:
        await plugin.register()
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            await anext(signals)
        (directory / name).unlink(missing_ok=True)

trio.run(main, Path(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.parametrize(
    ("name", "verdict", "words"),
    [
        (
            "gpu.sock",
            "failed",
            "had ended, gpu.sock was gone, which was the second one's by then, and was not created again",
        ),
        ("gpu-$$.sock", "passed", "each had a name of its own"),
    ],
)
def test_a_process_that_deletes_the_socket_of_the_one_after_it(run, script, root_dir, name, verdict, words):
    program = root_dir / "by_name.py"
    program.write_text(LIVES_ON_ITS_NAME)
    plugin = script(f'exec {sys.executable} {program} "$1" {name}')
    done = run("check", "-o", "json", "--patience", "10", "--only", "rolling-update", "--", plugin, "{dir}")
    (result,) = json.loads(done.stdout)["results"]
    assert (result["verdict"], words in result["evidence"]) == (verdict, True), result


ONLY_LOGS_A_REFUSAL = """
import signal, sys
from pathlib import Path
import trio
from devicemgr.errors import RegistrationRefused
from devicemgr.testing import open_simulated_plugin

async def main(directory, again):
    async with open_simulated_plugin(directory, "vendor.com/gpu", endpoint="gpu.sock") as plugin:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(register, plugin, again)
                await anext(signals)
                nursery.cancel_scope.cancel()

async def register(plugin, again):
    while True:
        try:
            return await plugin.register()
        except RegistrationRefused as refusal:
            print("failed to register:", refusal, flush=True)
        if not again:
            return
        await trio.sleep(0.1)

trio.run(main, Path(sys.argv[1]), sys.argv[2:])
"""


@pytest.mark.parametrize(
    ("again", "verdict", "words"),
    [
        ("", "failed", "and when the old one had ended, the new one did not register again within 15 s"),
        ("again", "warning", "with maxSurge a kubelet of v1.37 refuses that name until it is restarted"),
    ],
)
def test_a_process_that_is_refused_as_by_v1_37_has_to_register_again(run, script, root_dir, again, verdict, words):
    program = root_dir / "refused.py"
    program.write_text(ONLY_LOGS_A_REFUSAL)
    plugin = script(f'exec {sys.executable} {program} "$1" {again}')
    patience = "30" if again else "15"
    done = run("check", "-o", "json", "--patience", patience, "--only", "rolling-update", "--", plugin, "{dir}")
    (result,) = json.loads(done.stdout)["results"]
    assert (result["verdict"], words in result["evidence"]) == (verdict, True), result
    assert ("device plugin already connected: " in result["evidence"]) == (not again)


def test_output_without_end_is_kept_as_its_beginning_and_end(run, script, root_dir):
    """And the plug-in cannot make a file of ours as long as it likes."""
    truncates = "import os; os.ftruncate(1, 1 << 40)"
    text = f"echo first; head -c 20000000 /dev/zero | tr '\\0' x; {sys.executable} -c '{truncates}'; echo last; exit 1"
    done = run("check", "--plugin-log", root_dir / "log", "--", script(text))
    assert done.returncode == 1
    log = (root_dir / "log").read_text()
    assert log.startswith("first\nxxx")
    assert "bytes are left out here" in log
    assert log.endswith("Invalid argument\nlast\n")
    assert max(len(log), len(done.stdout)) < 2_000_000


BUG = """
import sys
from dataclasses import replace
from devicemgr.testing.conformance import CHECKS
from devicemgr.cli import main

async def broken(bench):
    "Has a bug."
    raise ZeroDivisionError("oh")

CHECKS["api-version"] = replace(CHECKS["api-version"], run=broken)
main()
"""


def test_a_bug_of_ours_is_no_verdict(start):
    program = start(
        "-c", BUG, "check", "--only", "registers,api-version,restart", "--", *PLUGIN, "--root-dir", "{dir}/.."
    )
    assert program.wait() == 3
    said = "".join(program.lines)
    assert "passed  registers" in said
    assert "devicemgr failed: ZeroDivisionError: api-version, restart" in said
    assert said.index("ZeroDivisionError: oh") < said.index("This is a bug in devicemgr")


@pytest.mark.parametrize("output", ["table", "json"])
def test_the_exit_status_is_the_same_if_the_report_is_not_read(output):
    command = [sys.executable, "-m", "devicemgr", "check", "--only", "registers", "-o", output, "--", *PLUGIN]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with running([*command, "--root-dir", "{dir}/.."], **pipes, text=True) as program:
        program.stdout.close()
        said = program.stderr.read()
        assert (program.wait(), said.splitlines()[1:]) == (0, []), said


def test_a_report_on_a_full_disk_is_an_error():
    plugin = *PLUGIN, "--root-dir", "{dir}/.."
    command = [sys.executable, "-m", "devicemgr", "check", "--only", "registers", "--", *plugin]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, "a report could not be written" in done.stderr) == (0, True)
