"""A Trio program in a thread of its own, for programs that do not use Trio: plain ones, and those on asyncio.

    with open_portal() as portal, portal.manager(open_device_manager(directory)) as manager:
        manager.wait_for_resource("vendor.com/gpu", allocatable=8)
        admission = manager.admit(pod)

A call runs as a task of the Trio program, while the caller's thread waits for its result. On asyncio, call from
``asyncio.to_thread``, or await ``asyncio.wrap_future(portal.submit(…))``, which can be cancelled. A bug in the Trio
program ends it, and all callers that wait get the exception.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar, overload

import trio

from ...arguments import checked
from ...errors import ManagerClosed
from ..faults.actions import mock_clock
from ..manager import DeviceManager
from .blocking import BlockingManager

T = TypeVar("T")
P = ParamSpec("P")


class Portal:
    """Calls into the Trio program, from any thread but its own. Made by :func:`open_portal`."""

    def __init__(self, clock: trio.abc.Clock | None) -> None:
        self._clock = clock
        self._ready: Future[trio.lowlevel.TrioToken] = Future()
        self._waiting: set[Future[Any]] = set()
        self._requests, self._arrivals = trio.open_memory_channel[Callable[[], Any]](float("inf"))
        self._thread = threading.Thread(target=self._run, name="devicemgr", daemon=True)

    # --- for callers -----------------------------------------------------------------------------

    @overload
    def call(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T: ...
    @checked
    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run ``function``, async or not, in the program; returns what it returns, and raises what it raises.

        Raises ManagerClosed when the portal is closed, also during the call.
        """
        return self.submit(function, *args, **kwargs).result()

    @overload
    def submit(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...
    @overload
    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...
    @checked
    def submit(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
        """The same without waiting. Cancelling the future cancels the call."""
        return self._submit(partial(_await_if_needed, function, *args, **kwargs))

    @checked
    @contextmanager
    def enter(self, manager: AbstractAsyncContextManager[T]) -> Iterator[T]:
        """Enter an async context manager in a task of its own, and exit it at the end of the block.

        Its value belongs to the program: use it through :meth:`call`.
        """
        entered: Future[T] = Future()
        self._waiting.add(entered)
        leave = trio.Event()

        async def hold() -> None:
            try:
                async with manager as value:
                    entered.set_result(value)
                    await leave.wait()
            except Exception as error:
                if entered.done():
                    raise
                entered.set_exception(error)

        left = self._submit(hold)
        left.add_done_callback(partial(_hand_on_failure, entered))
        try:
            value = entered.result()
        finally:
            self._waiting.discard(entered)
        try:
            yield value
        finally:
            with suppress(ManagerClosed):  # the exception that ended the program says more
                self.call(leave.set)
            left.result()

    @checked
    @contextmanager
    def manager(self, opened: AbstractAsyncContextManager[DeviceManager]) -> Iterator[BlockingManager]:
        """Open what :func:`devicemgr.open_device_manager` returns, for as long as the block lasts; its methods are
        called without ``await``."""
        with self.enter(opened) as manager:
            yield BlockingManager(self, manager)

    # --- the program -------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Cancel what still runs, and return when the program has ended."""
        with suppress(trio.RunFinishedError):
            self._ready.result().run_sync_soon(self._requests.close)
        self._thread.join()

    def _run(self) -> None:
        """Run the program; all callers that wait get its exception."""
        error: BaseException = _closed()
        try:
            trio.run(self._serve, clock=self._clock)
        except BaseException as raised:  # there is no caller in this thread
            error = raised
        for future in [self._ready, *self._waiting]:
            _settle(future, error=error)

    async def _serve(self) -> None:
        async with trio.open_nursery() as nursery:
            self._ready.set_result(trio.lowlevel.current_trio_token())
            async for request in self._arrivals:
                nursery.start_soon(request)
            nursery.cancel_scope.cancel()

    def _submit(self, function: Callable[[], Awaitable[T]]) -> Future[T]:
        if threading.current_thread() is self._thread:
            raise RuntimeError("this is the portal's own thread, which would wait for itself: await the method instead")
        future: Future[T] = Future()
        scope = trio.CancelScope()
        self._waiting.add(future)

        async def request() -> None:
            try:
                with scope:
                    _settle(future, result=await function())
            except Exception as error:
                _settle(future, error=error)

        def arrive() -> None:
            try:
                self._requests.send_nowait(request)
            except trio.ClosedResourceError:
                _settle(future, error=_closed())

        def done(future: Future[T]) -> None:
            self._waiting.discard(future)
            if future.cancelled():
                with suppress(trio.RunFinishedError):
                    self._ready.result().run_sync_soon(scope.cancel)

        future.add_done_callback(done)
        try:
            self._ready.result().run_sync_soon(arrive)
        except trio.RunFinishedError:
            _settle(future, error=_closed())
        return future


def _closed() -> ManagerClosed:
    return ManagerClosed("the portal is closed, and with it every manager that was opened through it")


def _settle(future: Future[Any], *, result: Any = None, error: BaseException | None = None) -> None:
    """Set the result or exception, unless another thread has just cancelled the future."""
    with suppress(InvalidStateError):
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


def _hand_on_failure(entered: Future[Any], left: Future[None]) -> None:
    """The task that was to enter the context manager has failed: a caller that still waits gets its exception."""
    if (error := left.exception()) is not None:
        _settle(entered, error=error)


async def _await_if_needed(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    result = function(*args, **kwargs)
    return await result if inspect.isawaitable(result) else result


@checked
@contextmanager
def open_portal(*, use_mock_clock: bool = False) -> Iterator[Portal]:
    """Run a Trio program in a thread for as long as the block lasts. With ``use_mock_clock``, faults can stop and
    advance its clock."""
    portal = Portal(mock_clock() if use_mock_clock else None)
    portal.start()
    try:
        yield portal
    finally:
        portal.close()
