"""Faults on purpose: what goes wrong between a manager and its plug-ins, at the moment you choose.

Each is something that happens to kubelets: they restart, lose connections, read slowly, fail in the middle of a call;
disks give back other bytes than were written. The daemon takes them as commands only when started with
``--allow-faults``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from ...arguments import Seconds, checked
from ...core.checkpoint.kubelet_format import FILE_NAME
from ...errors import BadInput
from ...events import FaultInjected
from ...model import Fault, Times
from ..event_log import EventLog
from ..incarnation import Incarnation
from ..layout import Layout
from ..open_calls import OpenCalls
from .injection import CALLS, REGISTER, CallFault, FaultInjection

if TYPE_CHECKING:
    from trio.testing import MockClock


class Faults:
    """``manager.faults``. Nothing here asks for permission: that is the caller's affair. As the manager's methods,
    these raise ManagerClosed when it has ended."""

    def __init__(
        self,
        *,
        layout: Layout,
        log: EventLog,
        fault_injection: FaultInjection,
        current: Callable[[], Incarnation],
        calls: OpenCalls,
    ) -> None:
        self._layout = layout
        self._log = log
        self._fault_injection = fault_injection
        self._current = current
        self._calls = calls

    @checked
    async def restart(self, *, delay: Seconds = 0.0) -> None:
        """Restart as the kubelet does: streams and sockets end; after ``delay`` seconds every socket in the directory
        is removed and kubelet.sock is created again (REG-17). Returns when the new incarnation serves."""
        with self._calls.track():
            incarnation = self._current()
            self._record("restart", f"back after {delay:g} s")
            incarnation.stop(restart_delay=delay)
            await self._log.wait_until(lambda: self._current() is not incarnation)
            await self._current().ready.wait()

    def wipe(self) -> None:
        """Remove every socket from the plug-in directory, kubelet.sock too, which is created again within a second."""
        self._record("wipe", str(self._layout.plugins))
        with suppress(FileNotFoundError):  # without the directory there is no socket
            for path in self._layout.plugins.iterdir():
                if path.is_socket() and not path.is_symlink():  # false for what has gone since, as a temporary file
                    path.unlink(missing_ok=True)

    @checked
    def drop_connection(self, resource: str) -> None:
        """Cut the connection to the plug-in that serves ``resource``. Raises BadInput when none does."""
        self._calls.check()
        if not self._current().endpoints.cut(resource):
            raise BadInput("no plug-in serves it", file=resource)
        self._record("drop-connection", resource)

    @checked
    def stop_reading(self, resource: str) -> None:
        """Take no more lists from the plug-in's stream, without closing it, until :meth:`resume_reading`."""
        self._record("stop-reading", resource)
        self._fault_injection.pause_reading(resource)

    @checked
    def resume_reading(self, resource: str) -> None:
        self._record("resume-reading", resource)
        self._fault_injection.resume_reading(resource)

    @checked
    def refuse_registrations(self, *, times: Times = 1, resource: str | None = None) -> None:
        """Refuse the next ``times`` calls of Register, as a kubelet does that could not dial the plug-in in time
        (REG-7). What serves goes on to serve; what is found in plugins_registry calls nothing, and is not refused."""
        self._record("refuse-registrations", f"the next {times}")
        self._fault_injection.add(CallFault(REGISTER, resource, times, 0.0, None))

    def accept_registrations(self) -> None:
        """Refuse none of those that have not come yet."""
        self._record("accept-registrations", "")
        self._fault_injection.accept_registrations()

    def refuse_same_socket(self) -> None:
        """Refuse a socket on which a stream of the same resource is open, as a kubelet of v1.37 does (D37-4), until
        :meth:`accept_same_socket`. What serves goes on to be watched, so when that stream has ended the socket is
        accepted again; the kubelet forgets it, and refuses until it is restarted (LIM-42)."""
        self._record("refuse-same-socket", "")
        self._fault_injection.refuse_same_socket = True

    def accept_same_socket(self) -> None:
        self._record("accept-same-socket", "")
        self._fault_injection.refuse_same_socket = False

    @checked
    def delay_calls(self, call: str, seconds: Seconds, *, times: Times = 1, resource: str | None = None) -> None:
        """The next ``times`` calls of a kind (see ``CALLS``) take ``seconds`` longer; their deadlines stay."""
        self._add_call_fault(call, seconds, None, times, resource)

    @checked
    def fail_calls(
        self, call: str, *, error: str = "a fault on purpose", times: Times = 1, resource: str | None = None
    ) -> None:
        """The next ``times`` calls of a kind fail, as if the plug-in had said ``error``."""
        self._add_call_fault(call, 0.0, error, times, resource)

    def expire_grace(self) -> None:
        """The grace period of every stopped plug-in is over, now (LW-11)."""
        self._record("expire-grace", "")
        self._log.record(self._current().store.sweep(now=math.inf))

    async def corrupt_checkpoint(self) -> None:
        """Flip the bits of one byte in the middle of the checkpoint, which is complete before that.

        The manager finds out when it starts the next time (LIM-10). Raises CheckpointUnwritable, or BadInput when there
        is no checkpoint yet.
        """
        with self._calls.track():
            await self._current().writer.flush()
        path = self._layout.plugins / FILE_NAME
        try:
            with path.open("r+b") as file:
                _flip_byte(file.fileno())
        except OSError as error:
            raise BadInput(f"the checkpoint cannot be damaged: {error.strerror}", file=str(path)) from error
        self._record("corrupt-checkpoint", str(path))

    def freeze_clock(self) -> None:
        """Time stands still for the whole program. Like the other two it needs a ``trio.testing.MockClock``."""
        self._set_rate(0.0)

    def resume_clock(self) -> None:
        """Time goes on, as fast as the real one."""
        self._set_rate(1.0)

    @checked
    def advance_clock(self, seconds: Seconds) -> None:
        """It is ``seconds`` later, at once: grace periods and deadlines end."""
        self._calls.check()
        _current_mock_clock().jump(seconds)
        self._record("advance-clock", f"{seconds:g} s")

    @checked
    async def inject(self, fault: Fault) -> None:
        """The same by name, for callers on a socket: whoever asks for a restart does not wait for its end.

        Raises BadInput.
        """
        self._calls.check()
        match fault.name:
            case "restart":
                self._record("restart", f"back after {fault.seconds:g} s")
                self._current().stop(restart_delay=fault.seconds)
            case "wipe" | "expire-grace" | "freeze-clock" | "resume-clock":
                self._method(fault.name)()
            case "refuse-same-socket" | "accept-same-socket" | "accept-registrations":
                self._method(fault.name)()
            case "refuse-registrations":
                self.refuse_registrations(times=fault.times, resource=fault.resource or None)
            case "corrupt-checkpoint":
                await self.corrupt_checkpoint()
            case "drop-connection" | "stop-reading" | "resume-reading":
                self._method(fault.name)(fault.resource)
            case "advance-clock":
                self.advance_clock(fault.seconds)
            case "delay-calls":
                self.delay_calls(fault.call, fault.seconds, times=fault.times, resource=fault.resource or None)
            case "fail-calls":
                self.fail_calls(fault.call, error=fault.error, times=fault.times, resource=fault.resource or None)
            case _:
                raise BadInput("no such fault", file=fault.name)

    def _method(self, name: str) -> Callable[..., None]:
        method: Callable[..., None] = getattr(self, name.replace("-", "_"))
        return method

    def _set_rate(self, rate: float) -> None:
        self._calls.check()
        clock = _current_mock_clock()
        self._record("resume-clock" if rate else "freeze-clock", "")
        clock.rate = rate

    def _add_call_fault(self, call: str, seconds: float, error: str | None, times: int, resource: str | None) -> None:
        self._calls.check()
        if call not in CALLS:
            raise BadInput(f"no such kind of call; there are {', '.join(CALLS)}", file=call)
        self._record("delay-calls" if error is None else "fail-calls", f"the next {times} of {call}")
        self._fault_injection.add(CallFault(CALLS[call], resource, times, seconds, error))

    def _record(self, fault: str, what: str) -> None:
        self._calls.check()
        self._log.record([FaultInjected(fault=fault, what=what)])


def _flip_byte(file: int) -> None:
    before = os.fstat(file)
    middle = before.st_size // 2
    os.pwrite(file, bytes(byte ^ 0xFF for byte in os.pread(file, 1, middle)), middle)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # it is the disk, nobody writes


def mock_clock() -> MockClock:
    """For ``trio.run``: real time, until somebody freezes or advances it."""
    from trio.testing import MockClock  # takes 100 ms to import

    return MockClock(rate=1.0)


def _current_mock_clock() -> MockClock:
    from trio.testing import MockClock  # takes 100 ms to import

    clock = trio.lowlevel.current_clock()
    if not isinstance(clock, MockClock):
        raise BadInput("the program runs on the system's clock; run it on trio.testing.MockClock(rate=1)", file="clock")
    return clock
