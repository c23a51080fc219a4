"""The faults that are pending between the manager and its plug-ins; ``actions`` injects them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import trio

from ...errors import PluginUnavailable
from ...rpc.deviceplugin.methods import METHODS, Method, unary

REGISTER = "Register"
"""The call that plug-ins make; its only fault is a refusal."""


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
        """Whether to refuse this call of Register."""
        return self._next(REGISTER, resource) is not None

    def accept_registrations(self) -> None:
        """Stop refusing calls of Register."""
        self._call_faults = [fault for fault in self._call_faults if fault.method != REGISTER]

    def _next(self, method: str, resource: str) -> CallFault | None:
        """The first fault of this call, which counts as injected."""
        for fault in self._call_faults:
            if fault.method == method and fault.resource in (None, resource):
                fault.times -= 1
                if fault.times <= 0:
                    self._call_faults.remove(fault)
                return fault
        return None

    async def before_call(self, resource: str, method: str) -> None:
        """Runs as part of the call, under its deadline. Raises PluginUnavailable if the fault is an error."""
        if (fault := self._next(method, resource)) is not None:
            await trio.sleep(fault.delay)
            if fault.error is not None:
                raise PluginUnavailable(fault.error, status="UNKNOWN")

    def reading_paused(self, resource: str) -> trio.Event | None:
        """The event that ends the pause, while the stream of ``resource`` must not be read."""
        return self._resumed.get(resource)

    def pause_reading(self, resource: str) -> None:
        self._resumed.setdefault(resource, trio.Event())

    def resume_reading(self, resource: str) -> None:
        if (event := self._resumed.pop(resource, None)) is not None:
            event.set()
