"""A control plane: etcd and kube-apiserver, perhaps kube-scheduler and kube-controller-manager, on loopback.

::

    open_control_plane
    └── etcd                        without fsync: its data are of no use afterwards
        └── kube-apiserver          its certificate made by itself, its tokens made here
            ├── kube-scheduler
            └── kube-controller-manager

One that ends by itself ends the block. Leaving the block ends all of them, the last line first; what is left is the
directory, with a log of each.
"""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from ...concurrency.exception_groups import collapse_exception_group, first_of_many
from ...errors import AddressUnusable, ControlPlaneFailed
from ..api.client import ApiClient, open_api_client
from ..api.connection import Connection, Fixed, Identity
from . import flags
from .component import Component
from .directory import writing
from .programs import COMPONENTS, CONTROLLERS, SCHEDULER, Program, all_in_use

ADMIN = "admin"
_USERS = {
    ADMIN: "system:masters",
    "system:kube-scheduler": "",
    "system:kube-controller-manager": "system:masters",  # for its own roles, each controller would need an account
}
PATIENCE = 120.0
"""Seconds that a busy machine may need to start it."""
_POLL = 0.05
"""Seconds between two looks at whether the API server is ready: it does not tell."""


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """One that runs. Made by :func:`open_control_plane`."""

    url: str
    directory: Path
    tokens: Mapping[str, str]
    """By user: ``admin``, and ``system:node:NAME`` of each node."""
    components: Mapping[str, Component]

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
        """A client of its API server, as this user."""
        credentials = Fixed(Identity.of_token(self.tokens[user]))
        return open_api_client(Connection(self.url, credentials, self.certificate.read_bytes()))

    def killed(self, component: str) -> AbstractAsyncContextManager[None]:
        """Kill it, as ``kill -9`` does. It is away during the block, and starts again after it, on its data."""
        return self.components[component].killed()

    async def wait_until_ready(self) -> None:
        """Until the API server answers, with an etcd that runs. There is no deadline but the caller's."""
        for name in COMPONENTS:
            await self.components[name].wait_running()
        while True:
            # It makes its certificate as one of the first things it does, and is not heard before.
            if self.certificate.exists():
                async with self.client() as api:
                    if await api.is_ready():
                        return
            await trio.sleep(_POLL)


@asynccontextmanager
async def open_control_plane(
    directory: Path, programs: Mapping[str, Program], *, nodes: Sequence[str] = (), port: int = 0
) -> AsyncIterator[ControlPlane]:
    """A control plane that answers. ``directory`` is empty, and its own; kubelets of ``nodes`` may join it.

    A scheduler and controllers run if they are among ``programs``. Without controllers there are no service accounts,
    and a namespace that is deleted never ends. ``port`` is that of the API server; 0 is any.

    Raises ControlPlaneFailed, ProgramUnavailable, DirectoryUnusable, and AddressUnusable for a port that is in use.
    """
    tokens = _make_tokens(directory, nodes)
    with (
        collapse_exception_group(),
        first_of_many(ControlPlaneFailed),
        all_in_use(programs.values()),
        _reserved_port() as clients,
        _reserved_port() as peers,
        _reserved_port(port) as at,
    ):
        components: dict[str, Component] = {}
        cluster = ControlPlane(f"https://127.0.0.1:{at}", directory, tokens, components)
        said = {
            "etcd": flags.etcd_flags(directory, clients, peers),
            "kube-apiserver": flags.api_server_flags(directory, clients, at, controllers=CONTROLLERS in programs),
            **_its_clients(cluster),
        }
        components |= {
            name: Component(name, programs[name], words, directory) for name, words in said.items() if name in programs
        }
        async with _running(cluster):
            yield cluster


@asynccontextmanager
async def _running(cluster: ControlPlane) -> AsyncIterator[None]:
    """Its components, each in a nursery above that of what it needs, so that what is needed ends later."""
    async with trio.open_nursery() as lowest:
        lowest.start_soon(cluster.components["etcd"].run)
        async with trio.open_nursery() as middle:
            # It waits for etcd by itself, and ends before it.
            middle.start_soon(cluster.components["kube-apiserver"].run)
            with _patience(cluster.directory):
                await cluster.wait_until_ready()
            async with trio.open_nursery() as highest:
                for name, component in cluster.components.items():
                    if name not in COMPONENTS:
                        highest.start_soon(component.run)
                if CONTROLLERS in cluster.components:
                    with _patience(cluster.directory):
                        await _wait_for_default_account(cluster)
                yield
                highest.cancel_scope.cancel()
            middle.cancel_scope.cancel()
        lowest.cancel_scope.cancel()


def _make_tokens(directory: Path, nodes: Sequence[str]) -> dict[str, str]:
    """By user, as the API server will know them."""
    users = _USERS | {f"system:node:{name}": "system:nodes" for name in nodes}
    tokens = {user: secrets.token_hex(16) for user in users}
    rows = [f'{tokens[user]},{user},{user},"{group}"\n' for user, group in users.items()]
    _write_secret(directory / "tokens.csv", "".join(rows))
    return tokens


@contextmanager
def _patience(directory: Path) -> Iterator[None]:
    with trio.move_on_after(PATIENCE) as patience:
        yield
    if patience.cancelled_caught:
        raise ControlPlaneFailed(f"the control plane is not ready after {PATIENCE:g} s: see {directory}")


async def _wait_for_default_account(cluster: ControlPlane) -> None:
    """A controller makes it, and no pod is accepted before."""
    async with cluster.client() as api:
        await api.wait_until("/api/v1/namespaces/default/serviceaccounts/default", lambda account: account is not None)


def _its_clients(cluster: ControlPlane) -> dict[str, list[str]]:
    """The flags of what speaks to the API server, with the files that they name."""
    configuration = cluster.directory / "kube-scheduler.json"
    scheduler = flags.scheduler_configuration(cluster.kubeconfig("system:kube-scheduler"))
    with writing(configuration):
        configuration.write_text(json.dumps(scheduler, indent=2))
    controllers = cluster.kubeconfig("system:kube-controller-manager")
    return {
        SCHEDULER: flags.scheduler_flags(configuration),
        CONTROLLERS: flags.controllers_flags(cluster.directory, controllers),
    }


def _write_secret(path: Path, text: str) -> None:
    """Whoever can read it can do anything in the cluster, and loopback is open to all users."""
    with writing(path):
        path.touch(mode=0o600)
        path.write_text(text)


@contextmanager
def _reserved_port(number: int = 0) -> Iterator[int]:
    """A port of loopback that nobody gets meanwhile but those who say that they share it. Raises AddressUnusable."""
    with ExitStack() as stack:
        try:
            with socket.socket() as alone:  # one that is shared already would be shared with us
                alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                alone.bind(("127.0.0.1", number))
            reserved = stack.enter_context(socket.socket())
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            reserved.bind(("127.0.0.1", number))
        except OSError as error:
            raise AddressUnusable(f"127.0.0.1:{number}: {error.strerror}") from error
        yield reserved.getsockname()[1]
