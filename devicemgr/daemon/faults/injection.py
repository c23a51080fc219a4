"""The faults that are pending between the manager and its plug-ins: none, unless ``actions`` injected some."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import trio

from ...errors import PluginUnavailable
from ...rpc.deviceplugin.methods import METHODS, Method, unary

REGISTER = "Register"
"""The call that plug-ins make; its fault is to be refused."""


@dataclass(slots=True)
class CallFault:
    """The next ``times`` calls of ``method`` take ``delay`` seconds longer and, with an ``error``, fail."""

    method: str
    resource: str | None
    times: int
    delay: float
    error: str | None


class FaultInjection:
    """Pending faults of calls and streams. Survives restarts of the manager.

    ``methods`` are those that can be delayed or fail, by short name.
    """

    def __init__(self, methods: Iterable[Method] = METHODS) -> None:
        self.methods = unary(methods)
        self._call_faults: list[CallFault] = []
        self._resumed: dict[str, trio.Event] = {}
        self.refuse_same_socket = False

    def add(self, fault: CallFault) -> None:
        self._call_faults.append(fault)

    def refuse_registration(self, resource: str) -> bool:
        """Is this call of Register one of those that are to be refused?"""
        fault = next((f for f in self._call_faults if f.method == REGISTER and f.resource in (None, resource)), None)
        if fault is not None:
            self._count(fault)
        return fault is not None

    def accept_registrations(self) -> None:
        """Refuse no more calls of Register."""
        self._call_faults = [fault for fault in self._call_faults if fault.method != REGISTER]

    def _count(self, fault: CallFault) -> None:
        fault.times -= 1
        if fault.times <= 0:
            self._call_faults.remove(fault)

    async def before_call(self, resource: str, method: str) -> None:
        """Part of the call: its deadline runs. Raises PluginUnavailable when the call is to fail."""
        for fault in self._call_faults:
            if fault.method == method and fault.resource in (None, resource):
                self._count(fault)
                await trio.sleep(fault.delay)
                if fault.error is not None:
                    raise PluginUnavailable(fault.error, status="UNKNOWN")
                return

    def reading_paused(self, resource: str) -> trio.Event | None:
        """While the stream of ``resource`` is not to be read: the event that ends the pause."""
        return self._resumed.get(resource)

    def pause_reading(self, resource: str) -> None:
        self._resumed.setdefault(resource, trio.Event())

    def resume_reading(self, resource: str) -> None:
        if (event := self._resumed.pop(resource, None)) is not None:
            event.set()
