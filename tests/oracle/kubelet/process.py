"""The kubelet and its container runtime, as processes that leave nothing behind.

The kubelet runs in a mount namespace of its own (:mod:`.view`) and in an empty working directory, since it has been
seen to delete all the files there. The runtime outlives it, so containers go on when a kubelet restarts.
"""

from __future__ import annotations

import json
import random
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from subprocess import PIPE
from typing import Any

import trio

from devicemgr.concurrency.exception_groups import collapse_exception_group
from devicemgr.testing.conformance.subject.isolation import Bind, isolated

from .log import Log
from .programs import KUBELET

PATIENCE = 120.0
"""Seconds in which what is waited for has happened, on a busy machine as well."""


@dataclass(frozen=True)
class NodeConfig:
    """What stories differ in."""

    name: str
    policy: str = "none"
    scope: str = "container"
    policy_options: Mapping[str, str] = field(default_factory=dict)
    max_pods: int = 110


class Runtime:
    """The pretended container runtime."""

    def __init__(self, process: trio.Process, log: Log) -> None:
        self._process = process
        self.log = log
        """``{"did": "created", "pod": …, "container": …, "config": …}`` and the like."""

    async def exit(self, pod: str, container: str = "", code: int = 0) -> None:
        """Containers of this pod, by default all that run, have exited when it returns."""
        exited = self.log.count("exited", pod=pod)
        await self._order(pod=pod, container=container, code=code)
        await self.log.wait_for("exited", pod=pod, number=exited + 1)

    async def run(self, pod: str, uid: str, container: str) -> None:
        """A container runs that no kubelet has started: somebody else was the kubelet."""
        await self._order(pod=pod, uid=uid, container=container)
        await self.log.wait_for("ran", pod=pod, container=container)

    async def _order(self, **order: object) -> None:
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps(order).encode() + b"\n")


@asynccontextmanager
async def open_runtime(directory: Path, socket_path: Path) -> AsyncIterator[Runtime]:
    argv = [str(KUBELET.path), "runtime", str(socket_path)]
    socket_path.unlink(missing_ok=True)
    log = Log(directory / "runtime.jsonl", "did")
    async with _running(argv, directory, directory / "runtime.log", log) as process:
        with trio.fail_after(PATIENCE):
            await log.wait_for("listening")
        yield Runtime(process, log)


class Kubelet:
    """A kubelet that serves plug-ins, and whose node is known to the API server."""

    def __init__(self, process: trio.Process, log: Log, port: int) -> None:
        self.kill = process.kill
        self.log = log
        """Its own log, at verbosity 4. A line is a fact: ``msg`` says which."""
        self.port = port
        """On loopback, by TLS: /metrics, /healthz, /pods."""

    @property
    def knows_what_runs(self) -> bool:
        """From about two seconds after its start."""
        return self.log.count("SyncLoop (housekeeping) end") > 0


@asynccontextmanager
async def open_kubelet(
    directory: Path, node: NodeConfig, *, runtime: Path, kubeconfig: Path, view: Sequence[Bind]
) -> AsyncIterator[Kubelet]:
    """``directory`` keeps what only this kubelet needs, and its log; it may have served one before."""
    port = _free_port()
    config = directory / "config.json"
    config.write_text(json.dumps(_configuration(directory, node, runtime, port)))
    certificates, empty = directory / "certificates", directory / "empty"
    for made in (certificates, empty):
        made.mkdir(exist_ok=True)
    argv = isolated(
        [
            str(KUBELET.path),
            "kubelet",
            f"--config={config}",
            f"--kubeconfig={kubeconfig}",
            f"--hostname-override={node.name}",
            "--root-dir=/var/lib/kubelet",
            f"--cert-dir={certificates}",
        ],
        view,
    )
    log = Log(directory / "kubelet.jsonl", "msg")
    async with _running(argv, empty, directory / "kubelet.out", log, reads_stderr=True) as process:
        with trio.fail_after(PATIENCE):
            await log.wait_for("Starting device plugin registration server")
            await log.wait_for("Successfully registered node")
        yield Kubelet(process, log, port)


def _configuration(directory: Path, node: NodeConfig, runtime: Path, port: int) -> dict[str, Any]:
    """Nothing of the machine is used or changed but processor time: no cgroups, no network, no eviction. And it is as
    quick as it can be."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{runtime}",
        "imageServiceEndpoint": f"unix://{runtime}",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "evictionHard": {},
        "localStorageCapacityIsolation": False,
        "makeIPTablesUtilChains": False,
        "hairpinMode": "none",
        "resolvConf": "",
        "enableControllerAttachDetach": False,
        "volumePluginDir": str(directory / "volume-plugins"),
        "podLogsDir": str(directory / "pod-logs"),
        "address": "127.0.0.1",
        "port": port,
        "readOnlyPort": 0,
        "healthzPort": 0,
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "nodeStatusUpdateFrequency": "250ms",
        "nodeStatusReportFrequency": "250ms",
        "syncFrequency": "100ms",
        "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},
        "kubeAPIQPS": 1000,
        "kubeAPIBurst": 2000,
        "registerNode": True,
        "maxPods": node.max_pods,
        "topologyManagerPolicy": node.policy,
        "topologyManagerScope": node.scope,
        "topologyManagerPolicyOptions": dict(node.policy_options),
        "logging": {"format": "json", "verbosity": 4},
    }


@asynccontextmanager
async def _running(
    argv: Sequence[str], cwd: Path, other_output: Path, log: Log, *, reads_stderr: bool = False
) -> AsyncIterator[trio.Process]:
    """The process, whose standard output or error is read into ``log``. Its end by itself is an error."""
    with other_output.open("ab") as other:
        ours, theirs = ("stderr", "stdout") if reads_stderr else ("stdout", "stderr")
        start = partial(
            trio.run_process,
            argv,
            stdin=PIPE,  # it ends with it, should this process be killed
            cwd=cwd,
            start_new_session=True,
            check=False,
            **{ours: PIPE, theirs: other},
        )
        with collapse_exception_group():
            async with trio.open_nursery() as nursery:
                process: trio.Process = await nursery.start(start)
                nursery.start_soon(_watch, process, log, other_output, reads_stderr)
                yield process
                nursery.cancel_scope.cancel()


async def _watch(process: trio.Process, log: Log, other_output: Path, reads_stderr: bool) -> None:
    stream = process.stderr if reads_stderr else process.stdout
    assert stream is not None
    await log.follow(stream)
    last_words = "\n".join([*other_output.read_text(errors="replace").splitlines()[-20:], *log.last_words])
    raise RuntimeError(f"{Path(KUBELET.path).name} has ended with {await process.wait()}:\n{last_words}")


def _free_port() -> int:
    """None that connections of others are given meanwhile, as every ephemeral port is."""
    first_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.sample(range(1024, first_ephemeral), k=100):
        with socket.socket() as unused, suppress(OSError):
            unused.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("a hundred ports of this machine are taken")
