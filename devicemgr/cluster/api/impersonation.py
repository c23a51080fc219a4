"""Being somebody else to the API server, which whoever we are has to be allowed: an administrator is.

What the other one may not do is refused, and what is done is recorded as theirs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from .connection import Connection, Credentials, Identity


def acting_as(connection: Connection, user: str, groups: Iterable[str]) -> Connection:
    """The same connection, as this user in these groups."""
    named = (("Impersonate-User", user), *(("Impersonate-Group", group) for group in groups))
    return replace(connection, credentials=_Acting(connection.credentials, named))


def acting_as_node(connection: Connection, name: str) -> Connection:
    """As the kubelet of the node of this name: the Node authorizer and NodeRestriction say what it may."""
    return acting_as(connection, f"system:node:{name}", ["system:nodes"])


@dataclass(frozen=True, slots=True)
class _Acting:
    own: Credentials = field(repr=False)
    headers: tuple[tuple[str, str], ...]

    async def identity(self) -> Identity:
        return self._with_headers(await self.own.identity())

    async def renew(self, refused: Identity) -> None:
        own = await self.own.identity()
        if self._with_headers(own) == refused:
            await self.own.renew(own)

    def _with_headers(self, own: Identity) -> Identity:
        return replace(own, headers=(*own.headers, *self.headers))
