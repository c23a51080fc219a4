"""Calling, in this project's words: patience while dialling, the newest of a flood, and what a failed call means.

Deadlines belong to the caller: ``with trio.fail_after(…)`` around the call.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, TypeVar

import trio
from grpclib import GRPCError
from grpclib.const import Cardinality

from ..errors import PluginUnavailable, RpcFailed
from .transport.channel import Call, Channel, PeerNotAdmitted, open_channel
from .transport.limits import Limits
from .transport.unix_socket import Place, SocketFile

T = TypeVar("T")

DIAL_RETRY, LONGEST_DIAL_RETRY = 0.02, 0.5
"""Seconds between two attempts to connect to a socket that is not there yet (REG-7), doubled up to the longest."""
LONGEST_REASON = 1000
"""Characters of a peer's error message that are kept."""


@asynccontextmanager
async def dial(
    path: str | os.PathLike[str],
    *,
    patient: bool = True,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> AsyncIterator[Channel]:
    """Connect to a unix socket. A ``patient`` caller waits for one that is missing or refuses, and sets the
    deadline (REG-7); for others that is an OSError at once.

    Raises RpcFailed when the policy does not admit who listens.
    """
    async with AsyncExitStack() as stack:
        yield await _enter(stack, lambda: open_channel(path, limits=limits), str(path), patient=patient)


@asynccontextmanager
async def dial_place(place: Place, *, limits: Limits) -> AsyncIterator[tuple[Channel, SocketFile]]:
    """As a patient caller, connect to somebody else's socket, and hold it: what is at its place later does not matter.

    Raises RpcFailed also when something else is there.
    """

    @asynccontextmanager
    async def open_both() -> AsyncIterator[tuple[Channel, SocketFile]]:
        with place.opened() as socket:
            async with open_channel(socket, limits=limits) as channel:
                yield channel, socket

    async with AsyncExitStack() as stack:
        yield await _enter(stack, open_both, str(place), patient=True)


async def _enter(
    stack: AsyncExitStack, open_one: Callable[[], AbstractAsyncContextManager[T]], name: str, *, patient: bool
) -> T:
    """The errors of opening are those of dialling; the block's own are not."""
    pause = DIAL_RETRY
    while True:
        try:
            return await stack.enter_async_context(open_one())
        except PeerNotAdmitted as error:
            raise RpcFailed(str(error), status="PERMISSION_DENIED") from error
        except (FileNotFoundError, ConnectionRefusedError):
            if not patient:
                raise
        except OSError as error:
            if not patient:
                raise
            raise RpcFailed(f"cannot connect to {name}: {error.strerror or error}", status="UNAVAILABLE") from error
        await trio.sleep(pause)
        pause = min(pause * 2, LONGEST_DIAL_RETRY)


async def call(method: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Make one unary call. Raises RpcFailed with the peer's text and status."""
    with failures_translated():
        return await method(*args)


async def read_stream(
    channel: Channel,
    name: str,
    request: Any,
    reply_type: type[Any],
    on_message: Callable[[Any], Awaitable[None] | None],
    *,
    hold: Callable[[], trio.Event | None] = lambda: None,
    pace: Callable[[], float] = lambda: 0.0,
    on_skipped: Callable[[int], None] = lambda count: None,
) -> None:
    """Call a streaming method and hand each message to ``on_message``, until the stream ends; the next one when it has
    returned, and when what it returned has been awaited.

    An event that ``hold`` returns is waited for before the next message is handed over; then nothing is read either.
    ``pace`` says how many seconds too early a message is: after that wait the newest that has arrived by then is handed
    over, and ``on_skipped`` told how many were not. Meanwhile nothing is taken, and flow control makes the peer wait.

    Returns when the peer ends it with status OK; raises RpcFailed when it fails. An exception of
    ``on_message`` passes through.
    """
    with failures_translated():
        async with channel.request(name, Cardinality.UNARY_STREAM, type(request), reply_type) as stream:
            await stream.send_message(request, end=True)
            async for message in stream:
                while (held := hold()) is not None:
                    await held.wait()
                while (pause := pace()) > 0:
                    await trio.sleep(pause)
                    message, skipped = _newest(stream, message)
                    if skipped:
                        on_skipped(skipped)
                if (rest := on_message(message)) is not None:
                    await rest


def _newest(stream: Call, message: Any) -> tuple[Any, int]:
    """What has arrived last, and how many messages came before it that nobody will get."""
    skipped = 0
    while (newer := stream.take_message()) is not None:
        message, skipped = newer, skipped + 1
    return message, skipped


@contextmanager
def failures_translated() -> Iterator[None]:
    """A GRPCError becomes RpcFailed."""
    try:
        yield
    except GRPCError as error:
        text = (error.message or error.status.name)[:LONGEST_REASON]
        raise RpcFailed(text, status=error.status.name) from error


@contextmanager
def plugin_unavailable() -> Iterator[None]:
    """RpcFailed becomes PluginUnavailable: the peer is a plug-in."""
    try:
        yield
    except PluginUnavailable:
        raise
    except RpcFailed as error:
        raise PluginUnavailable(str(error), status=error.status, bound=error.bound) from error
