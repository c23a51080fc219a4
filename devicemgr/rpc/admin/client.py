"""The client of the Admin API, used by the command line."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import trio

from ...errors import ManagerUnavailable, PermissionDenied, Refused, RpcFailed
from ...model import (
    EffectiveSettings,
    Fault,
    NodeStatus,
    Pod,
    PodAdmitResult,
    PodStatus,
    ResourceCounts,
    ResourceName,
)
from ..calls import call, dial, read_stream
from ..messages import checked
from ..stubs.devicemgr import v1 as wire
from ..transport.channel import Channel
from ..transport.limits import ConnectionLimits
from ..transport.unix_socket import require_short
from . import convert, status

T = TypeVar("T")

ANSWER_TIMEOUT = 15.0
"""Seconds for a call that needs no plug-in. Admissions and streams take as long as they do, while the manager lives."""
MOST_SILENT = 12.0
"""Seconds without a sign of life after which a manager is taken for one that is stopped, or hangs."""
_ANY_SIZE = ConnectionLimits(message=2**32, answer=2**32)
"""A status lists the devices of all plug-ins, so it may be longer than any message of one plug-in."""


class ManagerClient:
    """A manager, called through admin.sock. Every call raises RpcFailed when it hangs up or is stuck."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._stub = channel.stub(wire.AdminStub)

    async def _call(self, method: Callable[..., Coroutine[Any, Any, T]], request: object) -> T:
        with trio.move_on_after(ANSWER_TIMEOUT):
            return await call(method, request)
        raise RpcFailed(f"no answer within {ANSWER_TIMEOUT:g} s", status="DEADLINE_EXCEEDED")

    async def ping(self) -> None:
        """Return when the manager shows that it lives."""
        await call(self._channel.ping)

    async def status(self) -> tuple[dict[ResourceName, ResourceCounts], list[PodStatus], EffectiveSettings]:
        return checked(status.decoded, await self._call(self._stub.status, wire.StatusRequest()))

    async def node_status(self) -> NodeStatus:
        return convert.node_status_from_wire(await self._call(self._stub.node_status, wire.NodeStatusRequest()))

    async def acknowledge_removed(self, resource: str) -> None:
        await self._call(self._stub.acknowledge_removed, wire.AcknowledgeRemovedRequest(resource=resource))

    async def acknowledge_reset(self) -> None:
        await self._call(self._stub.acknowledge_removed, wire.AcknowledgeRemovedRequest(reset=True))

    async def inject(self, fault: Fault) -> None:
        """Inject a fault. A restart has begun, but is not over, when this returns."""
        await self._call(self._stub.inject_fault, convert.fault_to_wire(fault))

    async def restart(self, *, delay: float) -> None:
        """Restart the manager; it serves again after ``delay`` seconds. Returns when the old incarnation has ended."""
        await self.inject(Fault(name="restart", seconds=delay))
        with suppress(RpcFailed):
            await self.read_events(lambda event: None, follow=True)  # which ends with the incarnation

    async def explain(self, namespace: str, name: str) -> dict[str, Any] | None:
        """The latest explanation of a pod, or None when there is none."""
        message = await self._call(self._stub.explain, wire.ExplainRequest(namespace=namespace, name=name))
        found: dict[str, Any] | None = json.loads(message.json) if message.json else None
        return found

    async def admit(self, pod: Pod, *, start: bool = True) -> PodAdmitResult:
        request = wire.AdmitRequest(pod=convert.pod_to_wire(pod), start=start)
        return convert.admission_from_wire(await call(self._stub.admit, request))

    async def remove(self, namespace: str, name: str) -> bool:
        """False when there is no such pod."""
        message = await self._call(self._stub.remove, wire.RemoveRequest(namespace=namespace, name=name))
        return message.removed

    async def retain(self, uids: Iterable[str]) -> list[Pod]:
        """Remove all pods but those with these uids; returns the removed pods."""
        message = await call(self._stub.retain, wire.RetainRequest(uids=list(uids)))  # it may wait for admissions
        return list(map(convert.pod_from_wire, message.removed))

    async def read_events(self, on_event: Callable[[dict[str, Any]], None], *, follow: bool) -> None:
        """Pass ``on_event`` every event the manager remembers and, with ``follow``, every later one."""

        def decode(message: wire.Event) -> None:
            on_event(json.loads(message.json))

        request = wire.EventsRequest(follow=follow)
        await read_stream(self._channel, "/devicemgr.v1.Admin/Events", request, wire.Event, decode)

    async def read_tree(self, on_tree: Callable[[dict[str, Any]], None], *, watch: bool) -> None:
        """Pass ``on_tree`` the tree of the running tasks and, with ``watch``, again at every change, and once a second
        at least. Returns when the manager ends or restarts."""

        def decode(message: wire.TaskTree) -> None:
            on_tree(json.loads(message.json))

        request = wire.TreeRequest(watch=watch)
        await read_stream(self._channel, "/devicemgr.v1.Admin/Tree", request, wire.TaskTree, decode)


@asynccontextmanager
async def connect_manager(socket: Path, *, wait_for_ready: bool = False) -> AsyncIterator[ManagerClient]:
    """Connect to a running manager, or with ``wait_for_ready`` to one that may still be starting.

    Raises ManagerUnavailable when there is none, Refused when it refuses a call, PermissionDenied when this user may
    not call it, DirectoryUnusable when the path is too long for a socket.
    """
    require_short(socket)
    async with AsyncExitStack() as stack:
        try:
            dialled = dial(socket, limits=_ANY_SIZE, wait_for_ready=wait_for_ready, most_silent=MOST_SILENT)
            channel = await stack.enter_async_context(dialled)
        except PermissionError as error:
            raise PermissionDenied(
                f"user {os.geteuid()} may not reach {socket}. Run this as the manager's user or as root, or start the "
                "manager with --allow-group and a group of this user"
            ) from error
        except OSError as error:
            raise ManagerUnavailable(f"no manager reachable on {socket}: {error.strerror or error}") from error
        try:
            yield ManagerClient(channel)
        except RpcFailed as error:
            if error.status == "UNKNOWN":  # the manager answered (REG-5)
                raise Refused(str(error)) from error
            if error.status == PermissionDenied.status:
                raise PermissionDenied(str(error)) from error
            problem = "does not answer" if error.status == "DEADLINE_EXCEEDED" else "hung up"
            raise ManagerUnavailable(f"the manager on {socket} {problem}: {error}") from error


async def wait_for_manager(socket: Path, *, seconds: float) -> None:
    """Return when a manager accepts on ``socket``. Raises ManagerUnavailable when none does in time."""
    with trio.move_on_after(seconds):
        async with dial(socket):
            return
    raise ManagerUnavailable(f"no manager came back on {socket} within {seconds:g} s")
