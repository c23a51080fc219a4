"""What has to be known of an API server before it can be spoken to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """Both in PEM; ``certificate`` with those that it was signed by, if they are needed."""

    certificate: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are: what each request carries, and what each connection shows."""

    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    certificate: ClientCertificate | None = None

    @classmethod
    def of_token(cls, token: str) -> Identity:
        """Of whoever the API server gave this bearer token."""
        return cls((("Authorization", f"Bearer {token}"),))


class Credentials(Protocol):
    """Where an identity comes from. It does not stay the same: tokens and certificates are replaced as they expire."""

    async def identity(self) -> Identity:
        """The one to use now. Raises CredentialsUnavailable if there is none at the moment."""
        ...

    async def renew(self, refused: Identity) -> None:
        """The API server does not know this one (401): look for another one, if there can be one."""
        ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """Credentials that stay as they are."""

    given: Identity = Identity()

    async def identity(self) -> Identity:
        return self.given

    async def renew(self, refused: Identity) -> None:
        """There is no other one."""


@dataclass(frozen=True, slots=True)
class Connection:
    """An API server, and who we are to it."""

    server: str
    """``https://HOST:PORT``, perhaps with a path in front of all others."""
    credentials: Credentials = field(default_factory=Fixed, repr=False)
    authority: bytes | None = None
    """The certificates to trust, in PEM; None for those of the machine."""
    insecure: bool = False
    """Trust any certificate."""
    server_name: str = ""
    """Whom the server's certificate names, if not the host of ``server``."""
    proxy: str = field(default="", repr=False)
    """``http://HOST:PORT`` (or https, or socks5) through which the connection goes. It may have a password."""
    namespace: str = "default"
