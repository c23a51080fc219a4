"""Which users may call.

The kubelet relies on the permissions of its sockets alone. Here the sockets have mode 0660, and each call is checked
against the credentials of the process that connected (SO_PEERCRED) as well. By default the manager's own user and root
may call; ``--allow-group`` adds the members of one group. Other users get PERMISSION_DENIED. The same rule applies in
the other direction: a plug-in's socket is used only if the process that listens on it might call us.
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
