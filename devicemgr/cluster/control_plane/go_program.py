"""Programs that are compiled where they run, from a Go module that has the versions of all it consists of."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ...errors import ProgramUnavailable

KUBERNETES = "1.37.2"
"""The version of Kubernetes that our Go modules are made of. A test compares it with their go.mod."""
_VERSION = "k8s.io/component-base/version"


@dataclass(frozen=True, slots=True)
class GoProgram:
    """The main package of ``module``, a directory."""

    module: Path

    @property
    def path(self) -> Path:
        """Where it is once it has been built: sources that differ in one byte are another program."""
        digest = hashlib.sha256()
        for source in sorted(self.module.iterdir()):
            digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
        return _cache() / f"{self.module.name}-{KUBERNETES}-{digest.hexdigest()[:12]}"

    @property
    def is_built(self) -> bool:
        return self.path.exists()

    def build(self) -> Path:
        """The program, compiled if it is not there yet: minutes of both the processor and, once, the network.

        It yields to everything else on the machine. Raises ProgramUnavailable where there is no ``go``, or where it
        fails.
        """
        path = self.path
        if path.exists():
            return path
        go = shutil.which("go")
        if go is None:
            raise ProgramUnavailable(f"{self.module.name} is built with the go tool, and there is none in PATH")
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        built = subprocess.run(
            ["nice", "-n", "10", go, "build", "-ldflags", _linker_flags(), "-o", unfinished, "."],
            cwd=self.module,
            stderr=subprocess.PIPE,
            text=True,
        )
        if built.returncode:
            raise ProgramUnavailable(f"go cannot build {self.module.name}: {built.stderr.strip()[-1000:]}")
        unfinished.replace(path)
        return path


def _linker_flags() -> str:
    """Kubernetes' components say which version they are only if the linker tells them."""
    major, minor, _ = KUBERNETES.split(".")
    named = {"gitVersion": f"v{KUBERNETES}", "gitMajor": major, "gitMinor": minor}
    return " ".join(["-s", "-w", *(f"-X {_VERSION}.{name}={value}" for name, value in named.items())])


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "devicemgr"
