"""Calls to a running manager, for the verbs that make them."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import click
import trio

from ...concurrency.exception_groups import collapse_exception_group
from ...errors import ManagerUnavailable
from ...input.yaml_fields import nearest
from ...rpc.admin.client import ManagerClient, connect_manager
from ..terminal.signals import until_interrupted
from ..terminal.standard_output import until_reader_is_gone
from .parameters import admin_socket, root_of

T = TypeVar("T")

RECONNECT_PAUSE = 0.2
"""Seconds, so that one who accepts and hangs up is not asked all the time."""


def ask(root_dir: Path | None, question: Callable[[ManagerClient], Awaitable[T]]) -> T:
    """Run ``question`` with a client of the manager of ``root_dir``. Raises ManagerUnavailable, with advice."""
    reached = False

    async def connected() -> T:
        nonlocal reached
        async with connect_manager(admin_socket(root_dir)) as client:
            reached = True
            return await question(client)

    try:
        return trio.run(connected)
    except ManagerUnavailable as error:
        if reached:
            raise
        raise _with_advice(error, root_dir) from error


def ask_without_end(root_dir: Path | None, question: Callable[[ManagerClient], Awaitable[None]]) -> None:
    """The same for a question that ends with the manager only. Then the next manager is asked, and standard error says
    so: until the user interrupts it, or the reader of its output is gone."""
    run_until_interrupted(partial(_ask_each, root_dir, question))


async def _ask_each(root_dir: Path | None, question: Callable[[ManagerClient], Awaitable[None]]) -> None:
    socket, reached, said = admin_socket(root_dir), False, ""
    while True:
        end = f"the manager on {socket} has ended or restarts"
        try:
            async with connect_manager(socket, wait_for_ready=reached) as client:
                if reached:
                    await client.ping()  # the kernel connects to a manager that hangs, too
                    click.echo(f"a manager is on {socket} again", err=True)
                reached, said = True, ""
                await question(client)
        except ManagerUnavailable as error:
            if not reached:
                raise _with_advice(error, root_dir) from error
            end = str(error)
        if end != said:  # one that hangs is asked again and again
            click.echo(f"{end}; waiting for the next one", err=True)
        said = end
        await trio.sleep(RECONNECT_PAUSE)


def _with_advice(error: ManagerUnavailable, root_dir: Path | None) -> ManagerUnavailable:
    return ManagerUnavailable(f"{error}\nStart one with: python -m devicemgr --root-dir {root_of(root_dir)}")


def run_until_interrupted(work: Callable[[], Awaitable[None]]) -> None:
    """Run ``work`` until it ends, or the user interrupts it. Raises BrokenPipeError as soon as the reader of standard
    output is gone."""
    with collapse_exception_group():
        trio.run(until_interrupted, partial(_while_output_is_read, work))


async def _while_output_is_read(work: Callable[[], Awaitable[None]]) -> None:
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
