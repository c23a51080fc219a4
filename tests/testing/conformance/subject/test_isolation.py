"""A private view: what is seen there, what is hidden, and what is left of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from devicemgr.errors import BadInput, DirectoryUnusable
from devicemgr.testing.conformance.subject.isolation import (
    Bind,
    isolated,
    kubelet_at_its_path,
    missing,
    require_allowed,
)
from devicemgr.testing.conformance.subject.processes import listening_elsewhere

KUBELET = Path("/var/lib/kubelet")
ALLOWED = subprocess.run(isolated(["true"], []), capture_output=True)
needs_namespaces = pytest.mark.skipif(ALLOWED.returncode != 0, reason=f"not allowed here: {ALLOWED.stderr.decode()}")


def seen(binds, *argv):
    done = subprocess.run(isolated(argv, binds), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


@needs_namespaces
def test_all_of_the_kubelets_directory_is_ours(root_dir):
    """Whatever the program makes there, and whether there is a kubelet on this machine or not."""
    was_there = KUBELET.exists()
    (root_dir / "plugins_registry").mkdir()
    binds = [kubelet_at_its_path(root_dir)]
    assert seen(binds, "sh", "-c", f"cd {KUBELET}; mkdir of-its-own; echo >plugins_registry/x; ls") == (
        "of-its-own\nplugins_registry\n"
    )
    assert sorted(path.name for path in root_dir.rglob("*")) == ["of-its-own", "plugins_registry", "x"]
    assert KUBELET.exists() == was_there


@needs_namespaces
def test_a_missing_path_is_created_and_hides_nothing(root_dir):
    """Neither files nor links nor what is mounted beside it; and nothing of it is on the disk."""
    above = root_dir / "above"
    (above / "directory").mkdir(parents=True)
    (above / "directory" / "inside").touch()
    (above / ".hidden").touch()
    (above / "link").symlink_to("directory")
    (above / "pipe with spaces").touch()
    mounted = Bind(Path("/proc/sys/kernel"), above / "directory")
    look = f"cd {above}; ls -A; ls link/hostname; test -c new/device && echo >new/device; readlink link"
    abbreviation = seen([mounted, Bind(Path("/dev/null"), above / "new" / "device")], "sh", "-c", look)
    assert abbreviation.splitlines() == [
        *(".hidden", "directory", "link", "new", "pipe with spaces"),
        *("link/hostname", "directory"),
    ]
    assert sorted(os.listdir(above)) == [".hidden", "directory", "link", "pipe with spaces"]


@needs_namespaces
async def test_hardware_that_is_not_there_is_seen_in_sys_and_dev(root_dir):
    (root_dir / "vendor").mkdir()
    (root_dir / "vendor" / "gpu0").touch()
    binds = [
        Bind(root_dir / "vendor", Path("/sys/class/devicemgr-fake")),
        Bind(Path("/dev/null"), Path("/dev/devicemgr-fake0")),
    ]
    paths = ["/sys/class/devicemgr-fake/gpu0", "/dev/devicemgr-fake0", "/dev/null", "/sys/class", "/no such"]
    assert await missing(paths, binds) == ["/no such"]
    assert await missing(paths, []) == [paths[0], paths[1], "/no such"]


@needs_namespaces
def test_the_program_is_the_process_that_was_started(root_dir):
    program = subprocess.Popen(
        isolated([sys.executable, "-c", "import os; print(os.getpid())"], [kubelet_at_its_path(root_dir)]),
        stdout=subprocess.PIPE,
    )
    assert int(program.communicate()[0]) == program.pid


@needs_namespaces
def test_a_path_directly_under_the_root_is_made_and_hides_nothing(root_dir):
    """As of vendors' configuration files."""
    (root_dir / "config.json").touch()
    new = [Bind(root_dir, Path("/devicemgr-new/a")), Bind(root_dir / "config.json", Path("/devicemgr-file"))]
    look = f"cd {root_dir}; ls / /devicemgr-new/a; pwd; ls /sys; mount | grep -c before; echo >/dev/null"
    shown = subprocess.run(isolated(["sh", "-c", look], new), capture_output=True, text=True)
    root = sorted([*os.listdir("/"), "devicemgr-file", "devicemgr-new"])
    beside = sorted(name for name in root if not name.startswith("."))
    assert sorted(shown.stdout.splitlines()) == sorted(
        ["/:", *beside, "", "/devicemgr-new/a:", "config.json", str(root_dir), *os.listdir("/sys"), "0"]
    )
    assert shown.stderr == ""
    assert seen(new, "pwd") == f"{os.getcwd()}\n"
    assert not Path("/devicemgr-new").exists()


@needs_namespaces
async def test_an_isolation_that_is_not_allowed_is_an_error(root_dir):
    with pytest.raises(DirectoryUnusable, match="does not allow --isolate or --bind: .*/etc/hostname"):
        await require_allowed([Bind(root_dir, Path("/etc/hostname/x"))])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("/dev/null", "'/dev/null' is not HOST:PATH"),
        (":/dev/null", "is not HOST:PATH"),
        ("/no-such:/dev/x", "there is no /no-such"),
        ("/dev/null:dev/x", "dev/x must be an absolute path"),
        ("/dev/null:/dev/../etc", "without .. and not /"),
        ("/dev:/", "not /"),
    ],
)
def test_a_malformed_bind_is_reported(text, problem):
    with pytest.raises(BadInput, match=problem):
        Bind.parse(text)


def test_a_socket_of_that_name_is_found_wherever_it_is(root_dir):
    with socket.socket(socket.AF_UNIX) as there, socket.socket(socket.AF_UNIX) as deaf:
        there.bind(str(root_dir / "x y.sock"))
        there.listen()
        (root_dir / "deaf").mkdir()
        deaf.bind(str(root_dir / "deaf" / "x y.sock"))
        assert listening_elsewhere("x y.sock", Path("/elsewhere")) == [str(root_dir / "x y.sock")]
        assert listening_elsewhere("x y.sock", root_dir) == []
