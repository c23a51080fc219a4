"""The policies of one manager: for its own sockets, and for those of plug-ins."""

from __future__ import annotations

from pathlib import Path

from ...errors import PluginUnavailable
from ...peer_limits import PeerLimits
from ..event_log import EventLog
from .callers import Callers
from .plugin_policy import PluginPolicy
from .quotas import Quotas
from .reports import PeerReports
from .socket_policy import SocketPolicy

DEVICE_SIZE = 128
"""Bytes that a device takes in memory, about, however short its id is."""


class AccessControl:
    """What all of them share: who may call, what each process has taken, the peer limits, the log, and the size of
    the lists of all plug-ins together."""

    def __init__(self, callers: Callers, peer_limits: PeerLimits, log: EventLog) -> None:
        self.callers = callers
        self.peer_limits = peer_limits
        self._reports = PeerReports(log)
        self._quotas = Quotas(peer_limits, self._reports)
        self._listed: dict[str, int] = {}

    def socket_policy(self, path: Path, *, quota_exempt: bool) -> SocketPolicy:
        """One of our own sockets, which is called by its last two names in events."""
        return SocketPolicy(
            f"{path.parent.name}/{path.name}", self.callers, self._quotas, self._reports, quota_exempt=quota_exempt
        )

    def plugin_policy(self, name: str) -> PluginPolicy:
        """A plug-in's socket; ``name`` is what the plug-in is called in events: its resource, or its socket."""
        return PluginPolicy(name, self.callers, self._quotas, self._reports)

    def hold_list(self, resource: str, size: int, devices: int) -> None:
        """The list of a resource is so many bytes from now on. Raises PluginUnavailable when all are too long then."""
        size = max(size, DEVICE_SIZE * devices)
        others = sum(self._listed.values()) - self._listed.get(resource, 0)
        if others + size > self.peer_limits.listed_size:
            limit = f"{self.peer_limits.listed_size} are the limit (--peer-limit listed-size)"
            text = f"a list of {size} bytes beside those of others, {others}; {limit}"
            raise PluginUnavailable(text, status="RESOURCE_EXHAUSTED", peer_limit="listed_size")
        self._listed[resource] = size

    def release_list(self, resource: str) -> None:
        """The resource is gone, and its list with it."""
        self._listed.pop(resource, None)
