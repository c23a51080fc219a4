"""Reads the PodResources API of any kubelet since 1.13: List and, where there is one, GetAllocatableResources.

Kubelets before 1.20 have List only, under v1alpha1 (API-6). GetAllocatableResources came with 1.21, and could be turned
off by a feature gate until 1.27. All clients of a kubelet share one rate limit (PR-2), so a refused call is repeated.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import trio

from ...errors import BadInput, DeviceManagerError, KubeletUnavailable, PermissionDenied, RateLimited, RpcFailed
from ..calls import dial, unary_unary
from ..messages import checked, parsed
from ..stubs import v1 as wire
from ..transport.channel import Channel
from ..transport.limits import ConnectionLimits
from ..wire_format import RawMessage
from .answers import KubeletAnswer, ListedPod, ListedResources, allocatable_from_wire, pods_from_wire

ANSWER_TIMEOUT = 15.0
"""Seconds for all calls together."""
RATE_LIMIT_PAUSE = 0.25
"""Seconds before a call that met the rate limit is repeated: for a kubelet, time for 25 calls."""
_ANY_SIZE = ConnectionLimits(message=2**32, answer=2**32)
"""The lists have every device of the node, so they may be longer than a message of one plug-in."""
_V1, _V1ALPHA1 = "v1", "v1alpha1"


async def read_pod_resources(
    socket: Path, *, seconds: float = ANSWER_TIMEOUT, on_rate_limit: Callable[[], None] = lambda: None
) -> KubeletAnswer:
    """Ask the kubelet that serves ``socket`` what its pods hold and what can be allocated. It changes nothing there.

    ``seconds`` is the time for all calls together. ``on_rate_limit`` is called at most once, when the kubelet's rate
    limit makes it wait. Raises KubeletUnavailable when no kubelet answers there in time, RateLimited when its rate
    limit admits no call all that time, PermissionDenied when this user may not reach the socket, and BadInput when
    there is a file of another kind.
    """
    calls = _Calls(on_rate_limit)
    with trio.move_on_after(seconds):
        with _errors_of(socket):
            async with _connected(socket) as channel:
                return await calls.ask(channel)
    if calls.limited:
        raise RateLimited(
            f"the kubelet on {socket} has refused every call for {seconds:g} s by its rate limit, which all clients of "
            "the socket share: another one calls too often"
        )
    raise KubeletUnavailable(f"the kubelet on {socket} does not answer within {seconds:g} s")


class _Calls:
    """The calls for one answer. ``limited`` says that the last one has met the rate limit."""

    def __init__(self, on_rate_limit: Callable[[], None]) -> None:
        self.limited = False
        self._on_rate_limit = on_rate_limit
        self._was_limited = False

    async def ask(self, channel: Channel) -> KubeletAnswer:
        api, pods = await self._list(channel)
        allocatable, reason = await self._allocatable(channel, api)
        return KubeletAnswer(api=api, pods=pods, allocatable=allocatable, reason=reason)

    async def _list(self, channel: Channel) -> tuple[str, tuple[ListedPod, ...]]:
        """The version of the API, and the pods."""
        for api in (_V1, _V1ALPHA1):
            try:
                raw = await self._call(channel, f"/{api}.PodResourcesLister/List", wire.ListPodResourcesRequest())
            except RpcFailed as error:
                if error.status != "UNIMPLEMENTED" or api == _V1ALPHA1:
                    raise
            else:
                break
        return api, checked(pods_from_wire, parsed(wire.ListPodResourcesResponse, raw))

    async def _allocatable(self, channel: Channel, api: str) -> tuple[ListedResources | None, str]:
        """What can be allocated, or why the kubelet does not say."""
        if api == _V1ALPHA1:
            return None, "the kubelet has the API v1alpha1 only, without GetAllocatableResources"
        path = f"/{api}.PodResourcesLister/GetAllocatableResources"
        try:
            raw = await self._call(channel, path, wire.AllocatableResourcesRequest())
        except RpcFailed as error:
            if error.status not in ("UNIMPLEMENTED", "UNKNOWN"):  # UNKNOWN: the feature gate is off, or it has failed
                raise
            return None, f"the kubelet does not answer GetAllocatableResources: {error}"
        return checked(allocatable_from_wire, parsed(wire.AllocatableResourcesResponse, raw)), ""

    async def _call(self, channel: Channel, path: str, request: Any) -> bytes:
        """The bytes of the answer: they may take seconds to decode, which is not the kubelet's time."""
        while True:
            try:
                raw: bytes = await unary_unary(channel, path, request, RawMessage)
            except RpcFailed as error:
                if not _is_rate_limit(error):
                    raise
            else:
                self.limited = False
                return raw
            if not self._was_limited:
                self._on_rate_limit()
            self.limited = self._was_limited = True
            await trio.sleep(RATE_LIMIT_PAUSE)


def _is_rate_limit(error: RpcFailed) -> bool:
    """A message that is too long has the same status."""
    return error.status == RateLimited.status and "rate limit" in str(error)


@asynccontextmanager
async def _connected(socket: Path) -> AsyncIterator[Channel]:
    """A channel to the socket, which may be named by a link, and by a path that is too long for a socket's. Raises
    OSError."""
    descriptor = os.open(socket, os.O_PATH)
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise OSError(errno.ENOTSOCK, "it is no socket", str(socket))
        async with dial(f"/proc/self/fd/{descriptor}", wait_for_ready=False, limits=_ANY_SIZE) as channel:
            yield channel
    finally:
        os.close(descriptor)


@contextmanager
def _errors_of(socket: Path) -> Iterator[None]:
    """What failed, in the words of somebody who looks for a kubelet."""
    try:
        yield
    except OSError as error:
        raise _unreachable(socket, error) from error
    except RpcFailed as error:
        if error.status == "UNIMPLEMENTED":
            raise KubeletUnavailable(f"what serves {socket} has no PodResources API. {_WHERE}") from error
        if error.status == PermissionDenied.status:
            raise PermissionDenied(f"{socket}: {error}") from error
        raise KubeletUnavailable(f"the kubelet on {socket} does not answer as one: {error.rpc_error}") from error


_WHERE = "A kubelet has its socket below its own --root-dir, as pod-resources/kubelet.sock"


def _unreachable(socket: Path, error: OSError) -> DeviceManagerError:
    match error.errno:
        case errno.EACCES | errno.EPERM:
            return PermissionDenied(
                f"user {os.geteuid()} may not reach {socket}: run this as root, as kubelets want it"
            )
        case errno.ENOTSOCK:
            return BadInput(f"it is no socket. {_WHERE}", file=str(socket))
        case errno.ECONNREFUSED:
            return KubeletUnavailable(f"no kubelet serves {socket}: it has ended, or is starting")
        case _:
            return KubeletUnavailable(f"no kubelet can be reached on {socket}: {error.strerror or error}. {_WHERE}")
