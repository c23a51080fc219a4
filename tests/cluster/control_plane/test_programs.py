"""Where the programs of a control plane are found."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from devicemgr.cluster.control_plane import programs
from devicemgr.cluster.control_plane.go_program import GoProgram
from devicemgr.cluster.control_plane.programs import ASSETS, COMPONENTS, KUBECTL, SCHEDULER, find_programs
from devicemgr.errors import ProgramUnavailable


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """One on which nothing is found, and a function that puts a program somewhere."""
    (tmp_path / "module").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(programs, "CONTROL_PLANE", GoProgram(tmp_path / "module"))
    monkeypatch.delenv(ASSETS, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))

    def put(place: str, name: str, says: str) -> str:
        path = tmp_path / place / name if place else programs.CONTROL_PLANE.path
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(f"#!/bin/sh\necho '{says}'\n")
        path.chmod(0o755)
        return str(path)

    return put


async def test_envtests_directory_comes_before_the_path_and_that_before_what_was_built(machine, tmp_path, monkeypatch):
    built = machine("", "", "etcd Version: 3.7.0")
    found = await find_programs(["etcd"])
    assert (found["etcd"].argv, found["etcd"].version) == ((built, "etcd"), "3.7.0")
    in_path = machine("path", "etcd", "etcd Version: 3.5.1")
    assert (await find_programs(["etcd"]))["etcd"].argv == (in_path,)
    monkeypatch.setenv(ASSETS, str(tmp_path / "assets"))
    assert (await find_programs(["etcd"]))["etcd"].argv == (in_path,)
    in_assets = machine("assets", "etcd", "etcd Version: 3.6.4")
    assert (await find_programs(["etcd"]))["etcd"].argv == (in_assets,)


async def test_a_directory_may_be_relative(machine, tmp_path, monkeypatch):
    """To the working directory: a component is run in another one."""
    there = [machine("assets", "etcd", "etcd Version: 3.6.4"), machine("path", "kubectl", "Client Version: v1.37.2")]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(ASSETS, "assets")
    monkeypatch.setenv("PATH", "path")
    assert [(await find_programs([name]))[name].argv for name in ("etcd", "kubectl")] == [(one,) for one in there]


async def test_where_nobody_can_look_there_is_none(machine, tmp_path, monkeypatch):
    """As in the home directory of root, for others; and a user whom nobody knows has none."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ("n" * 300)))
    with pytest.raises(ProgramUnavailable, match="there is no etcd"):
        await find_programs(["etcd"])
    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    assert programs.CONTROL_PLANE.path.parent == Path("/.cache/devicemgr")


async def test_versions_are_told_apart(machine):
    machine("path", "kube-apiserver", "Kubernetes v1.36.3")
    found = await find_programs(["kube-apiserver"])
    assert (found["kube-apiserver"].version, found["kube-apiserver"].minor) == ("1.36.3", "1.36")


async def test_kubectl_says_its_version_in_its_own_way(machine):
    machine("path", "kubectl", "Client Version: v1.37.2\nKustomize Version: v5.8.1")
    assert (await find_programs(["kubectl"]))["kubectl"].version == "1.37.2"


async def test_what_does_not_say_its_version_is_not_used(machine):
    machine("path", "etcd", "hello")
    with pytest.raises(ProgramUnavailable, match="does not say which version it is: 'hello'"):
        await find_programs(["etcd"])
    built = machine("", "", "etcd Version: 3.7.0")
    assert (await find_programs(["etcd"]))["etcd"].argv == (built, "etcd")


async def test_what_hangs_instead_of_saying_its_version_is_not_used(machine, monkeypatch):
    monkeypatch.setattr(programs, "VERSION_PATIENCE", 0.1)
    path = machine("path", "etcd", "")
    Path(path).write_text("#!/bin/sh\nexec /bin/sleep 1000\n")
    with pytest.raises(ProgramUnavailable, match=r"etcd does not say within 0\.1 s which version it is"):
        await find_programs(["etcd"])


async def test_a_scheduler_of_another_version_than_the_api_servers_is_not_used(machine):
    machine("path", "etcd", "etcd Version: 3.6.4")
    server = machine("path", "kube-apiserver", "Kubernetes v1.36.3")
    other = machine("path", "kube-scheduler", "Kubernetes v1.37.2")
    with pytest.raises(ProgramUnavailable) as refused:
        await find_programs([*COMPONENTS, SCHEDULER])
    assert str(refused.value) == (
        f"kube-scheduler 1.37.2 ({other}) does not fit kube-apiserver 1.36.3 ({server}), which is of another version. "
        "To build all that a cluster needs: python -m devicemgr cluster build"
    )
    built = machine("", "", "Kubernetes v1.36.0")
    assert (await find_programs([*COMPONENTS, SCHEDULER]))["kube-scheduler"].argv == (built, "kube-scheduler")


@pytest.mark.parametrize(
    ("version", "fits"), [("1.34.9", False), ("1.35.0", True), ("1.37.2", True), ("1.38.0", False)]
)
async def test_kubectl_may_be_a_version_older_or_newer(machine, version, fits):
    machine("path", "kube-apiserver", "Kubernetes v1.36.3")
    machine("path", "kubectl", f"Client Version: v{version}")
    with nullcontext() if fits else pytest.raises(ProgramUnavailable, match="kubectl.*does not fit"):
        await find_programs(["kube-apiserver", KUBECTL])


async def test_what_is_missing_is_named_with_where_it_was_looked_for(machine):
    machine("path", "etcd", "etcd Version: 3.5.1")
    with pytest.raises(
        ProgramUnavailable, match=f"no kube-apiserver.*{ASSETS}.*PATH.*python -m devicemgr cluster build"
    ):
        await find_programs()
