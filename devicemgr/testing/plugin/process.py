"""Plug-ins for a test, registered when the block begins: simulated ones, and programs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio

from ...arguments import Count, Seconds, checked
from ...concurrency.exception_groups import collapse_exception_group
from ...concurrency.trio_program import require_trio
from ...daemon.manager import DeviceManager
from ...errors import ResourceWaitTimeout
from ...model import Device
from ...resource_names import ExtendedResource
from ..conformance.subject.command import POLL, Command, SubjectUnusable
from ..conformance.subject.interface import open_subject
from .simulated import SimulatedPlugin, open_simulated_plugin

WAIT = 30.0
"""Seconds a plug-in has to start, to register and to send its first list: as long as ``check`` waits for it."""


@checked
@asynccontextmanager
async def open_registered_plugin(
    manager: DeviceManager,
    resource: ExtendedResource,
    *,
    devices: Count | Iterable[Device] = 1,
    timeout: Seconds = WAIT,  # noqa: ASYNC109 - as wait_for_resource has it
    **options: Any,
) -> AsyncIterator[SimulatedPlugin]:
    """A simulated plug-in that is registered, and registers again when the manager restarts.

    ``options`` are those of :func:`open_simulated_plugin`. Raises ResourceWaitTimeout.
    """
    require_trio("open_registered_plugin")
    with collapse_exception_group():
        async with (
            open_simulated_plugin(manager.layout.plugins, resource, devices=devices, **options) as plugin,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(plugin.keep_registered)
            await manager.wait_for_resource(resource, timeout=timeout)
            yield plugin
            nursery.cancel_scope.cancel()


@checked
@asynccontextmanager
async def open_plugin_process(
    manager: DeviceManager,
    argv: Sequence[str],
    resource: ExtendedResource,
    *,
    capacity: Count | None = None,
    allocatable: Count | None = None,
    timeout: Seconds = WAIT,  # noqa: ASYNC109 - as wait_for_resource has it
    **options: Any,
) -> AsyncIterator[Command]:
    """Start a plug-in's program and wait until its resource is published. Leaving the block kills the program.

    ``{dir}`` and ``{socket}`` in ``argv`` are replaced; ``options`` are those of
    :class:`~devicemgr.testing.conformance.Command`. Raises SubjectUnusable, also as soon as the program ends, or
    ResourceWaitTimeout; both show the program's output.
    """
    require_trio("open_plugin_process")
    process = Command(argv, **options)
    async with open_subject(process):
        await process.start(manager.layout.plugins)
        is_published = False
        try:
            with collapse_exception_group():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_cancel_at_end, process, nursery.cancel_scope)
                    await manager.wait_for_resource(
                        resource, capacity=capacity, allocatable=allocatable, timeout=timeout
                    )
                    is_published = True
                    nursery.cancel_scope.cancel()
        except ResourceWaitTimeout as error:
            raise ResourceWaitTimeout(f"{error}\nwhat {argv[0]} wrote:\n{process.output}") from None
        if not is_published:
            ended = f"{argv[0]} has ended, {process.unexpected_exit}, before {resource} was published as expected"
            raise SubjectUnusable(f"{ended}\nwhat it wrote:\n{process.output}")
        yield process


async def _cancel_at_end(process: Command, scope: trio.CancelScope) -> None:
    while process.unexpected_exit is None or process.is_running:  # noqa: ASYNC110 - the processes it has started have no event
        await trio.sleep(POLL)
    scope.cancel()
