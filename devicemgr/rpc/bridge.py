"""grpclib inside a Trio run: listen, dial, call.

Four rules, each learnt from a crash:

1. *A handler is a task of ours.* grpclib logs an exception of a handler and goes on. Here each request runs as a
   child of a nursery: an expected error (:class:`DeviceManagerError`) becomes a status, a bug ends the program.
2. *A stream is read inside one asyncio coroutine*, which hands each message to a synchronous function. An async
   generator that crosses the border crashes Trio when it is cancelled.
3. *A message's size is checked before its bytes are taken* (``connections``): a peer may announce 4 GiB.
4. *Deadlines belong to the caller*: ``with trio.fail_after(…)`` around the call. Nothing here has one of its own.

# Decision: no memory channel between a stream and its reader. The synchronous function is the critical section, the
# next message is not read before it returned, and so order and back pressure need no code.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import trio
import trio_asyncio
from grpclib import GRPCError, Status
from grpclib.client import Channel
from grpclib.exceptions import StreamTerminatedError

from ..errors import DeviceManagerError, PluginUnavailable, unwrapped
from .connections import Terms
from .local import LocalChannel, LocalServer
from .newest import NewestOf

T = TypeVar("T")

DIAL_RETRY = 0.02
LONGEST_REASON = 1000
"""Characters of a peer's error message that are kept."""
LONGEST_DIAL_RETRY = 0.5
"""Seconds between two attempts to connect to a socket that is not there yet (REG-7), doubled up to the longest."""


@asynccontextmanager
async def open_bridge() -> AsyncIterator[None]:
    """The asyncio loop that grpclib needs, for as long as the block lasts; inside of another such block, that one."""
    if trio_asyncio.current_loop.get() is not None:
        yield
        return
    with unwrapped():
        async with trio_asyncio.open_loop():
            yield


# --- serving -------------------------------------------------------------------------------------


class UnixServer:
    """gRPC services on one unix socket, in two steps of shutting down: no new connections, then none at all."""

    def __init__(self, path: Path, server: LocalServer, *, group: int | None, replace: bool) -> None:
        self.path = path
        self._server = server
        self._group = group
        self._replace = replace
        self._identity: tuple[int, int] | None = None

    async def serve(self) -> None:
        """Accept until cancelled; then accept no more and remove the socket. Open connections live on."""
        try:
            await trio.sleep_forever()
        finally:
            self._server.stop_listening()
            self.remove_socket()

    async def restore(self) -> bool:
        """Make the socket anew if nothing is at its path; did we? Raises OSError when it cannot be made."""
        if not self.is_missing():
            return False
        self.path.parent.mkdir(mode=0o750, exist_ok=True)
        await self._listen()
        return True

    async def _listen(self) -> None:
        listener = _bound_socket(self.path, group=self._group, replace=self._replace)
        self._identity = _identity(self.path)
        with trio.CancelScope(shield=True):  # it does not wait for anybody, and a bound socket must find its server
            await _as_trio(self._server.listen)(listener)

    def is_missing(self) -> bool:
        """Is nothing at all at our path?"""
        return not os.path.lexists(self.path)

    def owns_socket(self) -> bool:
        """Is the file at our path still the socket we made? Not after somebody deleted or replaced it (LIM-36)."""
        return self._identity is not None and _identity(self.path) == self._identity

    def remove_socket(self) -> None:
        if self.owns_socket():
            self.path.unlink(missing_ok=True)


@asynccontextmanager
async def open_server(
    path: Path,
    services: list[Any],
    *,
    terms: Terms = Terms(),  # noqa: B008 - frozen
    group: int | None = None,
    replace: bool = False,
) -> AsyncIterator[UnixServer]:
    """Bind ``path`` (mode 0660, of ``group``, before anybody can connect) and listen; leaving the block closes all
    connections.

    With ``replace`` the socket is bound under another name and renamed: an old one gives way at one moment (PR-1).
    Raises OSError when the path cannot be bound.
    """
    server = LocalServer(services, terms)
    unix_server = UnixServer(path, server, group=group, replace=replace)
    await unix_server._listen()
    try:
        yield unix_server
    finally:
        server.stop_listening()
        unix_server.remove_socket()
        with trio.CancelScope(shield=True):
            await _as_trio(server.close_connections)()


def _bound_socket(path: Path, *, group: int | None, replace: bool) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bound = path.with_name("." + path.name[1:]) if replace else path  # no longer than the path itself
    try:
        if replace:
            bound.unlink(missing_ok=True)
        before = os.umask(0o117)  # made with the mode it shall have: at its path, somebody could put another file
        try:
            listener.bind(os.fspath(bound))
        finally:
            os.umask(before)
        if group is not None:
            os.chown(bound, -1, group, follow_symlinks=False)
        if replace:
            bound.replace(path)
    except OSError:
        listener.close()
        raise
    return listener


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISSOCK(status.st_mode) else None


