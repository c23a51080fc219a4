"""A private view of ``/var/lib/kubelet/device-plugins``, for plug-ins that have this path compiled in.

A mount namespace: the program sees our directory there, and nobody else sees a difference. It is made by ``unshare``
of util-linux, as root or, where the system allows it, in a user namespace.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import trio

from ...errors import DirectoryUnusable

TARGET = "/var/lib/kubelet/device-plugins"

# Where the path does not exist, it is made in a layer over /var/lib that is gone with the namespace.
_MOUNT = f"""
set -e
if ! test -d {TARGET}; then
    layer=$(mktemp -d)
    mount -t tmpfs devicemgr "$layer"
    mkdir "$layer/upper" "$layer/work"
    mount -t overlay devicemgr -o "lowerdir=/var/lib,upperdir=$layer/upper,workdir=$layer/work" /var/lib
    mkdir -p {TARGET}
fi
mount --bind "$0" {TARGET}
"""
_TRY = "exec true"


async def isolated(argv: Sequence[str], directory: Path) -> list[str]:
    """The command line that runs ``argv`` with ``directory`` at the kubelet's path. Raises DirectoryUnusable."""
    if shutil.which("unshare") is None:
        raise DirectoryUnusable("--isolate needs the program unshare (util-linux), which is not here")
    own = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    prefix = ["unshare", *own, "--mount", "sh", "-c"]
    tried = await trio.run_process(
        [*prefix, _MOUNT + _TRY, str(directory)], check=False, capture_stdout=True, stderr=subprocess.STDOUT
    )
    if tried.returncode:
        said = " ".join(tried.stdout.decode(errors="replace").split())
        raise DirectoryUnusable(
            f"this system does not allow --isolate: {said or f'exit status {tried.returncode}'}. Run it as root, in a "
            "container with CAP_SYS_ADMIN, or give the plug-in its directory by {dir} or DEVICE_PLUGIN_DIR"
        )
    return [*prefix, f"{_MOUNT}exec {shlex.join(argv)}", str(directory)]
