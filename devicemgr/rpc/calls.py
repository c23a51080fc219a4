"""Making calls: connecting, reading streams, and translating errors.

Deadlines belong to the caller: ``with trio.fail_after(…)`` around the call.
"""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
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
    most_silent: float = math.inf,
) -> AsyncIterator[Channel]:
    """Connect to a unix socket. With ``wait_for_ready`` (gRPC's term), wait for a socket that is missing or refuses
    connections; the caller sets the deadline (REG-7). Without it, raise OSError at once.

    Raises RpcFailed when the policy does not admit the process that listens.
    """
    async with AsyncExitStack() as stack:
        open_one = partial(open_channel, path, limits=limits, most_silent=most_silent)
        yield await _enter(stack, open_one, str(path), wait_for_ready=wait_for_ready)


@asynccontextmanager
async def dial_plugin(
    place: Place, *, seconds: float, limits: ConnectionLimits
) -> AsyncIterator[tuple[Channel, SocketFile]]:
    """Wait for a plug-in's socket, connect to it and keep it open: what is at its path later does not matter.

    Raises PluginUnavailable when that takes longer than ``seconds``, or when the file there is not a socket. An
    RpcFailed of the block becomes PluginUnavailable, too.
    """

    @asynccontextmanager
    async def open_both() -> AsyncIterator[tuple[Channel, SocketFile]]:
        with place.opened() as socket:
            async with open_channel(socket, limits=limits) as channel:
                yield channel, socket

    with translate_rpc_failed(), trio.CancelScope(deadline=trio.current_time() + seconds) as dialling:
        async with AsyncExitStack() as stack:
            opened = await _enter(stack, open_both, str(place), wait_for_ready=True)
            dialling.deadline = float("inf")
            yield opened
    if dialling.cancelled_caught:
        raise PluginUnavailable(f"no connection to {place} within {seconds:g} s", status="DEADLINE_EXCEEDED")


async def _enter(
    stack: AsyncExitStack, open_one: Callable[[], AbstractAsyncContextManager[T]], name: str, *, wait_for_ready: bool
) -> T:
    """Open a connection for the rest of the caller's block, whose own errors are not errors of dialling."""
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
    """The same, through a method of a generated stub."""
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
    """Call a streaming method and pass each message to ``on_message``, until the stream ends. If ``on_message`` returns
    an awaitable, it is awaited before the next message.

    While ``paused`` returns an event, reading waits for it. ``pace`` returns how many seconds too early a message is:
    after that wait, only the latest message that has arrived is passed on, and ``on_skipped`` gets the number of the
    others. During both waits nothing is read, and flow control makes the peer wait.

    Returns when the peer ends the stream with status OK; raises RpcFailed when it fails. An exception of ``on_message``
    passes through.
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
    """The message that arrived last, and how many before it were skipped."""
    skipped = 0
    while (newer := stream.recv_message_nowait()) is not None:
        message, skipped = newer, skipped + 1
    return message, skipped


@contextmanager
def call_deadline(method: str, seconds: float) -> Iterator[None]:
    """``trio.fail_after`` for a call to a plug-in. Raises PluginUnavailable."""
    try:
        with trio.fail_after(seconds):
            yield
    except trio.TooSlowError:
        text = f"{method} was not answered within {seconds:g} s"
        raise PluginUnavailable(text, status="DEADLINE_EXCEEDED") from None


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
    """RpcFailed becomes PluginUnavailable: for calls to a plug-in."""
    try:
        yield
    except PluginUnavailable:
        raise
    except RpcFailed as error:
        raise PluginUnavailable(str(error), status=error.status) from error