async def run_handler(nursery: trio.Nursery, handle: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Called from asyncio: run ``handle(*args)`` as a child of ``nursery``, and wait for its result.

    A :class:`DeviceManagerError` becomes its status, with its text: UNKNOWN, as a Go error would (REG-5). When the
    caller hangs up, the child is cancelled. Any other exception is a bug: it also leaves through the nursery.
    """
    done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    scope = trio.CancelScope()

    def fail(status: Status, text: str) -> None:
        if not done.done():
            done.set_exception(GRPCError(status, text))

    async def child() -> None:
        try:
            with scope:
                result = await handle(*args)
                if not done.done():
                    done.set_result(result)
        except DeviceManagerError as error:
            fail(Status[error.status], str(error))
        except Exception:
            fail(Status.INTERNAL, "the manager failed; its log has the traceback")
            raise
        finally:  # also when the nursery was cancelled: nobody waits for an answer that will not come
            fail(Status.UNAVAILABLE, "the manager is shutting down")

    try:
        nursery.start_soon(child)
    except RuntimeError:  # the nursery is closed
        raise GRPCError(Status.UNAVAILABLE, "the manager is shutting down") from None
    try:
        return await done
    finally:
        scope.cancel()


@contextmanager
def kept_open(nursery: trio.Nursery) -> Iterator[None]:
    """Around the messages of a stream, each of which is a handler: the nursery lives until the last one is out."""
    finished = trio.Event()
    try:
        nursery.start_soon(finished.wait)
    except RuntimeError:
        raise GRPCError(Status.UNAVAILABLE, "the manager is shutting down") from None
    try:
        yield
    finally:
        finished.set()


# --- calling -------------------------------------------------------------------------------------


def _as_trio(function: Callable[..., Coroutine[Any, Any, T]]) -> Callable[..., Awaitable[T]]:
    wrapped: Callable[..., Awaitable[T]] = trio_asyncio.aio_as_trio(function)
    return wrapped


@asynccontextmanager
async def dial(path: Path, *, patient: bool = True, terms: Terms = Terms()) -> AsyncIterator[Channel]:  # noqa: B008
    """Connect to a unix socket. A ``patient`` caller waits for one that is missing or refuses, and sets the
    deadline (REG-7); for others that is an OSError at once. Raises PluginUnavailable when the door does not let the
    one who listens in."""
    channel = LocalChannel(os.fspath(path), terms)
    pause = DIAL_RETRY
    try:
        while True:
            try:
                peer = await _as_trio(channel.connect)()
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if not patient:
                    raise
                await trio.sleep(pause)
                pause = min(pause * 2, LONGEST_DIAL_RETRY)
            except OSError as error:
                if not patient:
                    raise
                raise PluginUnavailable(f"cannot connect to {path}: {error}") from error
        if not terms.door.connected(peer):
            raise PluginUnavailable(
                f"{path} is served by a process of user {peer.uid}, who may not serve devices here",
                outcome="PERMISSION_DENIED",
            )
        yield channel
    finally:
        channel.close()
        with trio.CancelScope(shield=True):
            await trio.lowlevel.checkpoint()


async def call(method: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
    """Make one unary call. Raises PluginUnavailable with the peer's text and the status name as outcome."""
    with translated_errors():
        return await _as_trio(method)(*args)


async def read_stream(
    method: Callable[..., AsyncIterator[T]],
    on_message: Callable[[T], None],
    *args: Any,
    hold: Callable[[], trio.Event | None] = lambda: None,
    pace: Callable[[], float] = lambda: 0.0,
    on_skipped: Callable[[int], None] = lambda count: None,
) -> None:
    """Call a streaming method and hand each message to ``on_message``, until the stream ends.

    An event that ``hold`` returns is waited for before the next message is handed over; then nothing is read either.
    ``pace`` says how many seconds too early a message is: after that wait the newest that has come by then is handed
    over, and ``on_skipped`` told how many were not. Meanwhile nothing is read, and flow control makes the peer wait.

    Returns when the peer ends it with status OK; raises PluginUnavailable when it fails. An exception of
    ``on_message`` passes through.
    """

    failures: list[Exception] = []

    async def read() -> None:
        stream = NewestOf(method(*args))
        try:
            while True:
                message = await stream.next()
                while (pause := pace()) > 0:
                    await asyncio.sleep(pause)
                    message = await stream.newer_than(message)
                while (held := hold()) is not None:
                    await trio_asyncio.trio_as_aio(held.wait)()
                try:
                    if skipped := stream.take_skipped():
                        on_skipped(skipped)
                    on_message(message)
                except Exception as error:  # ours, not the peer's: kept out of the translation
                    failures.append(error)
                    return
        except StopAsyncIteration:
            return
        finally:
            await stream.close()

    with translated_errors():
        await _as_trio(read)()
    if failures:
        raise failures[0]


class translated_errors:
    """Whatever a call raises, as PluginUnavailable: nothing of ours runs inside, and what a peer sends makes the
    libraries below raise many things. A block, not a decorator, to keep the traceback flat."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        match error:
            case GRPCError():
                text = (error.message or error.status.name)[:LONGEST_REASON]
                raise PluginUnavailable(text, outcome=error.status.name) from error
            case OSError() | StreamTerminatedError():
                raise PluginUnavailable(str(error) or type(error).__name__) from error
            case Exception():
                text = f"what it sent cannot be read: {type(error).__name__}: {error}"[:LONGEST_REASON]
                raise PluginUnavailable(text, outcome="INTERNAL") from error
