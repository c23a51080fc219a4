"""A private view of the machine's files: the kubelet's directory for plug-ins that have its path compiled in, and fake
hardware.

It is a mount namespace: the program sees our files there, no other process sees a difference, and nothing is left when
it ends. It is made by ``unshare`` and ``mount`` of util-linux, as root or, if the system allows it, in a user
namespace.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import trio

from ....daemon.layout import KUBELET_ROOT
from ....errors import BadInput, DirectoryUnusable

# Arguments: pairs of what is to be seen and where, then -- and a command.
#
# A mount needs a mount point. If the path does not exist, the nearest directory above it is replaced by an empty one
# in memory, in which everything that was there is mounted again, including other mounts: nothing is hidden, and the new
# path is on no disk. An overlay is no alternative: it has no other mounts, and in a user namespace no device nodes.
# Nothing can be mounted over / itself: there the new directory becomes the root.
_MOUNT = r"""
set -e
make_room_for() {
    above=$(dirname "$1")
    while ! test -d "$above"; do above=$(dirname "$above"); done
    case "$above" in
        /sys*) stage=/dev;;
        *) stage=/sys;;
    esac
    mount -t tmpfs -o "mode=$(stat -Lc %a "$above")" devicemgr "$stage"
    for one in "${above%/}"/* "${above%/}"/.[!.]* "${above%/}"/..?*; do
        same=$stage/${one##*/}
        if test "$one" = "$stage"; then mkdir "$same"
        elif test -L "$one"; then cp -P "$one" "$same"
        elif test -d "$one"; then mkdir "$same"; mount --rbind "$one" "$same"
        elif test -e "$one"; then : >"$same"; mount --bind "$one" "$same"
        fi
    done
    if test "$above" = /; then make_root_of "$stage"; else mount --no-mtab --move "$stage" "$above"; fi
}
make_root_of() {
    here=$(pwd)
    mkdir "$1/.before"
    PATH=$PATH:/usr/sbin:/sbin pivot_root "$1" "$1/.before"
    mount --rbind "/.before$1" "$1"
    umount --lazy /.before
    rmdir /.before
    cd "$here"
}
while test "$1" != --; do
    if ! test -e "$2"; then
        make_room_for "$2"
        mkdir -p "$(dirname "$2")"
        if test -d "$1"; then mkdir "$2"; else : >"$2"; fi
    fi
    mount --rbind "$1" "$2"
    shift 2
done
shift
exec "$@"
"""
_NAME_THE_MISSING = 'for path; do test -e "$path" || printf "%s\\0" "$path"; done'


@dataclass(frozen=True, slots=True)
class Bind:
    """``host`` is seen at ``path``, an absolute path that may be missing. Raises BadInput."""

    host: Path
    path: Path

    def __post_init__(self) -> None:
        if not self.host.exists():
            raise BadInput(f"there is no {self.host}", file="bind")
        if not self.path.is_absolute() or ".." in self.path.parts or self.path == Path("/"):
            raise BadInput(f"{self.path} must be an absolute path, without .. and not /", file="bind")

    @classmethod
    def parse(cls, text: str) -> Bind:
        """``HERE:THERE``. Raises BadInput."""
        host, colon, path = text.rpartition(":")
        if not colon or not host:
            raise BadInput(f"{text!r} is not HOST:PATH", file="bind")
        return cls(Path(host).absolute(), Path(path))


def kubelet_at_its_path(root: Path) -> Bind:
    """The whole directory of a kubelet: what plug-ins create beside ``device-plugins`` is private too."""
    return Bind(root, KUBELET_ROOT)


async def require_allowed(binds: Sequence[Bind]) -> None:
    """Raises DirectoryUnusable if the system does not allow such a view."""
    if shutil.which("unshare") is None:
        raise DirectoryUnusable("--isolate and --bind need the program unshare (util-linux), which is not here")
    tried = await _run(binds, ["true"])
    if tried.returncode:
        said = " ".join(tried.stderr.decode(errors="replace").split())
        raise DirectoryUnusable(
            f"this system does not allow --isolate or --bind: {said or f'exit status {tried.returncode}'}. Run it as "
            "root, in a container with CAP_SYS_ADMIN, or give the plug-in its directory by {dir} or DEVICE_PLUGIN_DIR"
        )


def isolated(argv: Sequence[str], binds: Sequence[Bind]) -> list[str]:
    """The command line that runs ``argv``, as the same process, where ``binds`` are mounted in their order."""
    own = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    pairs = [str(path) for bind in binds for path in (bind.host, bind.path)]
    return ["unshare", *own, "--mount", "sh", "-c", _MOUNT, "isolated", *pairs, "--", *argv]


async def missing(paths: Iterable[str], binds: Sequence[Bind]) -> list[str]:
    """The ``paths`` that do not exist where ``binds`` are mounted."""
    if not binds:
        return [path for path in paths if not os.path.exists(path)]
    seen = await _run(binds, ["sh", "-c", _NAME_THE_MISSING, "sh", *paths])
    return [os.fsdecode(path) for path in seen.stdout.split(b"\0") if path]


async def _run(binds: Sequence[Bind], argv: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    return await trio.run_process(isolated(argv, binds), check=False, capture_stdout=True, capture_stderr=True)
