"""``sequence FILE`` and ``trace show|play|run``."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from devicemgr.cli import main

TRACES = Path(__file__).parents[1] / "traces"
GOLDEN = TRACES / "options-come-from-the-plugin.trace"
RECORDED = [
    {
        "sequence": 1,
        "time": 100.0,
        "event": "RegistrationRequested",
        "version": "v1beta1",
        "endpoint": "a.sock",
        "resource": "vendor.com/gpu",
    },
    {
        "sequence": 2,
        "time": 100.5,
        "event": "PodRefused",
        "namespace": "d",
        "name": "p",
        "reason": "No",
        "rule": "CAP-9",
    },
]
SCENARIO = "> plugin p vendor.com/gpu a b!\n> register p\n> capacity\n"


@pytest.fixture
def run():
    return lambda *arguments, text=None: CliRunner().invoke(main, list(map(str, arguments)), input=text)


@pytest.fixture
def recorded(tmp_path):
    file = tmp_path / "trace"
    file.write_text("".join(json.dumps(event) + "\n" for event in RECORDED))
    return file


def test_sequence_of_a_recorded_trace_has_times(run, recorded):
    done = run("sequence", recorded)
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        "Seconds since 1970-01-01T00:01:40.000Z:",
        "    0.000 s    a.sock [vendor.com/gpu] → manager         Register(v1beta1, a.sock, vendor.com/gpu)",
        "    0.500 s  ! manager ⇢ caller                          refused d/p: No: ",
    ]


def test_sequence_reads_standard_input_and_draws(run):
    text = GOLDEN.read_text()
    assert run("sequence", "-", "-o", "mermaid", text=text).output.startswith("sequenceDiagram\n")
    assert run("sequence", "-", "-o", "svg", text=text).output.startswith("<svg ")


def test_only_what_concerns_a_resource(run):
    """And its pods, and what concerns all."""
    file = TRACES / "refused-registrations.trace"
    whole, some = run("sequence", file).output, run("sequence", file, "--resource", "vendor.com/gpu").output
    assert 0 < len(some.splitlines()) < len(whole.splitlines())
    assert run("sequence", file, "--resource", "gpu").exit_code == 2


def test_follow_is_for_a_running_manager(run):
    assert run("sequence", GOLDEN, "--follow").exit_code == 2
    assert run("sequence", "--follow", "-o", "svg").exit_code == 2


def test_time_that_a_golden_trace_lets_pass_is_told(run):
    assert (
        "manager                                   10 s pass"
        in run("sequence", TRACES / "dead-socket-leaves-the-old-plugin-tracked.trace").output
    )


def test_show_has_every_event_on_a_line(run, recorded):
    assert run("trace", "show", recorded).output.splitlines()[1] == (
        "1970-01-01T00:01:40.500Z PodRefused namespace=d name=p reason=No rule=CAP-9"
    )
    assert list(map(json.loads, run("trace", "show", recorded, "-o", "json").output.splitlines())) == RECORDED
    assert run("trace", "show", GOLDEN).output == GOLDEN.read_text()


def test_play_explains_each_step_with_its_rule(run, recorded):
    done = run("trace", "play", recorded)
    assert "  REG-3: Register counts," in done.output
    assert "  CAP-9: " in done.output, "the refusal's own rule"
    played = run("trace", "play", GOLDEN).output.splitlines()
    steps = [line for line in GOLDEN.read_text().splitlines() if line.startswith(("#", ">"))]
    assert [line for line in played if line.startswith(("#", ">"))] == steps
    assert any(line.startswith("      ALLOC-18: ") for line in played)
    assert any("capacity=3 allocatable=3 allocated=2" in line for line in played)


@pytest.mark.parametrize("verb", [["sequence"], ["trace", "show"], ["trace", "play"]], ids=" ".join)
class TestBrokenFiles:
    def test_what_is_readable_is_shown_and_then_the_line_named(self, run, recorded, verb):
        whole = run(*verb, recorded).output
        recorded.write_text(recorded.read_text() + '{"sequence": 3, "event": "Pod')
        done = run(*verb, recorded)
        assert done.exit_code == 2
        assert done.output.startswith(whole)
        assert f"{recorded}:3: the line is cut off, or no JSON" in done.output

    def test_a_foreign_file_is_refused(self, run, tmp_path, verb):
        file = tmp_path / "image"
        file.write_bytes(bytes(range(256)) * 100)
        done = run(*verb, file)
        assert (done.exit_code, f"{file}:1: " in done.output) == (2, True)
        assert done.output.isprintable() or done.output.rstrip("\n").isprintable()

    def test_a_file_that_is_not_there_is_bad_input(self, run, tmp_path, verb):
        done = run(*verb, tmp_path / "none")
        assert (done.exit_code, "cannot be read" in done.output) == (2, True)

    def test_words_of_a_peer_are_no_commands_to_the_terminal(self, run, tmp_path, verb):
        file = tmp_path / "trace"
        file.write_text(json.dumps(RECORDED[0] | {"endpoint": "\x1b[2J<img onerror=x>\n", "resource": "\u202ea"}))
        done = run(*verb, file)
        assert done.exit_code == 0
        assert all(line.isprintable() for line in done.output.splitlines())


def test_run_shows_what_the_steps_cause_and_compares(run, tmp_path):
    file = tmp_path / "x.trace"
    file.write_text(SCENARIO)
    done = run("trace", "run", file)
    assert done.exit_code == 0, "there is nothing to compare with"
    assert "    vendor.com/gpu capacity=2 allocatable=1 allocated=0 available=1 endpoint=serving" in done.output
    assert run("trace", "run", file, "--rewrite").exit_code == 0
    assert file.read_text() == done.output
    assert run("trace", "run", file).exit_code == 0
    file.write_text(done.output.replace("allocatable=1 allocated", "allocatable=2 allocated"))
    changed = run("trace", "run", file)
    assert changed.exit_code == 1
    assert "-    vendor.com/gpu capacity=2 allocatable=2" in changed.output
    assert "+    vendor.com/gpu capacity=2 allocatable=1" in changed.output


@pytest.mark.parametrize("path", [GOLDEN, TRACES / "stream-ends-then-grace.trace"], ids=lambda path: path.stem)
def test_run_agrees_with_the_golden_traces(run, path):
    done = run("trace", "run", path)
    assert (done.exit_code, done.output) == (0, path.read_text())


def test_run_names_the_line_of_a_wrong_step(run, tmp_path):
    file = tmp_path / "x.trace"
    file.write_text(SCENARIO + "> admit pod main\n")
    done = run("trace", "run", file)
    assert (done.exit_code, done.output) == (
        2,
        f"Error: {file}:4: 'main': write CONTAINER:RESOURCE=N, perhaps with init or side: before it\n",
    )
    assert run("trace", "run", "-", "--rewrite", text=SCENARIO).exit_code == 2


def test_in_a_terminal_each_step_waits_for_a_key():
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "devicemgr", "trace", "play", str(TRACES / "list-fails-at-once.trace")]
    said = partial(select.select, [ours], [], [], 1.0)
    with ExitStack() as stack:
        process = stack.enter_context(subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs))
        stack.callback(process.kill)
        os.close(theirs)
        shown = b""
        for awaited, key in ((b"is not called again.", b"\r"), (b"> plugin", b"q")):
            while awaited not in shown or said()[0]:
                shown += os.read(ours, 4096)
            os.write(ours, key)
            while not said()[0]:  # what is typed before it waits for a key is discarded
                os.write(ours, key)
        assert process.wait(60) == 0
    os.close(ours)
    assert b"> register" not in shown
