"""A Trio program in a thread of its own, for tests that are not Trio's.

    with open_portal() as portal, portal.enter(open_device_manager(directory)) as manager:
        portal.call(manager.wait_for_resource, "vendor.com/gpu")

What is called runs as a task inside the program; the caller waits for its result. A bug in there ends the program,
and everybody who waits gets it.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import trio

from ..daemon.faults import steerable_clock

T = TypeVar("T")


class Portal:
    """The way in. Made by :func:`open_portal`. Its program's clock is the real one until a fault is to steer it."""

    def __init__(self) -> None:
        self._ready: Future[trio.lowlevel.TrioToken] = Future()
        self._waiting: set[Future[Any]] = set()
        self._nursery: trio.Nursery
        self._requests, self._arrivals = trio.open_memory_channel[Callable[[], Any]](float("inf"))

    def run(self) -> None:
        """The thread's program; returns when it is asked to stop, and hands its error to everybody who waits."""
        error: BaseException = RuntimeError("the portal is closed")
        try:
            trio.run(self._serve, clock=steerable_clock())
        except BaseException as raised:  # it has no caller in this thread
            error = raised
        for future in [self._ready, *self._waiting]:
            if not future.done():
                future.set_exception(error)

    async def _serve(self) -> None:
        async with trio.open_nursery() as nursery:
            self._ready.set_result(trio.lowlevel.current_trio_token())
            async for request in self._arrivals:
                nursery.start_soon(request)

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run ``function``, async or not, inside the program; returns or raises what it does."""
        return self._submit(partial(_await_if_needed, function, *args, **kwargs)).result()

    @contextmanager
    def enter(self, manager: AbstractAsyncContextManager[T]) -> Iterator[T]:
        """Hold an async context manager open, in a task of its own, for as long as the block lasts."""
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
        value = entered.result()
        self._waiting.discard(entered)
        try:
            yield value
        finally:
            self.call(leave.set)
            left.result()

    def close(self) -> None:
        """Ask the program to end; idempotent."""
        with suppress(trio.RunFinishedError):
            self._ready.result().run_sync_soon(self._requests.close)

    def _submit(self, function: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        self._waiting.add(future)
        future.add_done_callback(self._waiting.discard)

        async def request() -> None:
            try:
                result = await function()
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        try:
            self._ready.result().run_sync_soon(self._requests.send_nowait, request)
        except trio.RunFinishedError as error:
            future.set_exception(error)
        return future


async def _await_if_needed(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    result = function(*args, **kwargs)
    return await result if inspect.isawaitable(result) else result


@contextmanager
def open_portal() -> Iterator[Portal]:
    """Run a Trio program in a thread for as long as the block lasts."""
    portal = Portal()
    thread = threading.Thread(target=portal.run, name="devicemgr", daemon=True)
    thread.start()
    try:
        yield portal
    finally:
        portal.close()
        thread.join()


class Blocking:
    """An object that lives in a portal's program, for callers outside: the same methods, without ``await``."""

    def __init__(self, portal: Portal, target: Any) -> None:
        self._portal = portal
        self._target = target

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        value = self._portal.call(getattr, self._target, name)
        return partial(self._portal.call, value) if callable(value) else value

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            self._portal.call(setattr, self._target, name, value)

    def __repr__(self) -> str:
        return f"<blocking {self._target!r}>"


class BlockingManager(Blocking):
    """A :class:`~devicemgr.DeviceManager` for tests that are not Trio's."""

    @property
    def faults(self) -> Blocking:
        return Blocking(self._portal, self._target.faults)
