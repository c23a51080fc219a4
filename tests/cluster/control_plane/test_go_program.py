"""Programs that are compiled where they run."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from devicemgr.cluster.control_plane.go_program import KUBERNETES, BuildStep, GoProgram, in_use
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


def fake_go(directory: Path, build: str, monkeypatch: pytest.MonkeyPatch, *, stale: str = "") -> None:
    """A ``go`` that lists ``stale`` packages, and builds by doing what ``build`` says with ``$output``."""
    go = directory / "bin" / "go"
    go.parent.mkdir()
    go.write_text(
        f'''#!/bin/sh
set -e
if [ "$1" = list ]; then echo "go: downloading example.com/it v1.2.3" >&2; printf "{stale}"; exit; fi
flags=$*
while [ "$1" != -o ]; do shift; done
output=$2
{build}
'''
    )
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{go.parent}:/usr/bin:/bin")


def test_it_is_built_once(module, tmp_path, monkeypatch):
    fake_go(tmp_path, f'echo built > "$output"; echo x >> {tmp_path}/runs', monkeypatch)
    program = GoProgram(module)
    assert not program.is_built
    path = program.build()
    assert program.is_built
    assert path.read_text() == "built\n"
    assert program.build() == path
    assert (tmp_path / "runs").read_text() == "x\n"
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_what_is_meant_for_another_module_does_not_count(module, tmp_path, monkeypatch):
    """Such as that in which we are installed: it may be for another machine, in a workspace, or have vendors."""
    fake_go(tmp_path, 'echo "$GOWORK,$GO111MODULE,$GOOS,$GOARCH,$flags" > "$output"', monkeypatch)
    for name, value in {"GOWORK": "/w", "GO111MODULE": "off", "GOOS": "windows", "GOARCH": "arm"}.items():
        monkeypatch.setenv(name, value)
    assert GoProgram(module).build().read_text().startswith("off,on,,,build -v -mod=readonly ")


def test_it_says_how_far_it_is(module, tmp_path, monkeypatch):
    fake_go(tmp_path, 'echo a/b >&2; echo c >&2; echo x > "$output"', monkeypatch, stale="a/b\\n\\nc\\n")
    assert list(GoProgram(module).building()) == [
        BuildStep("downloading", "example.com/it v1.2.3"),
        BuildStep("compiling", "a/b", 1, 2),
        BuildStep("linking", "c", 2, 2),
    ]


def test_a_build_that_nobody_waits_for_ends_and_leaves_nothing(module, tmp_path, monkeypatch):
    fake_go(tmp_path, 'echo x > "$output"; echo a >&2; exec sleep 1000', monkeypatch, stale="a\\nb\\n")
    building = GoProgram(module).building()
    assert [next(building).does, next(building).does] == ["downloading", "compiling"]
    building.close()
    assert list((tmp_path / "cache" / "devicemgr").iterdir()) == []


def test_what_was_built_of_other_sources_is_removed_when_asked(module, tmp_path, monkeypatch):
    fake_go(tmp_path, 'echo x > "$output"', monkeypatch)
    kept = GoProgram(module).build()
    others = [kept.with_name(name) for name in ("small-1.36.0-0123", ".small-1.36.0-0123.4194305")]
    same_cache = [kept.with_name("smaller-1.37.2-0123"), kept.with_name(f".small-1.37.2-0123.{os.getpid()}")]
    for one in (*others, *same_cache):
        one.touch()
    assert GoProgram(module).remove_others() == others
    assert sorted(kept.parent.iterdir()) == sorted([kept, *same_cache])


def test_what_is_in_use_is_not_removed(module, tmp_path, monkeypatch):
    """A cluster starts its components again, and has a link to kubectl."""
    fake_go(tmp_path, 'echo x > "$output"', monkeypatch)
    older = GoProgram(module).build()
    (module / "main.go").write_text("package main\n\nfunc main() { println() }\n")
    program = GoProgram(module)
    program.build()
    with in_use(older), in_use(older):
        assert (program.remove_others(), program.others()) == ([], [older])
        assert older.exists()
    assert (program.remove_others(), program.others()) == ([older], [])
    with pytest.raises(ProgramUnavailable, match=f"{older}: No such file"), in_use(older):
        pytest.fail("it is not there any more")


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


def test_a_cache_that_cannot_be_written_is_named(module, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("")
    fake_go(tmp_path, 'echo built > "$output"', monkeypatch)
    with pytest.raises(ProgramUnavailable, match=f"cannot be kept in {tmp_path}/cache/devicemgr: Not a directory"):
        GoProgram(module).build()


@pytest.mark.parametrize("path", OF_KUBERNETES, ids=lambda path: path.parent.name)
def test_the_version_that_is_named_is_the_one_that_is_built(path):
    text = path.read_text()
    assert re.findall(r"k8s\.io/kubernetes (\S+)", text) == [f"v{KUBERNETES}"]
    staged = set(re.findall(r"^(?:replace |\t)k8s\.io/\S+ => k8s\.io/\S+ (\S+)$", text, re.MULTILINE))
    assert staged == {f"v0{KUBERNETES.removeprefix('1')}"}
