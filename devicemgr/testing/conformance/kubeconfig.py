"""What a kubeconfig says of the API server of its current context.

No error quotes the file: it contains secrets, and errors end up in public logs.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ...errors import BadInput
from ...yaml_fields import Field, load_documents

HIDDEN = "[hidden]"
_SECRET = {"token", "password", "client-key-data", "id-token", "refresh-token", "access-token", "client-secret"}
_MAKES_A_TOKEN = "kubectl create token NAME makes one that can be written there as token"
_OR_BY_ENVIRONMENT = "for a plug-in that reads KUBECONFIG, set that variable instead of --kubeconfig"
_OUTSIDE_ONLY = ("insecure-skip-tls-verify", "tls-server-name", "proxy-url")
"""What a kubeconfig can say of a cluster, but a pod cannot be given."""


class Kubeconfig:
    """The file at ``path``. Raises BadInput if it has no current context. Every error begins with ``kubeconfig``, the
    option, followed by file, line and field."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser().absolute()
        self._config = _config_of(self.path)
        self._context = self._current_context()
        self._secrets = sorted(set(self._secret_texts()), key=len, reverse=True)

    def in_cluster(self) -> InCluster:
        """The same API server as a pod has it. Raises BadInput if a pod cannot have it so."""
        cluster = self._named("cluster")
        for name in _OUTSIDE_ONLY:
            if (said := cluster.get(name)) is not None and said.text() not in ("", "false"):
                raise _bad(said, f"a pod cannot be given that; {_OR_BY_ENVIRONMENT}")
        host, port = self._address(cluster)
        namespace = _text(self._context, "namespace") or "default"
        return InCluster(host, port, self._token(), self._authority(cluster), namespace)

    def without_secrets(self, text: str) -> str:
        """``text`` with each secret of the file replaced."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text

    def _current_context(self) -> Mapping[str, Field]:
        fields = _mapping(self._config)
        name = _text(fields, "current-context")
        if not name:
            raise _bad(self._config, "has no current-context: kubectl config use-context NAME sets it")
        return self._find("context", name, named_by=fields["current-context"])

    def _named(self, kind: str) -> Mapping[str, Field]:
        """The cluster, or the user, of the current context."""
        name = _text(self._context, kind)
        if not name:
            raise _bad(_mapping(self._config)["current-context"], f"the current context names no {kind}")
        return self._find(kind, name, named_by=self._context[kind])

    def _find(self, kind: str, name: str, *, named_by: Field) -> Mapping[str, Field]:
        found = _mapping(self._config).get(f"{kind}s")
        for one in _items(found) if found is not None else ():
            fields = _mapping(one)
            if _text(fields, "name") == name:
                return _mapping(fields[kind]) if kind in fields else {}
        raise _bad(named_by, f"there is no {kind} of that name in this file")

    def _address(self, cluster: Mapping[str, Field]) -> tuple[str, int]:
        server = _text(cluster, "server")
        if not server:
            raise _bad(self._context["cluster"], "that cluster has no server")
        wanted = f"must be https://HOST:PORT, since a pod knows nothing else; {_OR_BY_ENVIRONMENT}"
        try:
            url = urlsplit(server)
            host, port = url.hostname, url.port
        except ValueError:
            raise _bad(cluster["server"], wanted) from None
        if url.scheme != "https" or not host or url.path.strip("/"):
            raise _bad(cluster["server"], wanted)
        return host, port or 443

    def _authority(self, cluster: Mapping[str, Field]) -> bytes | None:
        """The certificates to trust; None for those of the machine."""
        if data := _text(cluster, "certificate-authority-data"):
            try:
                return base64.b64decode("".join(data.split()), validate=True)
            except ValueError:
                raise _bad(cluster["certificate-authority-data"], "is not base64") from None
        if _text(cluster, "certificate-authority"):
            return self._contents(cluster["certificate-authority"])
        return None

    def _token(self) -> str:
        user = self._named("user")
        token = self._token_of(user)
        if not token:
            has = next((one for one in ("client-certificate-data", "client-certificate", "exec") if one in user), None)
            instead = f"has {has} and no token" if has else "has no token"
            problem = f"that user {instead}, which is the only way for a program in a pod"
            raise _bad(self._context["user"], f"{problem}: {_MAKES_A_TOKEN}; {_OR_BY_ENVIRONMENT}")
        return token

    def _token_of(self, user: Mapping[str, Field]) -> str:
        """A tokenFile takes precedence, as in client-go."""
        if _text(user, "tokenFile"):
            return self._contents(user["tokenFile"]).decode(errors="replace").strip()
        return _text(user, "token").strip()

    def _contents(self, file: Field) -> bytes:
        """The contents of a file that the kubeconfig names; a relative path is relative to the kubeconfig."""
        try:
            return (self.path.parent / file.text()).read_bytes()
        except OSError as error:
            raise _bad(file, f"that file cannot be read: {error.strerror}") from error

    def _secret_texts(self) -> list[str]:
        """Those of all users, not only of the one that is used."""
        users = _mapping(self._config).get("users")
        found = [] if users is None else [one for one in users.within() if one.is_text]
        texts = [one.text().strip() for one in found if one.path.rpartition(".")[2] in _SECRET]
        for one in found:
            if one.path.endswith(".tokenFile") and (self.path.parent / one.text()).is_file():
                texts.append(self._contents(one).decode(errors="replace").strip())
        return [text for text in texts if text]


@dataclass(frozen=True, slots=True)
class InCluster:
    """An API server as a pod has it; ``authority`` are certificates in PEM, None for those of the machine."""

    host: str
    port: int
    token: str = field(repr=False)
    authority: bytes | None
    namespace: str


def _config_of(path: Path) -> Field:
    """The one document of the file. Raises BadInput."""
    if not path.exists():
        raise BadInput(f"there is no {path}", file="kubeconfig")
    if not path.is_file():  # not a pipe either: the plug-in reads it too
        raise BadInput(f"{path} is not a file", file="kubeconfig")
    try:
        documents = load_documents(path.read_text(encoding="utf-8"), file=str(path))
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}", file="kubeconfig") from error
    except UnicodeDecodeError:
        raise BadInput(f"{path} is no UTF-8 text", file="kubeconfig") from None
    except BadInput as error:  # without its text, which may quote the file
        place = path if error.line is None else f"{path}:{error.line}"
        raise BadInput(f"{place}: this is not valid YAML", file="kubeconfig") from None
    if len(documents) != 1:
        raise BadInput(f"{path} must have one document, not {len(documents)}", file="kubeconfig")
    return documents[0]


def _mapping(value: Field) -> Mapping[str, Field]:
    if not value.is_mapping:
        raise _bad(value, "must be a mapping")
    return value.mapping()


def _items(value: Field) -> list[Field]:
    if not value.is_list:
        raise _bad(value, "must be a list")
    return value.sequence()


def _text(fields: Mapping[str, Field], name: str) -> str:
    """The text of a field; empty if there is none."""
    if name not in fields:
        return ""
    if not fields[name].is_text:
        raise _bad(fields[name], "must be a single value")
    return fields[name].text()


def _bad(place: Field, problem: str) -> BadInput:
    return BadInput(str(place.bad(problem)), file="kubeconfig")
