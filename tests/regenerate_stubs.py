"""Regenerate ``devicemgr/rpc/stubs`` from ``proto/``: ``python -m tests.regenerate_stubs``.

With ``--check`` nothing is written; the exit status is 1 when the committed stubs differ from what would be generated.
"""

from __future__ import annotations

import filecmp
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROTO = ROOT / "proto"
STUBS = ROOT / "devicemgr" / "rpc" / "stubs"


def generate(target: Path) -> None:
    protos = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    options = [f"--python_betterproto2_opt={side}_generation=async" for side in ("client", "server")]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", f"--python_betterproto2_out={target}"]
    # The compiler formats with the settings it finds above the working directory; none may be there.
    subprocess.run([*command, *options, *protos], check=True, capture_output=True, cwd=target)


def differences(left: Path, right: Path) -> list[str]:
    """Paths that are not the same file on both sides."""
    names = {
        str(path.relative_to(side))
        for side in (left, right)
        for path in side.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return sorted(filecmp.cmpfiles(left, right, names, shallow=False)[1] + filecmp.cmpfiles(left, right, names)[2])


def main() -> int:
    with tempfile.TemporaryDirectory() as directory:
        fresh = Path(directory)
        generate(fresh)
        changed = differences(STUBS, fresh)
        if "--check" in sys.argv:
            for name in changed:
                print(f"{name} differs from what proto/ generates; run: python -m tests.regenerate_stubs")
            return 1 if changed else 0
        shutil.rmtree(STUBS)
        shutil.copytree(fresh, STUBS)
        print(f"{len(changed)} files changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
