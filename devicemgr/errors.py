"""Every error a caller can meet, each with when it happens and what to do.

::

    DeviceManagerError
    ├── BadInput             a file cannot be used: fix the line that the message names
    ├── UnusableTopology     a topology setting is invalid, or does not fit this machine
    ├── CorruptCheckpoint    a checkpoint cannot be trusted: not JSON, another layout, another checksum
    ├── CheckpointUnwritable the state could not be written to disk
    ├── Refused              the manager refused a request, with the kubelet's text
    │   ├── RegistrationRefused
    │   ├── AllocationRefused
    │   │   └── AdmissionRefused   with a reason of its own
    │   └── ContainerStartFailed
    ├── RpcFailed            a gRPC call failed, with its status
    │   ├── PluginUnavailable      a plug-in did not answer, in time or at all
    │   └── PeerLimitExceeded      a peer sent more than the limits allow
    ├── PermissionDenied     the calling user lacks permission
    ├── QuotaExceeded        the calling process has used too much CPU time
    ├── UnreadLimitExceeded  the calling process has too many unread answers
    ├── RateLimited          too many calls of the PodResources API
    ├── NoSuchPod            the pod is not on this node
    ├── ManagerUnavailable   no manager serves admin.sock
    ├── KubeletUnavailable   no kubelet serves the PodResources API on a socket
    ├── ManagerClosed        the manager inside this program has ended
    ├── NeedsTrio            called outside of a Trio program
    ├── DirectoryInUse       another manager owns the directory
    ├── DirectoryUnusable    the directory cannot be created, read or cleaned
    ├── LimitTooLow          this process may have fewer open files, or threads, than what it was asked to do needs
    ├── AddressUnusable      metrics cannot be served on the address
    ├── ProgramUnavailable   a program of Kubernetes is not here, and cannot be built
    ├── ControlPlaneFailed   etcd or the API server of a control plane has ended, or does not get ready
    ├── ApiError             an API server has refused a request
    ├── ApiUnreachable       an API server has not answered a request, or not as one does
    │   ├── ApiUntrusted           its certificate cannot be trusted
    │   └── CredentialsUnavailable it was not asked, since there are no credentials for it
    ├── OutputLost           standard output could not be written
    ├── ResourceWaitTimeout  a resource did not reach the wanted state in time
    └── KubeWaitTimeout      an object of a cluster did not get as wanted in time

Anything else that is raised is a bug, and ends the daemon with its traceback.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


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
    """A file may have a line of six million characters."""
    return text if len(text) <= 1000 else f"{text[:500]} … {text[-200:]}"


class CorruptCheckpoint(DeviceManagerError):
    """A checkpoint file cannot be trusted (CKPT-9). The manager renames it and uses the previous generation."""


class CheckpointUnwritable(DeviceManagerError):
    """The state could not be written to disk. Free some space, or fix the permissions of the directory it names."""


class UnusableTopology(DeviceManagerError):
    """A policy, scope, option or NUMA layout that cannot be used. ``code`` is one word for what is wrong."""

    def __init__(self, text: str, *, code: str) -> None:
        super().__init__(text)
        self.code = code


class Refused(DeviceManagerError):
    """The manager refused a request. ``rule`` is the id of the deciding item of :mod:`devicemgr.rules`, or empty."""

    def __init__(self, text: str, *, rule: str = "") -> None:
        super().__init__(text)
        self.rule = rule


class RegistrationRefused(Refused):
    """Register is answered with status UNKNOWN and this text (REG-5). The plug-in corrects it and tries again."""


class AllocationRefused(Refused):
    """A container cannot have its devices (ALLOC-E1…E12). The pod is refused as a whole."""


class AdmissionRefused(AllocationRefused):
    """The pod may not run here, with a ``reason`` of its own: TopologyAffinityError, OutOf… (CAP-9)."""

    def __init__(self, text: str, *, rule: str, reason: str) -> None:
        super().__init__(text, rule=rule)
        self.reason = reason


class ContainerStartFailed(Refused):
    """An admitted container cannot start now (RUN-E1…E3). The runtime tries again later."""


class RpcFailed(DeviceManagerError):
    """A gRPC call failed: no server accepts, the connection was lost, the deadline passed, or the peer sent an error.

    ``status`` is the name of its gRPC status; a handler that raises this ends its call with that status.
    """

    def __init__(self, text: str, *, status: str = "UNKNOWN") -> None:
        super().__init__(text)
        self.status = status

    @property
    def rpc_error(self) -> str:
        """The error as grpc-go prints it, with Go's name of the status, as in the kubelet's messages, for which people
        search (ALLOC-20, REG-5, RUN-E1)."""
        code = _GO_CODES.get(self.status) or self.status.title().replace("_", "")
        return f"rpc error: code = {code} desc = {self}"


_GO_CODES = {"OK": "OK", "CANCELLED": "Canceled"}
"""Statuses whose name in Go does not follow from their own."""


class PeerLimitExceeded(RpcFailed):
    """A peer sent more than one of :class:`~devicemgr.PeerLimits` allows; ``limit`` names it."""

    def __init__(self, text: str, *, limit: str) -> None:
        super().__init__(text, status="RESOURCE_EXHAUSTED")
        self.limit = limit


class PluginUnavailable(RpcFailed):
    """A call to a plug-in failed."""


def as_cause(error: DeviceManagerError) -> str:
    """The error as the kubelet quotes it in another error's message."""
    return error.rpc_error if isinstance(error, RpcFailed) else str(error)


