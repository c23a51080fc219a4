"""Every error a caller can meet, each with when it happens and what to do.

::

    DeviceManagerError
    ├── BadInput             a file says something we cannot use: fix the named line
    ├── UnusableTopology     a topology setting does not fit, or does not fit this machine
    ├── CorruptCheckpoint    a checkpoint cannot be trusted: not JSON, another layout, another checksum
    ├── CheckpointUnwritable the state could not be put on disk
    ├── Refused              the manager said no, with the kubelet's own text
    │   ├── RegistrationRefused
    │   ├── AllocationRefused
    │   │   └── AdmissionRefused   with a reason of its own
    │   └── ContainerStartFailed
    ├── RpcFailed            a gRPC call failed, with its status
    │   ├── PluginUnavailable      a plug-in did not answer, in time or at all
    │   └── PeerLimitExceeded      a peer sent more than the limits allow
    ├── PermissionDenied     a call from a user who may not
    ├── ManagerUnavailable   nobody serves admin.sock
    ├── ManagerClosed        the manager inside this program has ended
    ├── NeedsTrio            it was called outside of a Trio program
    ├── DirectoryInUse       another manager owns the directory
    ├── DirectoryUnusable    the directory cannot be made, read or cleaned
    ├── OutputLost           standard output could not be written
    └── ResourceWaitTimeout  a resource did not reach the wanted state in time

Anything else that is raised is a bug, and ends the daemon with its traceback.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio


class DeviceManagerError(Exception):
    """Base of all errors below. ``status`` is the gRPC status a caller sees; the kubelet's is UNKNOWN (REG-5)."""

    status = "UNKNOWN"


class BadInput(DeviceManagerError):
    """A configuration or a manifest is wrong. Names the file, the line and the field."""

    def __init__(self, problem: str, *, file: str, line: int | None = None, field: str = "") -> None:
        problem, field, name = (_shortened(text) for text in (problem, field, file))
        place = name if line is None else f"{name}:{line}"
        super().__init__(f"{place}: {field}: {problem}" if field else f"{place}: {problem}")
        self.file, self.line, self.field = file, line, field


def _shortened(text: str) -> str:
    """What a file says may be a line of six million characters."""
    return text if len(text) <= 1000 else f"{text[:500]} … {text[-200:]}"


class CorruptCheckpoint(DeviceManagerError):
    """A checkpoint file cannot be trusted (CKPT-9). The manager sets it aside and uses the generation before."""


class CheckpointUnwritable(DeviceManagerError):
    """The state could not be put on disk. Make room, or fix the permissions of the directory it names."""


class UnusableTopology(DeviceManagerError):
    """A policy, scope, option or NUMA layout that cannot be used. ``code`` is one word for what is wrong."""

    def __init__(self, text: str, *, code: str) -> None:
        super().__init__(text)
        self.code = code


class Refused(DeviceManagerError):
    """The manager said no. ``rule`` is the id of the item of :mod:`devicemgr.rules` that decided, or empty."""

    def __init__(self, text: str, *, rule: str = "") -> None:
        super().__init__(text)
        self.rule = rule


class RegistrationRefused(Refused):
    """Register is answered with status UNKNOWN and this text (REG-5). The plug-in corrects it and tries again."""


class AllocationRefused(Refused):
    """A container cannot have its devices (ALLOC-E1…E12). The pod is refused as a whole."""


class AdmissionRefused(AllocationRefused):
    """The pod may not run here for a ``reason`` that has a name of its own: TopologyAffinityError, OutOf… (CAP-9)."""

    def __init__(self, text: str, *, rule: str, reason: str) -> None:
        super().__init__(text, rule=rule)
        self.reason = reason


class ContainerStartFailed(Refused):
    """An admitted container cannot start now (RUN-E1…E3). The runtime tries again later."""


