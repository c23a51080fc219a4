"""Every door of one manager: to its own sockets, and to those of plug-ins."""

from __future__ import annotations

from pathlib import Path

from ..bounds import Bounds
from .accounts import Accounts
from .callers import Callers, Gate
from .event_log import EventLog
from .plugin_door import PluginDoor


class Doors:
    """What all of them share: who may call, what each process has taken, the bounds, and the log."""

    def __init__(self, callers: Callers, bounds: Bounds, log: EventLog) -> None:
        self.callers = callers
        self.bounds = bounds
        self._accounts = Accounts(bounds, log)
        self._log = log

    def of_socket(self, path: Path, *, is_hurried: bool) -> Gate:
        """One of our own sockets, which is called by its last two names in events."""
        return Gate(f"{path.parent.name}/{path.name}", self.callers, self._accounts, self._log, is_hurried=is_hurried)

    def of_plugin(self, name: str) -> PluginDoor:
        """A plug-in's socket; ``name`` is what the plug-in is called in events: its resource, or its socket."""
        return PluginDoor(name, self.callers, self._accounts, self._log)
