"""Who may call, and how much (SO_PEERCRED).

The kubelet relies on the permissions of its sockets alone. Here they are the first of two locks: the sockets are 0660,
and each call is also checked against the credentials of the process that connected. By default the manager's own user
and root may call; ``--allow-group`` adds the members of one group. A stranger gets PERMISSION_DENIED. The same rule
holds the other way round: a plug-in's socket is used only if who listens on it might call us.

Whoever may call is still not trusted: one process can hold so many connections, and has a quota for what else it
takes (``quotas``).
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from ...arguments import CheckedFields, Count, checked
from ...model import Peer


@dataclass(frozen=True, slots=True, kw_only=True)
class Callers(CheckedFields):
    """Users by id, and a group whose members may call as well."""

    uids: frozenset[Count]
    group: Count | None = None

    @classmethod
    @checked
    def default(cls, group: int | None = None) -> Callers:
        """Root, this process's own user, and ``group``."""
        return cls(uids=frozenset({0, os.geteuid()}), group=group)

    def include(self, peer: Peer) -> bool:
        return peer.uid in self.uids or self.group in peer.gids