class RpcFailed(DeviceManagerError):
    """A gRPC call failed: nobody accepts, the connection was lost, the deadline passed, or the peer sent an error.

    ``status`` is the name of its gRPC status; a handler that raises this ends its call with that status.
    """

    def __init__(self, text: str, *, status: str = "UNKNOWN") -> None:
        super().__init__(text)
        self.status = status

    @property
    def rpc_error(self) -> str:
        """The text as grpc-go prints it, with Go's name of the code, as in the kubelet's texts, which people search
        for (ALLOC-20, REG-5, RUN-E1)."""
        code = _GO_CODES.get(self.status) or self.status.title().replace("_", "")
        return f"rpc error: code = {code} desc = {self}"


_GO_CODES = {"OK": "OK", "CANCELLED": "Canceled"}
"""Codes whose name in Go is not made of the words in capitals."""


class PeerLimitExceeded(RpcFailed):
    """A peer sent more than one of :class:`~devicemgr.PeerLimits` allows; ``limit`` names it."""

    def __init__(self, text: str, *, limit: str) -> None:
        super().__init__(text, status="RESOURCE_EXHAUSTED")
        self.limit = limit


class PluginUnavailable(RpcFailed):
    """A call to a plug-in failed."""


def as_cause(error: DeviceManagerError) -> str:
    """The error within another one's text, as the kubelet has it there."""
    return error.rpc_error if isinstance(error, RpcFailed) else str(error)


class ManagerUnavailable(DeviceManagerError):
    """Nobody serves admin.sock. Start a manager on the same root directory."""


class ManagerClosed(DeviceManagerError):
    """The manager of :func:`devicemgr.open_device_manager` has ended, perhaps during the call. Call it inside its
    block; open another one on the same directory to go on."""


class NeedsTrio(DeviceManagerError):
    """Called outside of a Trio program, perhaps on asyncio. Use :func:`devicemgr.open_portal` there."""


class DirectoryInUse(DeviceManagerError):
    """Another manager, or a kubelet, serves this directory. Stop it, or take another ``--root-dir``."""


class DirectoryUnusable(DeviceManagerError):
    """The directory cannot be created, written or cleaned. Fix its permissions, or take another one."""


class AddressUnusable(DeviceManagerError):
    """The address for metrics cannot be served on. Give another one."""


class PermissionDenied(DeviceManagerError):
    """A process of a user who may not call. Run it as the manager's user or as root, or give its group to
    ``--allow-group``."""

    status = "PERMISSION_DENIED"


class QuotaExceeded(DeviceManagerError):
    """A process has used up its quota of CPU time, or its queue of registrations is full: try again in a moment."""

    status = "RESOURCE_EXHAUSTED"


class UnreadLimitExceeded(DeviceManagerError):
    """The caller's process has too many bytes of answers unread: read them first."""

    status = "RESOURCE_EXHAUSTED"


class NoSuchPod(DeviceManagerError):
    """A pod that was asked for is not on this node (PR-6)."""


class RateLimited(DeviceManagerError):
    """More calls than the PodResources API takes: try again in a moment (PR-2)."""

    status = "RESOURCE_EXHAUSTED"


class OutputLost(DeviceManagerError):
    """A verb did its work, but what it shows could not be written: make room, or write elsewhere."""


class ResourceWaitTimeout(DeviceManagerError):
    """A resource did not reach the wanted state; the text shows the state it is in and the last events."""


@contextmanager
def collapse_exception_group() -> Iterator[None]:
    """Around a nursery the caller cannot see: a group of one error becomes that error.

    The group would only show our own nesting, and ``except DirectoryInUse`` would not match it. A cancellation that
    comes together with errors is left out: they say more, and the cancelled scope is on its way out anyway. So is what
    only follows from an error: that the manager has ended. A group of several errors stays as it is.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = (
            group.split((trio.Cancelled, ManagerClosed))[1] or group.split(trio.Cancelled)[1] or group
        )
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if isinstance(error, BaseExceptionGroup):
            raise
        raise error from error.__cause__


def require_trio(what: str) -> None:
    """Check that this is a Trio program, with a clearer message than Trio's. Raises NeedsTrio."""
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        raise NeedsTrio(
            f"{what} needs Trio, and this is no Trio program. In a plain one, or on asyncio, open a portal: "
            "with devicemgr.open_portal() as portal, portal.manager(devicemgr.open_device_manager(…)) as manager: …"
        ) from None
