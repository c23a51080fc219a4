"""What verbs write, where it cannot be written as it is: another encoding, a reader that goes away, a full disk."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from itertools import pairwise

import pytest

from devicemgr.cli.shared.output import listing, print_listing
from tests.end_to_end.conftest import ROOT
from tests.processes import HANGS, running

POD = "kind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, resources: {limits: {vendor.com/gpu: 1}}}]}"


@pytest.fixture
def node(daemon, start, root_dir):
    """A manager with a pod that holds a device whose name few encodings have."""
    program = daemon()
    script = root_dir / "script.yaml"
    script.write_text("resource: vendor.com/gpu\ndevices: [{id: gpu-é-Ω}]\n", encoding="utf-8")
    start("-m", "devicemgr", "plugin", "--root-dir", root_dir, "--script", script).wait_for("registered")
    program.wait_for("DeviceListApplied")
    return program


@pytest.mark.parametrize(("headers", "shown"), [(True, "Pods: none\n"), (False, "")])
@pytest.mark.parametrize("terminal", ["", "1"])
def test_what_is_not_there_is_none(terminal, headers, shown, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", terminal)
    print_listing(listing("Pods", "pod", "devices", headers=headers))
    assert capsys.readouterr().out == shown


def test_on_a_narrow_terminal_rows_are_records(monkeypatch, capsys):
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "40"}.items():
        monkeypatch.setenv(name, value)
    table = listing("Resources", "resource", "capacity", "allocatable", "endpoint")
    table.add_row("vendor.com/gpu", "4", "3", "[red]stopped[/red]")
    table.add_row("vendor.com/nic", "1", "1", "")
    print_listing(table)
    lines = ["Resources", "", "resource: vendor.com/gpu", "capacity: 4", "allocatable: 3", "endpoint: stopped", ""]
    lines += ["resource: vendor.com/nic", "capacity: 1", "allocatable: 1"]
    assert re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines() == lines


def test_off_a_terminal_a_row_is_whole_however_long_it_is(capsys):
    table = listing("Pods", "pod", "devices")
    table.add_row("p", ", ".join(map(str, range(300_000))))
    print_listing(table)
    assert capsys.readouterr().out.endswith(" 299998, 299999\n")


@pytest.fixture
def pipe_to(root_dir):
    """``pipe_to(stdout, verb, …)``: a verb with that standard output, in bytes."""

    def run_verb(stdout, *arguments, text="", **environment):
        return subprocess.run(
            [sys.executable, "-m", "devicemgr", "--root-dir", str(root_dir), *arguments],
            input=text.encode(),
            stdout=stdout,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env=os.environ | environment,
            timeout=HANGS,
            check=False,
        )

    return run_verb


ENCODINGS = [
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "C"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]


@pytest.mark.parametrize("environment", ENCODINGS, ids=lambda one: " ".join(f"{k}={v}" for k, v in one.items()))
def test_what_the_terminal_cannot_encode_is_replaced(node, pipe_to, environment):
    """The pod is admitted, whatever the terminal can show of it; JSON is ASCII anyway."""
    admitted = pipe_to(subprocess.PIPE, "admit", "-f", "-", text=POD, **environment)
    assert (admitted.returncode, admitted.stderr) == (0, b"")
    for verb in ("status", "events", "explain p", "status -o yaml"):
        done = pipe_to(subprocess.PIPE, *verb.split(), **environment)
        assert (done.returncode, done.stderr) == (0, b""), verb
        assert b"gpu-" in done.stdout
    shown = pipe_to(subprocess.PIPE, "status", "-o", "json", **environment)
    (pod,) = json.loads(shown.stdout.decode("ascii"))["pods"]
    assert pod["containers"][0]["devices"] == {"vendor.com/gpu": ["gpu-é-Ω"]}


TRACE = "tests/traces/options-come-from-the-plugin.trace"


def test_in_latin_1_our_signs_are_told_apart_and_a_picture_is_utf_8(pipe_to):
    def shown(*verb):
        return pipe_to(subprocess.PIPE, *verb, PYTHONIOENCODING="latin-1").stdout

    assert shown("sequence", TRACE).startswith(b"-> is a call, ..> an answer")
    assert shown("tree", "--trace", TRACE).startswith(b"run\n`- readers\n   `- vendor.com/")
    for output in ("svg", "mermaid"):
        picture = pipe_to(subprocess.PIPE, "sequence", TRACE, "-o", output, PYTHONIOENCODING="utf-8").stdout
        assert not picture.isascii()
        assert shown("sequence", TRACE, "-o", output) == picture


@pytest.mark.parametrize("verb", ["events --follow", "status --watch"])
def test_what_goes_on_ends_with_its_reader_although_nothing_happens(node, root_dir, verb):
    command = [sys.executable, "-m", "devicemgr", *verb.split(), "--root-dir", str(root_dir)]
    with running(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as program:
        assert program.stdout.readline()
        program.stdout.close()
        assert (program.wait(timeout=HANGS), program.stderr.read()) == (141, b"")


@pytest.mark.parametrize(
    "verb",
    [
        *("status", "status -o json", "events", "node-status", "check --list", "check --explain restart", "tree"),
        *(f"sequence {TRACE}", f"sequence {TRACE} -o svg", f"trace show {TRACE}", f"trace play {TRACE}"),
    ],
)
def test_nobody_reads(node, pipe_to, verb):
    """As the shell has it for cat."""
    reader, writer = os.pipe()
    os.close(reader)
    done = pipe_to(writer, *verb.split())
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("verb", ["status", "status -o json", "events", "check --list"])
def test_a_full_disk_is_a_clear_error(node, pipe_to, verb):
    with open("/dev/full", "wb") as full:
        done = pipe_to(full, *verb.split())
    problem = b"Error: the output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, problem)


def test_off_a_terminal_a_watch_shows_each_change(node, start, root_dir, run):
    """And nothing but changes: that a pod is being admitted may be one of them."""
    watch = start("-m", "devicemgr", "status", "--watch", "--root-dir", root_dir)
    watch.wait_for("Pods: none")
    assert run("admit", "-f", "-", text=POD).returncode == 0
    watch.wait_for("default/p")
    assert watch.end(2) == 0
    shown = "".join(watch.lines).split("Resources\n")[1:]
    assert all(earlier != later for earlier, later in pairwise(shown)), shown
    admitted = ["default/p" in tables for tables in shown]
    assert (admitted[0], admitted[-1], admitted) == (False, True, sorted(admitted))
