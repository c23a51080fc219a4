"""``sequence FILE`` and ``trace show|play|run``."""

from __future__ import annotations

import codecs
import gzip
import json
import os
import pty
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

from devicemgr.cli import main
from devicemgr.cli.shared import trace_input
from devicemgr.core.conversation.text import LEGEND
from devicemgr.input import trace_file
from tests.processes import HANGS, running
from tests.terminals import press, read_until, shown_on_terminal

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
        LEGEND,
        "Seconds since 1970-01-01T00:01:40.000Z:",
        "    0.000 s    a.sock [vendor.com/gpu] → manager         Register(v1beta1, a.sock, vendor.com/gpu)",
        "    0.500 s  ! manager ⇢ caller                          refused d/p: No: ",
    ]


def test_on_a_narrow_terminal_what_was_said_is_below_the_names(recorded):
    assert shown_on_terminal("sequence", str(recorded), columns=80) == [
        "→ is a call, ⇢ an answer or an entry of a stream, ! a failure or a warning; no",
        "arrow: the manager by itself.",
        "Seconds since 1970-01-01T00:01:40.000Z:",
        "    0.000 s    a.sock [vendor.com/gpu] → manager",
        "                 Register(v1beta1, a.sock, vendor.com/gpu)",
        "    0.500 s  ! manager ⇢ caller",
        "                 refused d/p: No: ",
    ]
    assert shown_on_terminal("sequence", str(recorded), columns=100)[3:] == [
        "    0.000 s    a.sock [vendor.com/gpu] → manager         Register(v1beta1, a.sock, vendor.com/gpu)",
        "    0.500 s  ! manager ⇢ caller                          refused d/p: No: ",
    ]


def test_on_a_narrow_terminal_a_played_trace_is_folded():
    lines = shown_on_terminal("trace", "play", str(GOLDEN), columns=60)
    assert max(map(len, lines)) <= 60
    at = lines.index("      manager → p.sock [vendor.com/gpu]")
    assert lines[at + 1 : at + 5] == [
        "        GetDevicePluginOptions()",
        "        ⇢ pre_start_required,",
        "          get_preferred_allocation_available",
        "          REG-8: Only the answer to GetDevicePluginOptions",
    ]


