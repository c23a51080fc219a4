"""Programs that are compiled where they run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from devicemgr.cluster.control_plane.go_program import KUBERNETES, GoProgram
from devicemgr.errors import ProgramUnavailable

ROOT = Path(__file__).parents[3]
OF_KUBERNETES = [
    ROOT / "devicemgr/cluster/control_plane/go_control_plane/go.mod",
    ROOT / "tests/oracle/go_kubelet/go.mod",
    ROOT / "tests/oracle/go_manager/go.mod",
]


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module whose program prints its version, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    module = tmp_path / "small"
    module.mkdir()
    (module / "go.mod").write_text("module example.com/small\n\ngo 1.21\n")
    (module / "main.go").write_text("package main\n\nfunc main() {}\n")
    return module


def fake_go(directory: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``go`` that does what ``script`` says with its last but one argument, the file to write."""
    go = directory / "bin" / "go"
    go.parent.mkdir()
    go.write_text(f"#!/bin/sh\nset -e\n{script}\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{go.parent}:/usr/bin:/bin")


def test_it_is_built_once(module, tmp_path, monkeypatch):
    fake_go(tmp_path, f'shift 4; echo built > "$1"; echo x >> {tmp_path}/runs', monkeypatch)
    program = GoProgram(module)
    assert not program.is_built
    path = program.build()
    assert program.is_built
    assert path.read_text() == "built\n"
    assert program.build() == path
    assert (tmp_path / "runs").read_text() == "x\n"
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_other_sources_are_another_program(module):
    before = GoProgram(module).path
    (module / "main.go").write_text("package main\n\nfunc main() { println() }\n")
    assert GoProgram(module).path != before


def test_a_program_that_does_not_compile_says_why_and_leaves_nothing(module, tmp_path, monkeypatch):
    fake_go(tmp_path, "echo 'main.go:3: syntax error' >&2; exit 1", monkeypatch)
    with pytest.raises(ProgramUnavailable, match="cannot build small: main.go:3: syntax error"):
        GoProgram(module).build()
    assert not GoProgram(module).is_built


def test_without_go_it_says_what_is_missing(module, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProgramUnavailable, match="no.*go tool|none in PATH"):
        GoProgram(module).build()


@pytest.mark.parametrize("path", OF_KUBERNETES, ids=lambda path: path.parent.name)
def test_the_version_that_is_named_is_the_one_that_is_built(path):
    text = path.read_text()
    assert re.findall(r"k8s\.io/kubernetes (\S+)", text) == [f"v{KUBERNETES}"]
    staged = set(re.findall(r"^(?:replace |\t)k8s\.io/\S+ => k8s\.io/\S+ (\S+)$", text, re.MULTILINE))
    assert staged == {f"v0{KUBERNETES.removeprefix('1')}"}
