"""A control plane: etcd, and kube-apiserver on top of it, on loopback. Nobody runs controllers or a scheduler.

::

    open_control_plane
    └── etcd                 without fsync: its data are of no use afterwards
        └── kube-apiserver   its certificate made by itself, its tokens made here

Either ends the block when it ends by itself. Leaving the block ends both; what is left is the directory, with a log of
each.
"""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from subprocess import PIPE

import trio

from ...errors import ControlPlaneFailed, collapse_exception_group
from ..api.client import ApiClient, open_api_client
from ..api.connection import Connection, Token
from .programs import Program

ADMIN = "admin"
PATIENCE = 120.0
"""Seconds that a busy machine may need to start it."""
_POLL = 0.05
"""Seconds between two looks at whether the API server is ready: it does not tell."""


@dataclass(frozen=True, slots=True)
class ControlPlane:
    url: str
    directory: Path
    tokens: Mapping[str, str]
    """By user: ``admin``, and ``system:node:NAME`` of each node."""

    @property
    def certificate(self) -> Path:
        """That of the API server, which is its own authority."""
        return self.directory / "apiserver.crt"

    def kubeconfig(self, user: str = ADMIN) -> Path:
        """A file that tells a program of Kubernetes all of this."""
        cluster = {"server": self.url, "certificate-authority": str(self.certificate)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "here", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": self.tokens[user]}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": user}}],
            "current-context": "here",
        }
        path = self.directory / f"{user.replace(':', '-')}.kubeconfig"
        _write_secret(path, json.dumps(config, indent=2))
        return path

    def client(self, user: str = ADMIN) -> AbstractAsyncContextManager[ApiClient]:
        return open_api_client(Connection(self.url, Token(self.tokens[user]), self.certificate.read_bytes()))


@asynccontextmanager
async def open_control_plane(
    directory: Path, programs: Mapping[str, Program], *, nodes: Sequence[str] = ()
) -> AsyncIterator[ControlPlane]:
    """A control plane that answers. ``directory`` is empty, and its own; kubelets of ``nodes`` may join it.

    Raises ControlPlaneFailed.
    """
    users = {ADMIN: "system:masters", **{f"system:node:{name}": "system:nodes" for name in nodes}}
    tokens = {user: secrets.token_hex(16) for user in users}
    rows = [f'{tokens[user]},{user},{user},"{group}"\n' for user, group in users.items()]
    _write_secret(directory / "tokens.csv", "".join(rows))
    with collapse_exception_group(), _reserved_port() as clients, _reserved_port() as peers, _reserved_port() as port:
        cluster = ControlPlane(f"https://127.0.0.1:{port}", directory, tokens)
        run = partial(_run, directory=directory, programs=programs)
        async with trio.open_nursery() as below:
            below.start_soon(partial(run, "etcd", _etcd_flags(directory, clients, peers)))
            async with trio.open_nursery() as above:
                # It waits for etcd by itself, and ends before it.
                above.start_soon(partial(run, "kube-apiserver", _api_server_flags(directory, clients, port)))
                with trio.move_on_after(PATIENCE) as patience:
                    await _wait_until_ready(cluster)
                if patience.cancelled_caught:
                    raise ControlPlaneFailed(f"kube-apiserver is not ready after {PATIENCE:g} s: see {directory}")
                yield cluster
                above.cancel_scope.cancel()
            below.cancel_scope.cancel()


def _etcd_flags(directory: Path, clients: int, peers: int) -> list[str]:
    client, peer = f"http://127.0.0.1:{clients}", f"http://127.0.0.1:{peers}"
    return [
        f"--data-dir={directory / 'etcd'}",
        "--unsafe-no-fsync",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--socket-reuse-port=true",
    ]


def _api_server_flags(directory: Path, etcd: int, port: int) -> list[str]:
    # Two admission plug-ins need controllers, which nobody runs: one that makes the default service accounts, and one
    # that takes the taint of a new node away.
    needs_controllers = ["ServiceAccount", "TaintNodesByCondition"]
    return [
        f"--etcd-servers=http://127.0.0.1:{etcd}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={port}",
        "--permit-port-sharing=true",
        f"--cert-dir={directory}",
        f"--token-auth-file={directory / 'tokens.csv'}",
        "--authorization-mode=Node,RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        # The key that it makes for its certificate will do for tokens that nobody asks for.
        f"--service-account-key-file={directory / 'apiserver.key'}",
        f"--service-account-signing-key-file={directory / 'apiserver.key'}",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--endpoint-reconciler-type=none",
        "--enable-admission-plugins=NodeRestriction",
        f"--disable-admission-plugins={','.join(needs_controllers)}",
    ]


async def _run(component: str, flags: Sequence[str], *, directory: Path, programs: Mapping[str, Program]) -> None:
    """Run it until cancelled: then it has 5 s to end. Raises ControlPlaneFailed when it ends by itself."""
    log = directory / f"{component}.log"
    with log.open("wb") as output:
        start = partial(
            trio.run_process,
            [*programs[component].argv, *flags],
            stdin=PIPE,  # our own programs end with it, should this process be killed
            stdout=output,
            stderr=output,
            cwd=directory,
            start_new_session=True,
            check=False,
        )
        async with trio.open_nursery() as nursery:
            process: trio.Process = await nursery.start(start)
    raise ControlPlaneFailed(f"{component} has ended with status {process.returncode}: {_last_words(log)}")


async def _wait_until_ready(cluster: ControlPlane) -> None:
    while True:
        # It makes its certificate as one of the first things it does, and is not heard before.
        if cluster.certificate.exists():
            async with cluster.client() as api:
                if await api.is_ready():
                    return
        await trio.sleep(_POLL)


def _write_secret(path: Path, text: str) -> None:
    """Whoever can read it can do anything in the cluster, and loopback is open to all users."""
    path.touch(mode=0o600)
    path.write_text(text)


def _last_words(log: Path) -> str:
    return log.read_text(errors="replace").strip()[-1000:]


@contextmanager
def _reserved_port() -> Iterator[int]:
    """A port of loopback that nobody gets meanwhile but those who say that they share it."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]
