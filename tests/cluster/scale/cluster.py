"""A control plane, and one process with all nodes: what is measured, beside the process that measures."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from subprocess import PIPE

import trio

from devicemgr.cluster.api.client import ApiClient
from devicemgr.cluster.api.reflector import Change, Synced
from devicemgr.cluster.api.watch_events import Changed
from devicemgr.cluster.control_plane.processes import ControlPlane, open_control_plane
from devicemgr.cluster.control_plane.programs import Program
from devicemgr.cluster.objects.metadata import NODES, Object
from tests.daemon_process import COMMAND, processor_seconds, resident_bytes

GPU = "vendor.com/gpu"
DEVICES = 8
"""Of each node."""
OURS = "nodes"
"""The process with the nodes, beside those of the control plane."""


@dataclass(frozen=True)
class Cluster:
    """``root`` has a directory for each of ``names``, or is that of the only one."""

    plane: ControlPlane
    api: ApiClient
    names: tuple[str, ...]
    root: Path
    pid: int

    def plugins_of(self, name: str) -> Path:
        """Where its plug-ins register."""
        return (self.root / name if len(self.names) > 1 else self.root) / "device-plugins"

    @property
    def memory(self) -> int:
        """Bytes of the process with the nodes."""
        return resident_bytes(self.pid)

    def used(self) -> dict[str, float]:
        """Seconds of processor time until now, by component."""
        pids = {name: one.pid for name, one in self.plane.components.items()}
        return {name: processor_seconds(pid) for name, pid in {OURS: self.pid, **pids}.items() if pid is not None}

    async def wait_for_devices(self, count: int) -> None:
        """Until every node is there and can allocate so many."""
        missing = set(self.names)
        async with self.api.reflect(NODES) as changes:
            async for change in changes:
                for node in objects_of(change):
                    if allocatable(node) == count:
                        missing.discard(node["metadata"]["name"])
                if not missing:
                    return


def objects_of(change: Change) -> Iterable[Object]:
    """What is there, of what a watch has said."""
    match change:
        case Synced(objects):
            return objects.values()
        case Changed(found):
            return [found]
        case _:
            return []


def allocatable(node: Object) -> int:
    return int(node.get("status", {}).get("allocatable", {}).get(GPU, 0))


@asynccontextmanager
async def open_cluster(programs: Mapping[str, Program], nodes: int, *, plugins: bool) -> AsyncIterator[Cluster]:
    """All nodes have joined. With ``plugins`` they have devices, by plug-ins in their own process."""
    names = tuple(f"node-{number}" for number in range(nodes)) if nodes > 1 else ("node",)
    with tempfile.TemporaryDirectory(prefix="dm-") as directory:
        root, at = Path(directory) / "n", Path(directory) / "c"
        at.mkdir()
        async with open_control_plane(at, programs) as plane, plane.client() as api, trio.open_nursery() as nursery:
            argv = _command(plane, nodes, root, plugins=plugins)
            start = partial(trio.run_process, argv, stdout=PIPE, deliver_cancel=_end)
            process: trio.Process = await nursery.start(start)
            await nursery.start(_read_until_joined, process)
            cluster = Cluster(plane, api, names, root, process.pid)
            await cluster.wait_for_devices(DEVICES if plugins else 0)
            yield cluster
            nursery.cancel_scope.cancel()


async def _end(process: trio.Process) -> None:
    """It says farewell to the API server for each node."""
    process.terminate()
    await process.wait()


async def _read_until_joined(process: trio.Process, *, task_status: trio.TaskStatus[None]) -> None:
    """Started when all nodes have joined; what is said after that is not looked at."""
    assert process.stdout is not None
    said, joined = b"", False
    async for data in process.stdout:
        if not joined:
            said += data
            if joined := b"joined" in said:
                task_status.started()
    if not joined:
        await trio.sleep_forever()  # until its end is reported


def _command(plane: ControlPlane, nodes: int, root: Path, *, plugins: bool) -> list[str]:
    script = plane.directory / "plugins.yaml"
    script.write_text(f"resource: {GPU}\ndevices: [{{prefix: dev, count: {DEVICES}}}]\n")
    options = ["--name", "node", "--nodes", str(nodes), "--no-taint", "--capacity", "pods=1010"]
    return [
        *COMMAND,
        "node",
        f"--kubeconfig={plane.kubeconfig()}",
        f"--root-dir={root}",
        *options,
        *([f"--plugin={script}"] if plugins else []),
    ]
