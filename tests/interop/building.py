"""The programs of this folder, built with the tools of their languages."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
SAMPLE = "k8s.io/kubernetes/test/images/sample-device-plugin"
"""Kubernetes' own plug-in, a package of the module ``upstream_plugin``."""


class NotToBeHad(Exception):
    """A program cannot be had here; the text says why."""


def go_program(module: str, directory: Path, package: str = ".") -> Path:
    """Built from a Go module of this folder. Raises NotToBeHad where there is no Go."""
    go = shutil.which("go")
    if go is None:
        raise NotToBeHad("the Go plug-ins need the go tool, and there is none in PATH")
    program = directory / module
    _run([go, "build", "-o", program, package], HERE / module)
    return program


def tonic_program(directory: Path) -> Path:
    """The plug-in in Rust, copied to ``directory``: another checkout may build into the same place. Raises NotToBeHad
    where there is no cargo."""
    cargo = shutil.which("cargo")
    if cargo is None:
        raise NotToBeHad("the Rust plug-in needs cargo, and there is none in PATH")
    target = _cargo_target()
    _run([cargo, "build", "--locked", "--target-dir", target], HERE / "tonic_plugin")
    return Path(shutil.copy2(target / "debug" / "tonic_plugin", directory))


def upstream_sample(directory: Path) -> Path:
    """Kubernetes' own sample, which knows no other directory than the kubelet's. Raises NotToBeHad where it could not
    be given that."""
    program = go_program("upstream_plugin", directory, SAMPLE)
    require_namespaces()
    return program


def fake_nvml(directory: Path) -> Path:
    """The directory of a libnvidia-ml.so.1 that has two GPUs. Raises NotToBeHad where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise NotToBeHad("a fake libnvidia-ml.so.1 needs a C compiler, cc, and there is none in PATH")
    _run([compiler, "-shared", "-fPIC", "-o", directory / "libnvidia-ml.so.1", HERE / "fake_nvml.c"], directory)
    return directory


def require_namespaces() -> None:
    """Raises NotToBeHad where ``--isolate`` is not allowed."""
    allowed = subprocess.run(["unshare", "--mount", "true"], capture_output=True) if shutil.which("unshare") else None
    if allowed is None or allowed.returncode:
        raise NotToBeHad("it has the kubelet's directory compiled in, and mount namespaces are not allowed here")


def _cargo_target() -> Path:
    """Where cargo builds, for all sessions: the crates that the plug-in is made of take a minute."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("CARGO_TARGET_DIR") or Path(cache) / "devicemgr" / "cargo")


def _run(command: list[str | Path], directory: Path) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}{done.stderr}"
