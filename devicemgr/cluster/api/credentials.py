"""What a user of a kubeconfig, or a pod, identifies itself with."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import trio

from ...errors import BadInput
from ...input.kubeconfig import Entry, bad
from .connection import ClientCertificate, Credentials, Fixed, Identity
from .exec_plugin import exec_plugin
from .tls import check_certificate
from .tokens import header_of_token

_SAFE = "!#$&'*+-.^_`|~"
"""Of the characters that the name of a header may have, all but the percent sign: client-go escapes the others."""
REREAD = 60.0
"""Seconds after which files are read again, as by client-go: kubelets replace them well before they expire."""


class Reread:
    """Credentials in files that somebody replaces. If they cannot be read again for a while, or there is a certificate
    with the key of another one, that does no harm."""

    def __init__(self, read: Callable[[], Identity]) -> None:
        self._read = read
        self._identity = read()
        self._read_at = float("-inf")

    async def identity(self) -> Identity:
        if trio.current_time() >= self._read_at + REREAD:
            self._read_again()
        return self._identity

    async def renew(self, refused: Identity) -> None:
        if self._identity == refused:
            self._read_again()

    def _read_again(self) -> None:
        self._read_at = trio.current_time()
        with suppress(BadInput):  # the one that we have is good, or the API server will say that it is not
            self._identity = self._read()


def credentials_of(user: Entry, cluster: Entry) -> Credentials:
    """Those of a user of a kubeconfig. Raises BadInput."""
    _refuse_what_nobody_provides(user)
    identity = _identity(user)
    if identity.certificate is None and not _authorization(user) and "exec" in user.fields:
        return exec_plugin(user.inside("exec"), cluster, impersonation=identity.headers)
    from_files = ("tokenFile", "client-certificate", "client-key")
    return Reread(lambda: _identity(user)) if any(map(user.text, from_files)) else Fixed(identity)


def credentials_in_file(token: Path) -> Credentials:
    """A token that is all a file has, as that of a pod's service account. Raises BadInput."""

    def read() -> Identity:
        try:
            return Identity((header_of_token(token.read_text(errors="replace")),))
        except OSError as error:
            raise BadInput(f"it cannot be read: {error.strerror}", file=str(token)) from error
        except ValueError as error:
            raise BadInput(str(error), file=str(token)) from None

    return Reread(read)


def _identity(user: Entry) -> Identity:
    return Identity((*_authorization(user), *_impersonation(user)), _certificate(user))


def _authorization(user: Entry) -> tuple[tuple[str, str], ...]:
    """A tokenFile takes precedence, as in client-go."""
    for name, token in (
        ("tokenFile", user.contents("tokenFile").decode(errors="replace") if user.text("tokenFile") else ""),
        ("token", user.text("token")),
    ):
        if user.text(name):
            try:
                return (header_of_token(token),)
            except ValueError as error:
                raise bad(user.fields[name], str(error)) from None
    if name := user.text("username"):
        both = f"{name}:{user.text('password')}".encode()
        return (("Authorization", f"Basic {base64.b64encode(both).decode()}"),)
    return ()


def _impersonation(user: Entry) -> tuple[tuple[str, str], ...]:
    """Somebody who may says that somebody else is asking."""
    if not user.text("as"):
        return ()
    named = [("as", "User", user.text("as")), ("as-uid", "Uid", user.text("as-uid"))]
    named += [("as-groups", "Group", group) for group in user.texts("as-groups")]
    if "as-user-extra" in user.fields:
        extra = user.inside("as-user-extra")
        named += [
            ("as-user-extra", f"Extra-{quote(key, safe=_SAFE)}", value)
            for key in extra.fields
            for value in extra.texts(key)
        ]
    for field, _, value in named:
        if not value.isprintable():
            raise bad(user.fields[field], "has characters that no header has")
    return tuple((f"Impersonate-{name}", value) for _, name, value in named if value)


def _certificate(user: Entry) -> ClientCertificate | None:
    certificate = user.data("client-certificate")
    if certificate is None:
        return None
    key = user.data("client-key")
    if key is None:
        raise bad(user.place, "that user has a client-certificate, and no client-key or client-key-data")
    both = ClientCertificate(certificate, key)
    try:
        check_certificate(both)
    except ssl.SSLError as error:
        given = next(one for one in ("client-certificate-data", "client-certificate") if user.text(one))
        why = (error.reason or "").lower().replace("_", " ") or "no certificate"
        raise bad(
            user.fields[given],
            f"it and its key cannot be used together ({why}); a key that is encrypted has to be decrypted first",
        ) from None
    return both


def _refuse_what_nobody_provides(user: Entry) -> None:
    ways = ("token", "tokenFile", "username", "exec", "client-certificate", "client-certificate-data")
    if "auth-provider" in user.fields and not any(way in user.fields for way in ways):
        name = user.inside("auth-provider").text("name")
        known = {"gcp": "gke-gcloud-auth-plugin", "azure": "kubelogin", "oidc": "kubectl-oidc_login"}
        instead = f", such as {known[name]}" if name in known else ""
        raise bad(
            user.fields["auth-provider"],
            f"an auth-provider is a part of kubectl, and the providers of clouds were removed from it: use an exec "
            f"plug-in{instead}, or a token (kubectl create token NAME makes one)",
        )
