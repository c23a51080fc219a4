"""What somebody wants to go wrong between the manager and its plug-ins. Empty in real life; see ``actions``."""

from __future__ import annotations

from dataclasses import dataclass

import trio

from ...errors import PluginUnavailable

CALLS = {
    "options": "GetDevicePluginOptions",
    "preferred-allocation": "GetPreferredAllocation",
    "allocate": "Allocate",
    "pre-start": "PreStartContainer",
}
"""The kinds of calls that can be disturbed, as in ``--deadline``."""

REGISTER = "Register"
"""The call that plug-ins make; to disturb it is to refuse it."""


@dataclass(slots=True)
class Disturbance:
    """The next ``times`` calls of ``method`` take ``seconds`` longer and, with an ``error``, fail."""

    method: str
    resource: str | None
    times: int
    seconds: float
    error: str | None


class Disturbances:
    """What is to happen to calls and streams. Lives as long as the manager, over its restarts."""

    def __init__(self) -> None:
        self._calls: list[Disturbance] = []
        self._held: dict[str, trio.Event] = {}
        self.refuses_same_socket = False

    def add(self, disturbance: Disturbance) -> None:
        self._calls.append(disturbance)

    def refuses(self, resource: str) -> bool:
        """Is this call of Register one of those that are to be refused?"""
        one = next((one for one in self._calls if one.method == REGISTER and one.resource in (None, resource)), None)
        if one is not None:
            self._count(one)
        return one is not None

    def accept(self) -> None:
        """Refuse no more calls of Register."""
        self._calls = [one for one in self._calls if one.method != REGISTER]

    def _count(self, one: Disturbance) -> None:
        one.times -= 1
        if one.times <= 0:
            self._calls.remove(one)

    async def before_call(self, resource: str, method: str) -> None:
        """Part of the call: its deadline runs. Raises PluginUnavailable when the call is to fail."""
        for one in self._calls:
            if one.method == method and one.resource in (None, resource):
                self._count(one)
                await trio.sleep(one.seconds)
                if one.error is not None:
                    raise PluginUnavailable(one.error, status="UNKNOWN")
                return

    def held(self, resource: str) -> trio.Event | None:
        """Set when the stream of ``resource`` may be read on; None when nobody holds it."""
        return self._held.get(resource)

    def hold(self, resource: str) -> None:
        self._held.setdefault(resource, trio.Event())

    def release(self, resource: str) -> None:
        if (event := self._held.pop(resource, None)) is not None:
            event.set()