def test_on_a_narrow_terminal_a_tree_is_folded():
    assert shown_on_terminal("tree", "--trace", str(GOLDEN), columns=40) == [
        "run",
        "└─ readers",
        "   └─ vendor.com/gpu #1 · serving ·",
        "        waits for the next list of",
        "        vendor.com/gpu",
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


@pytest.mark.parametrize(
    ("resource", "hint"),
    [("vendor.com/gp", "; did you mean vendor.com/gpu?"), ("other.com/nic", "; there are vendor.com/gpu")],
)
def test_a_resource_of_which_there_is_nothing_may_be_misspelt(run, recorded, resource, hint):
    for output in ("text", "mermaid"):
        done = run("sequence", recorded, "--resource", resource, "-o", output)
        assert (done.exit_code, done.stderr) == (0, f"nothing concerns a resource {resource}{hint}\n")
    assert run("sequence", recorded, "--resource", "vendor.com/gpu").stderr == ""


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
    assert "\n          REG-3: Register counts" in done.output
    assert "  CAP-9: " in done.output, "the refusal's own rule"
    played = run("trace", "play", GOLDEN).output.splitlines()
    steps = [line for line in GOLDEN.read_text().splitlines() if line.startswith(("#", ">"))]
    assert [line for line in played if line.startswith(("#", ">"))] == steps
    assert any("capacity=3 allocatable=3 allocated=2" in line for line in played)


@pytest.mark.parametrize("name", ["from-registration-to-start", "update-is-undone"])
def test_what_play_says_of_a_golden_trace(run, name, request):
    """Each line has its rule below it, once in a step, and what the signs mean comes first."""
    golden = Path(__file__).parent / "played" / f"{name}.txt"
    played = run("trace", "play", TRACES / f"{name}.trace").output
    if request.config.getoption("--rewrite-traces"):
        golden.write_text(played)
    assert played == golden.read_text()


@pytest.mark.parametrize(
    "verb", [["sequence"], ["trace", "show"], ["trace", "play"], ["tree", "--trace"]], ids=" ".join
)
class TestBrokenFiles:
    def test_what_is_readable_is_shown_and_then_the_line_named(self, run, recorded, verb):
        """A manager that is killed, or whose disk is full, leaves any part of a line."""
        whole, text = run(*verb, recorded).output, recorded.read_text()
        line = json.dumps({"sequence": 3, "time": 101.0, "event": "PodRemoved", "name": "p\u20ac", "freed": {}})
        for cut in range(1, len(line), 5):
            recorded.write_text(text + line[:cut])
            done = run(*verb, recorded)
            assert done.exit_code == 2
            assert done.output.startswith(whole)
            assert f"{recorded}:3: the line is cut off, or no JSON" in done.output

    def test_of_a_golden_trace_too(self, run, tmp_path, verb):
        file = tmp_path / "x.trace"
        text = TRACES.joinpath("stream-ends-then-grace.trace").read_text()
        lines = text[: text.index("> end p")].splitlines(keepends=True)
        file.write_text("".join(lines[:-1]))
        whole = run(*verb, file).output
        for cut in range(5, len(lines[-1]), 5):
            file.write_text("".join(lines)[: cut - len(lines[-1])])
            done = run(*verb, file)
            assert (done.exit_code, done.output.startswith(whole)) == (2, True)
            assert f"{file}:{len(lines)}: the line is cut off: it has no end" in done.output

    def test_a_foreign_file_is_refused(self, run, tmp_path, verb):
        file = tmp_path / "image"
        file.write_bytes(bytes(range(256)) * 100)
        done = run(*verb, file)
        assert (done.exit_code, f"{file}:1: " in done.output) == (2, True)
        assert done.output.isprintable() or done.output.rstrip("\n").isprintable()

    @pytest.mark.parametrize("file", ["none", "trace/none", "n" * 300, "/proc/self/mem"])
    def test_a_file_that_cannot_be_read_is_bad_input(self, run, recorded, verb, file):
        done = run(*verb, recorded.parent / file)
        assert (done.exit_code, "cannot be read" in done.output) == (2, True)

    def test_of_a_compressed_trace_it_is_said_how_to_read_it(self, run, recorded, verb):
        recorded.write_bytes(gzip.compress(recorded.read_bytes()))
        done = run(*verb, recorded)
        assert (done.exit_code, "zcat FILE | python -m devicemgr sequence -" in done.output) == (2, True)

    def test_a_file_without_an_end_is_no_trace(self, run, monkeypatch, verb):
        monkeypatch.setattr(trace_file, "MAX_LINE", 1000)
        monkeypatch.setattr(trace_input, "MAX_LINE", 1000)
        done = run(*verb, "/dev/zero")
        assert (done.exit_code, "the line is too long" in done.output) == (2, True)

    def test_a_mark_of_the_byte_order_is_no_part_of_a_trace(self, run, recorded, verb):
        whole = run(*verb, recorded).output
        recorded.write_bytes(codecs.BOM_UTF8 + recorded.read_bytes())
        assert run(*verb, recorded).output == whole

    @pytest.mark.parametrize("value", ["1" + "0" * 400, "[" * 900 + "]" * 900, '{"a":' * 900 + "1" + "}" * 900, "NaN"])
    @pytest.mark.parametrize("name", ["time", "sequence", "pods"])
    def test_nonsense_is_shown_as_far_as_it_can_be(self, run, recorded, verb, name, value):
        with recorded.open("a") as file:
            file.write(f'{{"event": "StateRestored", "{name}": {value}}}\n')
        assert run(*verb, recorded).exit_code == 0

    def test_of_a_golden_trace_what_is_no_mapping_is_a_problem(self, run, tmp_path, verb):
        file = tmp_path / "x.trace"
        file.write_text(f'{SCENARIO}    INFO    PodRemoved freed="{{[]:1}}"\n')
        done = run(*verb, file)
        assert (done.exit_code, f"{file}:4: this event cannot be read" in done.output) == (2, True)

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
    with running(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        for awaited, key in ((b"# CC-018", b"\r"), (b"> plugin", b"q")):
            shown += read_until(ours, awaited)
            press(ours, key)
        with suppress(OSError):  # the end of a terminal
            while more := os.read(ours, 4096):
                shown += more
        assert process.wait(HANGS) == 0
    os.close(ours)
    assert b"> register" not in shown


def test_what_the_page_says_of_its_file_is_safe_for_a_terminal(tmp_path, monkeypatch):
    """The file's name, and what is wrong in it."""
    monkeypatch.setattr("devicemgr.daemon.page.site.serve_recording", _served_for_a_moment)
    file = tmp_path / "a\x1b]0;owned\x07.trace"
    file.write_text(json.dumps(RECORDED[0]) + "\n{cut off\n")
    done = CliRunner().invoke(main, ["page", "--trace", str(file)])
    assert "left out" in done.output
    assert "is at http://" in done.output
    assert "\x1b" not in done.output


async def _served_for_a_moment(*_, task_status):
    task_status.started("http://127.0.0.1:1/")
    os.kill(os.getpid(), signal.SIGTERM)


def test_the_lines_after_a_long_name_stand_below_it(run, tmp_path):
    file = tmp_path / "trace"
    long = RECORDED[0] | {"endpoint": f"{'a' * 30}.sock"}
    file.write_text(f"{json.dumps(long)}\n{json.dumps(RECORDED[1])}\n")
    *_, first, second = run("sequence", file).output.splitlines()
    assert first.index("Register(") == second.index("refused d/p")


def test_the_tree_of_a_trace_that_begins_later_says_so(run, tmp_path):
    file = tmp_path / "trace"
    stopped = {"sequence": 12, "time": 100.0, "event": "EndpointStopped", "resource": "v.com/gpu", "generation": 2}
    file.write_text(json.dumps(stopped))
    done = run("tree", "--trace", file)
    assert done.stdout == (
        "run\n└─ readers\n   └─ v.com/gpu #2 · stopped · waits for the end of the grace period, 0.0 s\n"
    )
    assert done.stderr == (
        "The trace does not have 11 events before this moment. What only they record is not in the tree.\n"
    )
