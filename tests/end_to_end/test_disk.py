"""Disks that are full, or must not be written: a pod is refused, and told why; what was admitted before is kept."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

from tests.helpers import small_disk

from .conftest import HANGS, ROOT

POD = "kind: Pod\nmetadata: {name: NAME}\nspec: {containers: [{name: main, resources: {limits: {v.com/gpu: 1}}}]}"
PODS = [POD.replace("NAME", f"p{n}") for n in range(20)]


def admitted(run):
    """The names of the pods that are here."""
    return {word for word in run("status").stdout.split() if word.startswith("default/p")}


def admit(run, *pods):
    """(exit status, what it printed, on one line)"""
    result = run("admit", "-f", "-", "--no-start", text="\n---\n".join(pods))
    return result.returncode, " ".join((result.stdout + result.stderr).split())


@pytest.fixture
def plugin(start, root_dir):
    def start_plugin():
        program = start("-m", "devicemgr", "plugin", "--root-dir", root_dir, "--resource", "v.com/gpu", "--count", 50)
        program.wait_for("registered")
        return program

    return start_plugin


def clean(program):
    assert not any("Traceback" in line for line in program.lines), program.lines
    return program


def test_a_file_that_may_not_grow_refuses_pods_and_keeps_those_that_fit(start, plugin, run, root_dir):
    small = start(
        "-m", "devicemgr", "--root-dir", root_dir,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )  # fmt: skip
    small.wait_for("ManagerReady")
    plugin()
    small.wait_for("DeviceListApplied")
    status, said = admit(run, *PODS)
    assert (status, "File too large" in said) == (1, True)
    small.wait_for("CheckpointFailed")
    before = admitted(run)
    assert 0 < len(before) < 20
    clean(small).end(9)
    again = start("-m", "devicemgr", "--root-dir", root_dir)
    again.wait_for("ManagerReady")
    assert admitted(run) == before
    assert not list((root_dir / "device-plugins").glob(".*.tmp"))
    clean(again)


def test_a_full_disk_and_one_that_must_not_be_written(start, plugin, run, root_dir):
    with small_disk(root_dir, "100k"):
        manager = start("-m", "devicemgr", "--root-dir", root_dir)
        manager.wait_for("ManagerReady")
        plugin()
        manager.wait_for("DeviceListApplied")
        assert admit(run, PODS[0])[0] == 0

        filler = root_dir / "filler"
        with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
            while True:
                file.write(b"x" * 512)
        status, said = admit(run, PODS[1])
        assert (status, "No space left on device" in said) == (1, True)
        assert admitted(run) == {"default/p0"}

        filler.unlink()
        assert admit(run, PODS[1])[0] == 0

        subprocess.run(["mount", "--bind", root_dir, root_dir], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", root_dir], check=True)
        status, said = admit(run, PODS[2])
        assert (status, "Read-only file system" in said) == (1, True)
        assert admitted(run) == {"default/p0", "default/p1"}
        clean(manager).end(9)
        unstartable = start("-m", "devicemgr", "--root-dir", root_dir)
        assert unstartable.wait() == 1
        assert "Read-only file system" in "".join(clean(unstartable).lines)

        subprocess.run(["umount", "-l", root_dir], check=True)
        again = start("-m", "devicemgr", "--root-dir", root_dir)
        again.wait_for("ManagerReady")
        assert admitted(run) == {"default/p0", "default/p1"}
        clean(again).end()


def test_a_file_system_that_is_mounted_over_the_directory_and_goes_again(root_dir):
    """Then the first kubelet.sock is back, on which nobody listens."""
    private = ["unshare", "-m", "--propagation", "private"]
    if os.geteuid() != 0 or subprocess.run([*private, "true"], capture_output=True).returncode:
        pytest.skip("only root can have a private view of the file systems")
    command = [*private, sys.executable, "-m", "tests.end_to_end.mounted_over", root_dir]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANGS)
    assert (done.stdout.splitlines(), done.stderr) == (
        ["serves while something is mounted over it", "serves when that is gone", "remembers a"],
        "",
    )
