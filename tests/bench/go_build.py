"""Kubernetes' own device manager as a program to measure: builds the module ``go_manager`` where there is a ``go``.

The first time takes minutes: ``python -m tests.bench.go_build`` does it beforehand. Afterwards the go tool sees that
nothing has changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

MODULE = Path(__file__).parent / "go_manager"


def built() -> Path | None:
    """The program, up to date. None where there is no ``go``."""
    go = shutil.which("go")
    if go is None:
        return None
    program = _cache() / "go_manager"
    subprocess.run([go, "build", "-o", program, "."], cwd=MODULE, check=True)
    return program


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "devicemgr-bench"


if __name__ == "__main__":
    print(built() or "there is no go in PATH")
