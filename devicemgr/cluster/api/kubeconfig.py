"""A user's kubeconfig, or a pod's service account → a connection, as kubectl finds it."""

from __future__ import annotations

import importlib.util
import os
import re
import ssl
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from ...arguments import checked
from ...errors import BadInput
from ...input.kubeconfig import SERVICE_ACCOUNT, Entry, Kubeconfig, bad
from ...user_directories import home_directory
from .connection import Connection, Fixed
from .credentials import credentials_in_file, credentials_of
from .proxy import proxy_of_environment
from .tls import tls_context

_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NOWHERE = (
    "no API server: --kubeconfig names no file, KUBECONFIG is not set, there is no ~/.kube/config, and this is no pod "
    "with a service account"
)


@checked
def find_connection(
    kubeconfig: str | Path | None = None,
    context: str = "",
    *,
    environ: Mapping[str, str] = os.environ,
    service_account: Path = SERVICE_ACCOUNT,
) -> Connection:
    """By the file that is given, or else by those that ``KUBECONFIG`` names, by ``~/.kube/config``, or as a pod.

    ``context`` is one of the file's, if not its current one. Raises BadInput, with file, line and field.
    """
    paths = [Path(kubeconfig)] if kubeconfig is not None else _files(environ)
    if paths:
        return connection_of(Kubeconfig(*paths, context=context), environ)
    if environ.get("KUBERNETES_SERVICE_HOST") and os.path.exists(service_account / "token") and not context:
        return _in_cluster(environ, service_account)
    raise BadInput(_NOWHERE, file="kubeconfig")


def connection_of(config: Kubeconfig, environ: Mapping[str, str] = os.environ) -> Connection:
    """To the API server of its context, perhaps by a proxy of ``environ``. Raises BadInput."""
    cluster = config.cluster()
    server = _server(cluster)
    credentials = credentials_of(config.user(), cluster) if config.context.text("user") else Fixed()
    insecure, authority = cluster.is_set("insecure-skip-tls-verify"), cluster.data("certificate-authority")
    if insecure and authority is not None:
        raise bad(
            cluster.fields["insecure-skip-tls-verify"], "either this, or a certificate-authority: there are both here"
        )
    connection = Connection(
        server,
        credentials if server.startswith("https:") else Fixed(),  # they would be sent in clear
        authority,
        insecure=insecure,
        server_name=_server_name(cluster),
        proxy=_proxy(cluster, server, environ),
        namespace=config.namespace,
    )
    _try_authority(connection, cluster)
    return connection


def _files(environ: Mapping[str, str]) -> list[Path]:
    """Those that are there. Raises BadInput if ``KUBECONFIG`` names none of them."""
    several = dict.fromkeys(environ.get("KUBECONFIG", "").split(os.pathsep))
    named = [Path(os.path.expanduser(one)) for one in several if one]
    if not named:
        usual = Path(environ.get("HOME") or home_directory()) / ".kube" / "config"
        return [usual] if os.path.exists(usual) else []  # not for who may not look, as a pod whose HOME is /root
    if not (there := [path for path in named if _may_be_there(path)]):
        raise BadInput(f"KUBECONFIG names {', '.join(map(str, named))}: there is no such file", file="kubeconfig")
    return there


def _may_be_there(path: Path) -> bool:
    """Also where this user may not look: the others alone may be of another cluster."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        pass
    return True


def _in_cluster(environ: Mapping[str, str], service_account: Path) -> Connection:
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT") or "443"
    authority, namespace = service_account / "ca.crt", service_account / "namespace"
    try:
        return Connection(
            f"https://{f'[{host}]' if ':' in host else host}:{port}",
            credentials_in_file(service_account / "token"),
            authority.read_bytes() if authority.exists() else None,
            namespace=namespace.read_text().strip() if namespace.exists() else "default",
        )
    except OSError as error:
        raise BadInput(f"it cannot be read: {error.strerror}", file=str(error.filename)) from error


def _server(cluster: Entry) -> str:
    server = cluster.text("server")
    if not server:
        raise bad(cluster.place, "that cluster has no server")
    wanted = "must be https://HOST:PORT, perhaps with a path"
    try:
        url = urlsplit(server)
        has_place = _is_host(url.hostname or "") and url.port != 0
    except ValueError:
        raise bad(cluster.fields["server"], wanted) from None
    if url.scheme not in ("http", "https") or not has_place or url.username or url.query or url.fragment:
        raise bad(cluster.fields["server"], wanted)
    return server.rstrip("/")


def _server_name(cluster: Entry) -> str:
    name = cluster.text("tls-server-name")
    if name and not _is_host(name):
        raise bad(cluster.fields["tls-server-name"], "must be the name of a host, or an address")
    return name


def _is_host(name: str) -> bool:
    """An address, or a name that can be looked up. One with other letters than ASCII has to be given as DNS has it."""
    try:
        ip_address(name)
    except ValueError:
        return len(name) <= 253 and all(map(_LABEL.fullmatch, name.removesuffix(".").split(".")))
    return True


def _proxy(cluster: Entry, server: str, environ: Mapping[str, str]) -> str:
    """That of the kubeconfig, or else of the environment. Raises BadInput."""
    if proxy := cluster.text("proxy-url"):
        if problem := _problem_of_proxy(proxy):
            raise bad(cluster.fields["proxy-url"], problem)
        return proxy
    proxy, variable = proxy_of_environment(server, environ)
    if proxy and (problem := _problem_of_proxy(proxy)):
        raise BadInput(problem, file=variable)
    return proxy


def _problem_of_proxy(proxy: str) -> str:
    """Empty if it can be used. It is not quoted, since it may have a password."""
    try:
        url = urlsplit(proxy)
        is_one = url.scheme in ("http", "https", "socks5", "socks5h") and _is_host(url.hostname or "") and url.port != 0
    except ValueError:
        is_one = False
    if not is_one:
        return "must be http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT"
    if url.scheme.startswith("socks5") and importlib.util.find_spec("socksio") is None:
        return "a SOCKS proxy needs a package that is not here: pip install socksio"
    return ""


def _try_authority(connection: Connection, cluster: Entry) -> None:
    """So that an error names the field, where the first connection would only say that it fails."""
    try:
        tls_context(connection, None)
    except ssl.SSLError:
        given = next(one for one in ("certificate-authority-data", "certificate-authority") if cluster.text(one))
        raise bad(cluster.fields[given], "there is no certificate in it that can be read") from None