class ManagerUnavailable(DeviceManagerError):
    """No manager serves admin.sock. Start one on the same root directory."""


class KubeletUnavailable(DeviceManagerError):
    """No kubelet serves the PodResources API on this socket, or it does not answer. The text says where kubelets do."""


class ManagerClosed(DeviceManagerError):
    """The manager of :func:`devicemgr.open_device_manager` has ended, perhaps during the call. Call it inside its
    block, or open another one on the same directory."""


class NeedsTrio(DeviceManagerError):
    """Called outside of a Trio program, perhaps on asyncio. Use :func:`devicemgr.open_portal` there."""


class DirectoryInUse(DeviceManagerError):
    """Another manager, a kubelet, or a cluster has this directory. Stop it, or choose another directory."""


class DirectoryUnusable(DeviceManagerError):
    """The directory cannot be created, written or cleaned. Fix its permissions, or choose another one."""


class AddressUnusable(DeviceManagerError):
    """Nothing can be served on this address: it is in use, or not one of this machine. Choose another one."""


class LimitTooLow(DeviceManagerError):
    """A limit of this process is lower than what it was asked to do needs. The text says how to raise it."""


class PermissionDenied(DeviceManagerError):
    """The calling user lacks permission. Run the caller as the manager's user or as root, or give its group to
    ``--allow-group``."""

    status = "PERMISSION_DENIED"


class QuotaExceeded(DeviceManagerError):
    """A process has used up its quota of CPU time, or its queue of registrations is full: try again in a moment."""

    status = "RESOURCE_EXHAUSTED"


class UnreadLimitExceeded(DeviceManagerError):
    """The calling process has too many bytes of unread answers: read them first."""

    status = "RESOURCE_EXHAUSTED"


class NoSuchPod(DeviceManagerError):
    """The requested pod is not on this node (PR-6)."""


class RateLimited(DeviceManagerError):
    """More calls than the PodResources API allows: try again in a moment (PR-2)."""

    status = "RESOURCE_EXHAUSTED"


class ExtraMissing(DeviceManagerError):
    """What was asked for needs packages that are not installed. The text says which, and how to install them."""


class ProgramUnavailable(DeviceManagerError):
    """A program of Kubernetes is not on this machine, or cannot be built or run. Install what the text names."""


class ControlPlaneFailed(DeviceManagerError):
    """A component of a control plane has ended, or does not get ready. The text has the last lines of its log."""


class ApiError(DeviceManagerError):
    """An API server has refused a request, in Kubernetes' own words.

    ``code`` is the HTTP status, ``reason`` a word such as NotFound, Conflict or Expired (empty if something between us
    and the API server has answered), ``retry_after`` the seconds that it asks to be left alone for.
    """

    def __init__(self, code: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(" ".join([str(code), *([reason] if reason else [])]) + f": {message}")
        self.code, self.reason, self.message, self.retry_after = code, reason, message, retry_after


class ApiUnreachable(DeviceManagerError):
    """An API server has not answered a request: there is no connection, it was lost, time has run out, or the answer is
    not one of an API server. Whether the request was carried out is not known."""


class ApiUntrusted(ApiUnreachable):
    """The certificate of an API server cannot be trusted: it is signed by another authority, of another host, or has
    expired. Nothing was asked. Correct the kubeconfig's ``certificate-authority`` or ``tls-server-name``."""


class CredentialsUnavailable(ApiUnreachable):
    """There are no credentials for an API server: the kubeconfig's exec plug-in has failed, or the
    client certificate cannot be used. Nothing was asked."""


class OutputLost(DeviceManagerError):
    """A command did its work, but its output could not be written: free some space, or write elsewhere."""


class ResourceWaitTimeout(DeviceManagerError):
    """A resource did not reach the wanted state; the text shows the state it is in and the last events."""


class KubeWaitTimeout(DeviceManagerError):
    """An object of a cluster did not get as wanted in time, or cannot any more; the text shows it, the events about it,
    and the nodes."""


@contextmanager
def requires_extra(name: str) -> Iterator[None]:
    """Around imports of packages that come with this extra of ours only. Raises ExtraMissing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ExtraMissing(f"{error.name} is not installed: pip install 'devicemgr[{name}]'") from error
