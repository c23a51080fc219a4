"""Files that are too large, or not text, are a clear error, soon: the limits of the command line and of the parser."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from devicemgr.cli import main
from devicemgr.cli.shared.input_file import LARGEST, read_input
from devicemgr.errors import BadInput
from devicemgr.input.manifest import parse_pods
from devicemgr.input.yaml_fields import MOST_VALUES, dump, load_documents
from tests.helpers import parse_node_config

POD = "kind: Pod\nmetadata: {name: %s}\nspec: {containers: [{name: m, resources: {limits: {vendor.com/gpu: %s}}}]}\n"
MANY = MOST_VALUES + 1


@pytest.mark.parametrize("parse", [parse_pods, parse_node_config])
@pytest.mark.parametrize(
    "text",
    [
        "kind: List\nitems:\n- &a {kind: Namespace}\n" + "- *a\n" * MANY,
        "kind: List\nitems:\n- &a {kind: Pod, metadata: {name: a}, spec: {containers: &c ["
        + "".join(f"{{name: c{n}}}," for n in range(1000))
        + "]}}\n- &b {kind: List, items: *c}\n"
        + "- {kind: Pod, metadata: {name: b}, spec: {containers: *c}}\n" * 400,
    ],
    ids=["aliases", "containers of all pods"],
)
def test_aliases_count_as_often_as_they_are_read(parse, text):
    with pytest.raises(BadInput, match=r"f\.yaml:\d+: .*(more than 300,000 values|kind|neither)"):
        parse(text, file="f.yaml")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (POD % ("a", "9" * 5000), "f.yaml:3: .*gpu: 99999999999999999999… .5,000 characters. has more digits than"),
        (POD % ("a", "0x" + "f" * 5000), "f.yaml:3: .*is not a quantity"),
        (POD % ("x" * 6_000_000, 1), r"f.yaml:2: metadata.name: 'xx.{300,800}$"),
        (POD % ("a\0", 1), r"f.yaml:2: this is not valid YAML: the character U\+0000 is not allowed"),
        ("kind: Pod\nmetadata: {name: " + "[" * 100_000, "nested too deeply"),
        ("kind: Pod\n\tname: x", "f.yaml:2: this is not valid YAML: a tab where only spaces are allowed"),
        ("kind: Pod\nspec:\n- a\n\t- b\n", "f.yaml:4: this is not valid YAML: a tab where only spaces are allowed"),
        ("a: *b\n", "f.yaml:1: this is not valid YAML: found undefined alias"),
    ],
)
def test_what_cannot_be_read_names_its_line(text, problem):
    with pytest.raises(BadInput, match=problem):
        parse_pods(text, file="f.yaml")


def test_a_pair_of_escapes_in_json_is_one_character():
    (found,) = load_documents('{"a":\t"\\ud83d\\ude00 \\\\ud83d\\\\ude00"}', file="f.json")
    assert found.mapping()["a"].text() == "😀 \\ud83d\\ude00"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_encodings_that_editors_write_are_read(tmp_path, encoding):
    file = tmp_path / "pod.json"
    file.write_text('{\t"kind": "Päd"}', encoding=encoding)
    assert read_input(file) == '{\t"kind": "Päd"}'


def test_a_device_that_never_ends_a_directory_and_other_bytes_are_refused(tmp_path):
    with pytest.raises(BadInput, match=f"/dev/zero: cannot be read: it has more than {LARGEST // 2**20} MiB"):
        read_input("/dev/zero")
    with pytest.raises(BadInput, match="cannot be read: Is a directory"):
        read_input(tmp_path)
    (tmp_path / "f").write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(BadInput, match=r"f:2: cannot be read: this is not UTF-8 text .*: 0xff\)"):
        read_input(tmp_path / "f")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--metrics-address", "h:" + "9" * 5000], "write HOST:PORT"),
        (["--allow-group", "9" * 5000], "a group's number is at most 4294967294"),
        (["--allow-group", "4294967295"], "a group's number is at most 4294967294"),
        (["--restart-wait", "nan"], "nan is no number of seconds"),
        (["--restart-wait", "9" * 5000], "inf is no number of seconds"),
        (["plugin", "--resource", "a.com/b", "--count", "2000000000"], "is not in the range"),
        (["plugin", "--resource", "a.com/b", "--count", "x"], "'x' is not a valid number"),
        (["plugin", "--resource", "a.com/b", "--endpoint", ""], "must be a plain file name, not ''"),
        (["plugin", "--resource", "a.com/b", "--endpoint", "x" * 101], "a socket's name has at most 100 bytes"),
        (["wait", "a.com/b", "--timeout", "nan"], "nan is no number of seconds"),
        (["wait", "a.com/b", "--timeout", "inf"], "inf is no number of seconds"),
        (["tree", "--trace", "x", "--at", "nan"], "nan is no number of seconds"),
        (["--numa", "x"], "NUMA nodes 'x': write them as 0,1"),
        (["--root-dir", ""], "the path is empty"),
        (["status", "--root-dir", ""], "the path is empty"),
        (["check", "--root-dir", "", "--", "true"], "the path is empty"),
        (["cluster", "up", "--dir", ""], "the path is empty"),
        (["status", "--root-dir=~/node"], "the shell has not replaced the ~"),
        (
            ["--trace", "x", "status"],
            "--trace is an option of the daemon here; options of status come after status",
        ),
        (["--allow-faults", "fault", "wipe"], "--allow-faults is an option of the daemon here"),
        (["admit", "-f", ""], "the path is empty"),
        (["fault", "delay-calls", "allocate", "1", "--times", "9" * 20], "is not in the range 1<=x<=1000000"),
        (["fault", "advance-clock", "1e300"], "is not in the range 0<=x<=1000000"),
        (["fault", "restart", "--delay", "1e9"], "is not in the range 0<=x<=1000000"),
        (["admit", "-f", "-", "-f", "-"], "standard input can be read only once"),
        (["admit", "-f", "x" * 5000], "File name too long"),
        (["admit", "-f", "/dev/zero"], "more than 16 MiB"),
        (["--config", "/dev/zero"], "more than 16 MiB"),
        (["plugin", "--script", "/dev/null"], "there is no plug-in"),
        (["checkpoint", "show", "/dev/null"], "this is not JSON"),
        (["retain", ""], "no pod is named"),
        (["retain", "-"], "no pod is named"),
    ],
)
def test_the_command_line_says_what_is_wrong(words, problem):
    done = CliRunner().invoke(main, words, input="")
    assert (done.exit_code, problem in done.output) == (2, True), done.output


VERBS_THAT_READ = (["admit", "-f", "-"], ["checkpoint", "show", "-"], ["retain", "-"], ["trace", "show", "-"])


@pytest.mark.parametrize("words", VERBS_THAT_READ, ids=" ".join)
def test_standard_input_that_is_closed_is_said(monkeypatch, words):
    runner = CliRunner()
    with runner.isolation():
        monkeypatch.setattr("sys.stdin", None)  # as after <&-
        with pytest.raises(SystemExit, match="2"):
            main(words, prog_name="devicemgr")
        assert "<stdin>: cannot be read: it is closed" in sys.stderr.buffer.getvalue().decode()


@pytest.mark.parametrize(
    "verb", [["trace", "show"], ["trace", "play"], ["sequence"], ["tree", "--trace"]], ids=" ".join
)
def test_a_trace_that_cannot_be_read_is_named(tmp_path, verb):
    (tmp_path / "loop").symlink_to("loop")
    for path, problem in ((tmp_path / "loop", "symbolic links"), (Path("/proc/self/mem"), "Input/output error")):
        done = CliRunner().invoke(main, [*verb, str(path)])
        assert (done.exit_code, f"{path}: cannot be read: " in done.output, problem in done.output) == (2, True, True)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = TEXTS | st.integers() | st.booleans() | st.none()


@given(st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner)))
def test_what_is_shown_as_yaml_is_read_back_as_it_was(value):
    assert yaml.safe_load(dump(value)) == value


def test_standard_input_may_be_closed(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(BadInput, match="<stdin>: cannot be read: it is closed"):
        read_input("-")
