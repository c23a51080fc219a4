"""Injecting faults: what goes wrong between a manager and its plug-ins, at the moment you choose.

Each happens to kubelets: they restart, lose connections, read slowly, fail in the middle of a call; disks return other
bytes than were written. The daemon accepts them as commands only when started with ``--allow-faults``.

A fault is a method of :class:`Faults`. The verb ``fault`` turns it into a command: arguments and options from the
signature, help from the docstring's first line.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import trio

from ...arguments import FiniteSeconds, Seconds, checked
from ...concurrency.task_descriptions import describes_task
from ...core.checkpoint.kubelet_format import FILE_NAME
from ...errors import BadInput
from ...events import FaultInjected
from ...model import INJECTED_ERROR, Fault, Times
from ..event_log import EventLog
from ..incarnation import Incarnation
from ..layout import Layout
from ..open_calls import OpenCalls
from .injection import REGISTER, CallFault, FaultInjection

if TYPE_CHECKING:
    from trio.testing import MockClock


class Faults:
    """``manager.faults``. Callers check permission. Like the manager's methods, these raise ManagerClosed when it has
    ended."""

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
    @describes_task(name="restart", waits_for="the manager to serve again")
    async def restart(self, *, delay: FiniteSeconds = 0.0) -> None:
        """Restart as the kubelet does: every socket is removed and created again.

        Streams end; the sockets are removed after ``delay`` seconds (REG-17). Returns when the new incarnation serves.
        """
        with self._calls.track():
            incarnation = self._begin_restart(delay)
            await self._log.wait_until(lambda: self._current() is not incarnation)
            await self._current().ready.wait()

    def wipe(self) -> None:
        """Remove every socket from the plug-in directory; kubelet.sock is created again within a second."""
        self._record("wipe", str(self._layout.plugins))
        with suppress(FileNotFoundError):  # without the directory there is no socket
            for path in self._layout.plugins.iterdir():
                if path.is_socket() and not path.is_symlink():  # false for what has gone since, as a temporary file
                    path.unlink(missing_ok=True)

    @checked
    def drop_connection(self, resource: str) -> None:
        """Cut the connection to the plug-in that serves the resource, and to those that stand by.

        Raises BadInput when none does.
        """
        self._calls.check()
        if not self._current().endpoints.disconnect(resource):
            raise BadInput("no plug-in serves it", file=resource)
        self._record("drop-connection", resource)

    @checked
    def stop_reading(self, resource: str) -> None:
        """Stop reading lists of the resource, without closing the stream.

        Until :meth:`resume_reading`.
        """
        self._record("stop-reading", resource)
        self._fault_injection.pause_reading(resource)

    @checked
    def resume_reading(self, resource: str) -> None:
        """Read the lists of the resource again."""
        self._record("resume-reading", resource)
        self._fault_injection.resume_reading(resource)

    @checked
    def refuse_registrations(self, *, times: Times = 1, resource: str | None = None) -> None:
        """Refuse the next calls of Register, as if the plug-in could not be dialled.

        The kubelet answers so when the plug-in does not accept in time (REG-7). A plug-in that serves continues to
        serve; one that the watcher finds in plugins_registry does not call Register, and is not refused.
        """
        self._record("refuse-registrations", f"the next {times}")
        self._fault_injection.add(CallFault(REGISTER, resource, times, 0.0, None))

    def accept_registrations(self) -> None:
        """Stop refusing calls of Register."""
        self._record("accept-registrations", "")
        self._fault_injection.accept_registrations()

    def refuse_same_socket(self) -> None:
        """Refuse a socket that registers again while its stream is open, as v1.37 does.

        Until :meth:`accept_same_socket` (D37-4). The open stream is still watched, so the socket is accepted again when
        it has ended; the kubelet forgets the stream, and refuses the socket until it is restarted (LIM-42).
        """
        self._record("refuse-same-socket", "")
        self._fault_injection.refuse_same_socket = True

    def accept_same_socket(self) -> None:
        """Accept a socket that registers again, as usual: it replaces itself."""
        self._record("accept-same-socket", "")
        self._fault_injection.refuse_same_socket = False

    @checked
    def delay_calls(self, call: str, seconds: Seconds, *, times: Times = 1, resource: str | None = None) -> None:
        """Delay the next calls of a method, without extending their deadlines.

        ``call`` is a short name of ``rpc.deviceplugin.methods``, as in ``--deadline``.
        """
        self._add_call_fault(call, seconds, None, times, resource)

    @checked
    def fail_calls(
        self, call: str, *, error: str = INJECTED_ERROR, times: Times = 1, resource: str | None = None
    ) -> None:
        """Make the next calls of a method fail, as if the plug-in had answered with the error."""
        self._add_call_fault(call, 0.0, error, times, resource)

    def expire_grace(self) -> None:
        """End the grace period of every stopped plug-in now.

        See LW-11.
        """
        self._record("expire-grace", "")
        self._log.record(self._current().store.sweep(now=math.inf))

    @describes_task(name="corrupt_checkpoint")
    async def corrupt_checkpoint(self) -> None:
        """Damage one byte of the checkpoint on disk; the next restart finds it.

        The current state is written first; the byte is in the middle of the file (LIM-10). Raises CheckpointUnwritable,
        or BadInput when there is no checkpoint yet.
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
        """Stop the manager's clock.

        This and the other faults of the clock need a ``trio.testing.MockClock``.
        """
        self._set_rate(0.0)

    def resume_clock(self) -> None:
        """Let the clock run again, in real time."""
        self._set_rate(1.0)

    @checked
    def advance_clock(self, seconds: FiniteSeconds) -> None:
        """Advance the clock at once, so that grace periods and deadlines end."""
        self._calls.check()
        _current_mock_clock().jump(seconds)
        self._record("advance-clock", f"{seconds:g} s")

    @checked
    async def inject(self, fault: Fault) -> None:
        """Inject a fault by its name, for callers on a socket. Does not wait until a restart is over.

        Raises BadInput when there is no such fault.
        """
        self._calls.check()
        if fault.name == "restart":
            self._begin_restart(fault.seconds)
        elif method := FAULTS.get(fault.name):
            result = method(self, **_arguments(method, fault))
            if isinstance(result, Awaitable):
                await result
        else:
            raise BadInput("no such fault", file=fault.name)

    def _begin_restart(self, delay: float) -> Incarnation:
        incarnation = self._current()
        self._record("restart", f"back after {delay:g} s")
        incarnation.stop(restart_delay=delay)
        return incarnation

    def _set_rate(self, rate: float) -> None:
        self._calls.check()
        clock = _current_mock_clock()
        self._record("resume-clock" if rate else "freeze-clock", "")
        clock.rate = rate

    def _add_call_fault(self, call: str, seconds: float, error: str | None, times: int, resource: str | None) -> None:
        self._calls.check()
        methods = self._fault_injection.methods
        if call not in methods:
            raise BadInput(f"no such kind of call; there are {', '.join(methods)}", file=call)
        self._record("delay-calls" if error is None else "fail-calls", f"the next {times} of {call}")
        self._fault_injection.add(CallFault(methods[call].name, resource, times, seconds, error))

    def _record(self, fault: str, what: str) -> None:
        self._calls.check()
        self._log.record([FaultInjected(fault=fault, what=what)])


