"""The API server of a kubeconfig as a pod has it: by its service account."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ....errors import BadInput
from ....input.kubeconfig import Entry, Kubeconfig, bad

_MAKES_A_TOKEN = "kubectl create token NAME makes one that can be written there as token"
_OR_BY_ENVIRONMENT = "for a plug-in that reads KUBECONFIG, set that variable instead of --kubeconfig"
_OUTSIDE_ONLY = ("insecure-skip-tls-verify", "tls-server-name", "proxy-url")
"""What a kubeconfig can say of a cluster, but a pod cannot be given."""


@dataclass(frozen=True, slots=True)
class InCluster:
    """An API server as a pod has it; ``authority`` are certificates in PEM, None for those of the machine."""

    host: str
    port: int
    token: str = field(repr=False)
    authority: bytes | None
    namespace: str


def in_cluster(config: Kubeconfig) -> InCluster:
    """The API server of the kubeconfig's context. Raises BadInput if a pod cannot have it so."""
    cluster = config.cluster()
    for name in _OUTSIDE_ONLY:
        if cluster.text(name) not in ("", "false"):
            raise bad(cluster.fields[name], f"a pod cannot be given that; {_OR_BY_ENVIRONMENT}")
    host, port = _address(cluster)
    return InCluster(host, port, _token(config.user()), cluster.data("certificate-authority"), config.namespace)


def _address(cluster: Entry) -> tuple[str, int]:
    server = cluster.text("server")
    if not server:
        raise bad(cluster.place, "that cluster has no server")
    wanted = f"must be https://HOST:PORT, since a pod knows nothing else; {_OR_BY_ENVIRONMENT}"
    try:
        url = urlsplit(server)
        host, port = url.hostname, url.port
    except ValueError:
        raise bad(cluster.fields["server"], wanted) from None
    if url.scheme != "https" or not host or url.path.strip("/"):
        raise bad(cluster.fields["server"], wanted)
    return host, port or 443


def _token(user: Entry) -> str:
    """A tokenFile takes precedence, as in client-go."""
    if user.text("tokenFile"):
        return user.contents("tokenFile").decode(errors="replace").strip()
    if token := user.text("token").strip():
        return token
    raise _no_token(user)


def _no_token(user: Entry) -> BadInput:
    has = next((one for one in ("client-certificate-data", "client-certificate", "exec") if one in user.fields), None)
    instead = f"has {has} and no token" if has else "has no token"
    problem = f"that user {instead}, which is the only way for a program in a pod"
    return bad(user.place, f"{problem}: {_MAKES_A_TOKEN}; {_OR_BY_ENVIRONMENT}")
