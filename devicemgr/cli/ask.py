"""Calls to a running manager, for the verbs that make them."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio

from ..errors import ManagerUnavailable, collapse_exception_group
from ..rpc.admin.client import ManagerClient, connect_manager
from ..yaml_fields import nearest
from . import admin_socket, root_of
from .standard_output import until_reader_is_gone

T = TypeVar("T")


def ask(root_dir: Path | None, question: Callable[[ManagerClient], Awaitable[T]]) -> T:
    """Run ``question`` with a client of the manager of ``root_dir``. Raises ManagerUnavailable, with advice."""
    socket = admin_socket(root_dir)
    reached = False

    async def connected() -> T:
        nonlocal reached
        async with connect_manager(socket) as client:
            reached = True
            return await question(client)

    try:
        return trio.run(connected)
    except ManagerUnavailable as error:
        if reached:
            raise
        raise ManagerUnavailable(
            f"{error}\nStart one with: python -m devicemgr --root-dir {root_of(root_dir)}"
        ) from error


def ask_without_end(root_dir: Path | None, question: Callable[[ManagerClient], Awaitable[None]]) -> None:
    """The same for one without an end: until it is interrupted, or the reader of its output is gone."""
    with until_interrupted():
        ask(root_dir, lambda client: while_output_is_read(partial(question, client)))


@contextmanager
def until_interrupted() -> Iterator[None]:
    """Around a program that the user ends."""
    with suppress(KeyboardInterrupt), collapse_exception_group():
        yield


async def while_output_is_read(work: Callable[[], Awaitable[None]]) -> None:
    """Run ``work`` until it ends. Raises BrokenPipeError as soon as the reader of standard output is gone."""
    is_read = True

    async def watch_reader() -> None:  # it raises nothing, since a write may fail in the same moment
        nonlocal is_read
        await until_reader_is_gone()
        is_read = False
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch_reader)
        await work()
        nursery.cancel_scope.cancel()
    if not is_read:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


async def did_you_mean(client: ManagerClient, namespace: str, name: str) -> str:
    """``; did you mean …?`` for the end of a message, if the node has a pod with a similar name."""
    _, pods, _ = await client.status()
    return nearest(f"{namespace}/{name}", [f"{pod.namespace}/{pod.name}" for pod in pods])
