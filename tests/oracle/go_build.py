"""Builds ``go_manager`` where there is a ``go``, into the user's cache.

The first time takes minutes: ``python -m tests.oracle.go_build`` does it beforehand. Afterwards the go tool sees that
nothing has changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

MODULE = Path(__file__).parent / "go_manager"
NICENESS = 10


def built() -> Path | None:
    """The program, up to date. None where there is no ``go``."""
    go = shutil.which("go")
    if go is None:
        return None
    program = _cache() / "go_manager"
    subprocess.run([go, "build", "-o", program, "."], cwd=MODULE, check=True, preexec_fn=lambda: os.nice(NICENESS))
    return program


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "devicemgr"


if __name__ == "__main__":
    print(built() or "there is no go in PATH")
