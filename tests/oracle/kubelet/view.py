"""The machine's files as the kubelet shall see them: what it has compiled in, and what it would change."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from devicemgr.testing.conformance.subject.isolation import Bind, kubelet_at_its_path

# A kubelet sets these to its own values, for the whole machine. Where it finds those values it leaves them alone.
_KERNEL_SETTINGS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}
_MEMORY = 1 << 20
"""Of each NUMA node, in kB. Nobody uses it."""


def make_view(root: Path, scratch: Path, distances: Sequence[Sequence[int]]) -> list[Bind]:
    """``root`` becomes ``/var/lib/kubelet``; ``scratch`` is an empty directory for the rest. ``distances`` has a row
    for each NUMA node."""
    links = _made(scratch / "log-links")
    nodes = _made(scratch / "numa")
    _make_nodes(nodes, distances)
    return [
        kubelet_at_its_path(root),
        Bind(links, Path("/var/log/containers")),  # for which it makes links to logs
        Bind(nodes, Path("/sys/devices/system/node")),
        *_settings(_made(scratch / "kernel")),
    ]


def _make_nodes(directory: Path, distances: Sequence[Sequence[int]]) -> None:
    """The machine's processors are dealt out to the nodes; of more nodes than processors some have none."""
    for number, row in enumerate(distances):
        node = _made(directory / f"node{number}")
        (node / "meminfo").write_text(f"Node {number} MemTotal: {_MEMORY} kB\n")
        (node / "distance").write_text(" ".join(map(str, row)) + "\n")
        for cpu in range(number, os.cpu_count() or 1, len(distances)):
            (node / f"cpu{cpu}").symlink_to(f"/sys/devices/system/cpu/cpu{cpu}")


def _settings(directory: Path) -> list[Bind]:
    binds = []
    for name, value in _KERNEL_SETTINGS.items():
        file = directory / name.replace("/", ".")
        file.write_text(f"{value}\n")
        binds.append(Bind(file, Path("/proc/sys") / name))
    return binds


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory
