"""What a test holds of a portal's program: see :mod:`devicemgr.daemon.portal` for the portal itself."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..daemon.blocking import BlockingManager
from ..daemon.portal import Portal, open_portal

__all__ = ["Blocking", "BlockingManager", "Portal", "open_portal"]


class Blocking:
    """An object that lives in a portal's program, for callers outside: the same methods, without ``await``."""

    def __init__(self, portal: Portal, target: Any) -> None:
        self._portal = portal
        self._target = target

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        value: Any = self._portal.call(getattr, self._target, name)
        return partial(self._portal.call, value) if callable(value) else value

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            self._portal.call(setattr, self._target, name, value)

    def __repr__(self) -> str:
        return f"<blocking {self._target!r}>"
