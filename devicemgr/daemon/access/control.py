"""The policies of one manager, for its own sockets and for those of plug-ins.

The rest of the daemon gets the limits of each socket from here, and hands them to the transport unread. What is limited
for the manager as a whole (resources, lists, answers) is checked here as well.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from ...errors import AllocationRefused, RegistrationRefused
from ...model import Peer
from ...peer_limits import PeerLimits
from ...rpc.transport.limits import ConnectionLimits
from ..event_log import EventLog
from .callers import Callers
from .plugin_policy import PluginPolicy
from .quotas import Quotas
from .reports import PeerReports
from .socket_policy import SocketPolicy

MIN_WINDOW, MAX_WINDOW = 2**16, 2**20
"""Bytes of one call that may arrive before its handler reads them. HTTP/2's default is the smallest window."""


class AccessControl:
    """What all policies share: who may call, what each process has taken, the peer limits, and the reports."""

    def __init__(self, callers: Callers, peer_limits: PeerLimits, log: EventLog) -> None:
        self.callers = callers
        self.peer_limits = peer_limits
        self._reports = PeerReports(log)
        self._quotas = Quotas(peer_limits, self._reports)

    def socket_limits(self, path: Path, *, message_size: int, quota_exempt: bool = False) -> ConnectionLimits:
        """For one of our own sockets, whose requests have at most ``message_size`` bytes."""
        name = f"{path.parent.name}/{path.name}"
        policy = SocketPolicy(name, self.callers, self._quotas, self._reports, quota_exempt=quota_exempt)
        window = min(max(message_size, MIN_WINDOW), MAX_WINDOW)
        return ConnectionLimits(message=message_size, stream_window=window, connection_window=2 * window, policy=policy)

    def plugin_policy(self, name: str) -> PluginPolicy:
        """For a plug-in's socket; ``name`` is the plug-in's in events: its resource, or its socket."""
        return PluginPolicy(name, self.callers, self._quotas, self._reports)

    def registration_limits(self, path: Path) -> ConnectionLimits:
        """For a socket in plugins_registry, while its plug-in is asked for its name."""
        return ConnectionLimits(answer=self.peer_limits.registration_size, policy=self.plugin_policy(str(path)))

    def check_resources(self, resource: str, registered: Collection[str]) -> None:
        """Raises RegistrationRefused when the resource would be one too many beside those that are registered."""
        if resource not in registered and len(registered) >= self.peer_limits.resources:
            consequence = f"the registration is refused: there are {len(registered)} resources already"
            self._reports.limit_reached("resources", resource, consequence)
            raise RegistrationRefused(f"no room for {resource}: {consequence}", rule="LIM-29")

    def check_registered_by(self, caller: Peer | None, server: Peer, owner: int, name: str) -> None:
        """Only root and our own user may register somebody else's socket. A socket serves one resource, so another
        member of the group could register it under a wrong name before its plug-in does (LIM-27).

        A socket belongs to the user who serves it and to the ``owner`` of its file. With socket activation they differ:
        systemd listens, and the plug-in, which owns the file, registers. ``caller`` is None for a plug-in that was
        found. Raises RegistrationRefused.
        """
        if caller is not None and caller.uid not in (0, os.geteuid(), server.uid, owner):
            raise RegistrationRefused(
                f"endpoint {name!r} is invalid: user {server.uid} serves it, its file belongs to user {owner}, and "
                f"user {caller.uid} registers it; only these two, root, and the manager's own user may do that",
                rule="LIM-27",
            )

    def check_answers(self, resource: str, size: int, others: int) -> None:
        """Raises AllocationRefused when an answer of ``size`` bytes is too long to keep it beside ``others`` bytes."""
        if others + size > self.peer_limits.answers_size:
            self._reports.limit_reached("answers_size", resource, "the pod is refused")
            raise AllocationRefused(
                f"an answer of {size} bytes for {resource} beside those for other pods, {others}; "
                f"{self.peer_limits.answers_size} are the limit (--peer-limit answers-size)",
                rule="CKPT-3",
            )

    def standby_disconnected(self, resource: str, endpoint: str) -> None:
        """A plug-in that stood by had to go, because there was one more."""
        consequence = f"{endpoint}, the oldest of more than {self.peer_limits.standbys} that stand by, is disconnected"
        self._reports.limit_reached("standbys", resource, consequence)