FAULTS: Mapping[str, Callable[..., Any]] = {
    name.replace("_", "-"): method
    for name, method in vars(Faults).items()
    if not name.startswith("_") and name != "inject"
}
"""Every fault, by its name on the command line."""


def _arguments(method: Callable[..., Any], fault: Fault) -> dict[str, Any]:
    """The fault's fields that the method takes. An empty field is left out if the method has a default for it. Raises
    BadInput if it has none, and the field is a text: no name is empty."""
    wanted = inspect.signature(method).parameters
    given = {name: value for name, value in asdict(fault).items() if name in wanted}
    needed = [name for name in given if wanted[name].default is inspect.Parameter.empty]
    for name in needed:
        if given[name] == "":
            raise BadInput("is missing", file=fault.name, field=name)
    return {name: value for name, value in given.items() if value or name in needed}


def _flip_byte(file: int) -> None:
    before = os.fstat(file)
    middle = before.st_size // 2
    os.pwrite(file, bytes(byte ^ 0xFF for byte in os.pread(file, 1, middle)), middle)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # a failing disk leaves no time of writing


def mock_clock() -> MockClock:
    """For ``trio.run``: real time, until it is frozen or advanced."""
    from trio.testing import MockClock  # takes 100 ms to import

    return MockClock(rate=1.0)


def _current_mock_clock() -> MockClock:
    from trio.testing import MockClock  # takes 100 ms to import

    clock = trio.lowlevel.current_clock()
    if not isinstance(clock, MockClock):
        raise BadInput("the program runs on the system's clock; run it on trio.testing.MockClock(rate=1)", file="clock")
    return clock
