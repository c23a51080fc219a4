"""What has to be known of an API server before it can be spoken to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


class Credentials(Protocol):
    """Who we are. Tokens are replaced from time to time, so they are asked for before each request."""

    async def headers(self) -> Mapping[str, str]:
        """What a request has to carry. Raises ApiUnreachable if that cannot be had at the moment."""
        ...

    async def renew(self, refused: Mapping[str, str]) -> bool:
        """The API server did not accept these headers (401): is there something else to try by now?"""
        ...


class Anonymous:
    """Nobody in particular, or known by a client certificate alone."""

    async def headers(self) -> Mapping[str, str]:
        return {}

    async def renew(self, refused: Mapping[str, str]) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token that stays as it is."""

    token: str = field(repr=False)

    async def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    async def renew(self, refused: Mapping[str, str]) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Connection:
    """An API server, and who we are to it."""

    server: str
    """``https://HOST:PORT``, perhaps with a path in front of all others."""
    credentials: Credentials = field(default_factory=Anonymous, repr=False)
    authority: bytes | None = None
    """The certificates to trust, in PEM; None for those of the machine."""
    namespace: str = "default"
