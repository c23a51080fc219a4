"""Builds ``go_manager`` where there is a ``go``, into the user's cache.

The first time takes minutes: ``python -m tests.oracle.go_build`` does it beforehand.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from devicemgr.cluster.control_plane.go_program import GoProgram

GO_MANAGER = GoProgram(Path(__file__).parent / "go_manager")


def built() -> Path | None:
    """The program, up to date. None where there is no ``go``. Raises ProgramUnavailable when it does not compile."""
    return GO_MANAGER.build() if shutil.which("go") else None


if __name__ == "__main__":
    print(built() or "there is no go in PATH")
