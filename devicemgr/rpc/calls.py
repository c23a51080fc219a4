"""Making calls: waiting for the server while dialling, the latest message of a flood, and errors.

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
from .transport.limits import ConnectionLimits
from .transport.unix_socket import Place, SocketFile

T = TypeVar("T")

DIAL_BACKOFF, MAX_DIAL_BACKOFF = 0.02, 0.5
"""Seconds between two attempts to connect to a socket that is not there yet (REG-7), doubled up to the longest."""
MAX_STATUS_MESSAGE = 1000
"""Characters of a peer's status message that are kept."""


@asynccontextmanager
async def dial(
    path: str | os.PathLike[str],
    *,
    wait_for_ready: bool = True,
    limits: ConnectionLimits = ConnectionLimits(),  # noqa: B008 - frozen
) -> AsyncIterator[Channel]:
    """Connect to a unix socket. With ``wait_for_ready``, as gRPC calls it, wait for one that is missing or refuses; the
    caller sets the deadline (REG-7). Without it, that is an OSError at once.

    Raises RpcFailed when the policy does not admit who listens.
    """
    async with AsyncExitStack() as stack:
        yield await _enter(stack, lambda: open_channel(path, limits=limits), str(path), wait_for_ready=wait_for_ready)


@asynccontextmanager
async def dial_place(place: Place, *, limits: ConnectionLimits) -> AsyncIterator[tuple[Channel, SocketFile]]:
    """Wait for somebody else's socket, connect to it and hold it: what is at its path later does not matter.

    Raises RpcFailed also when something else is there.
    """

    @asynccontextmanager
    async def open_both() -> AsyncIterator[tuple[Channel, SocketFile]]:
        with place.opened() as socket:
            async with open_channel(socket, limits=limits) as channel:
                yield channel, socket

    async with AsyncExitStack() as stack:
        yield await _enter(stack, open_both, str(place), wait_for_ready=True)


async def _enter(
    stack: AsyncExitStack, open_one: Callable[[], AbstractAsyncContextManager[T]], name: str, *, wait_for_ready: bool
) -> T:
    """The errors of opening are those of dialling; the block's own are not."""
    pause = DIAL_BACKOFF
    while True:
        try:
            return await stack.enter_async_context(open_one())
        except PeerNotAdmitted as error:
            raise RpcFailed(str(error), status="PERMISSION_DENIED") from error
        except (FileNotFoundError, ConnectionRefusedError):
            if not wait_for_ready:
                raise
        except OSError as error:
            if not wait_for_ready:
                raise
            raise RpcFailed(f"cannot connect to {name}: {error.strerror or error}", status="UNAVAILABLE") from error
        await trio.sleep(pause)
        pause = min(pause * 2, MAX_DIAL_BACKOFF)


async def unary_unary(channel: Channel, path: str, request: Any, response_type: type[Any]) -> Any:
    """Make one unary call by its path. Raises RpcFailed with the peer's text and status."""
    with translate_grpc_errors():
        async with channel.request(path, Cardinality.UNARY_UNARY, type(request), response_type) as stream:
            await stream.send_message(request, end=True)
            return await stream.recv_message()


async def call(method: Callable[..., Awaitable[T]], *args: Any) -> T:
    """The same by a method of a generated stub."""
    with translate_grpc_errors():
        return await method(*args)


async def read_stream(
    channel: Channel,
    name: str,
    request: Any,
    reply_type: type[Any],
    on_message: Callable[[Any], Awaitable[None] | None],
    *,
    paused: Callable[[], trio.Event | None] = lambda: None,
    pace: Callable[[], float] = lambda: 0.0,
    on_skipped: Callable[[int], None] = lambda count: None,
) -> None:
    """Call a streaming method and hand each message to ``on_message``, until the stream ends; the next one when it has
    returned, and when what it returned has been awaited.

    An event that ``paused`` returns is waited for before the next message is handed over; then nothing is read either.
    ``pace`` says how many seconds too early a message is: after that wait the latest that has arrived by then is handed
    over, and ``on_skipped`` gets the number of the others. Meanwhile nothing is taken, and flow control makes the peer
    wait.

    Returns when the peer ends it with status OK; raises RpcFailed when it fails. An exception of
    ``on_message`` passes through.
    """
    with translate_grpc_errors():
        async with channel.request(name, Cardinality.UNARY_STREAM, type(request), reply_type) as stream:
            await stream.send_message(request, end=True)
            async for message in stream:
                while (resumed := paused()) is not None:
                    await resumed.wait()
                while (pause := pace()) > 0:
                    await trio.sleep(pause)
                    message, skipped = _latest(stream, message)
                    if skipped:
                        on_skipped(skipped)
                if (rest := on_message(message)) is not None:
                    await rest


def _latest(stream: Call, message: Any) -> tuple[Any, int]:
    """The message that arrived last, and how many before it are skipped."""
    skipped = 0
    while (newer := stream.recv_message_nowait()) is not None:
        message, skipped = newer, skipped + 1
    return message, skipped


@contextmanager
def translate_grpc_errors() -> Iterator[None]:
    """A GRPCError becomes RpcFailed."""
    try:
        yield
    except GRPCError as error:
        text = (error.message or error.status.name)[:MAX_STATUS_MESSAGE]
        raise RpcFailed(text, status=error.status.name) from error


@contextmanager
def translate_rpc_failed() -> Iterator[None]:
    """RpcFailed becomes PluginUnavailable: the peer is a plug-in."""
    try:
        yield
    except PluginUnavailable:
        raise
    except RpcFailed as error:
        raise PluginUnavailable(str(error), status=error.status) from error
