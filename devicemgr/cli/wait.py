"""``wait``: for scripts that start a manager or a plug-in, and continue when its devices are there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import click
import trio

from ..errors import ManagerUnavailable, ResourceWaitTimeout
from ..input.yaml_fields import nearest
from ..model import ResourceCounts, ResourceName
from ..rpc.admin.client import connect_manager
from .shared.parameters import Number, Seconds, admin_socket, read_resource, root_dir_option

LOOK_PERIOD = 0.1
"""Seconds between two looks."""


@click.command("wait")
@root_dir_option
@click.argument("resource", callback=read_resource)
@click.option("--capacity", type=Number(0), help="How many devices there must be.  [default: any number]")
@click.option("--allocatable", type=Number(0), help="How many of them must be healthy.  [default: any number]")
@click.option("--timeout", type=Seconds(0, min_open=True), default=30.0, show_default=True, metavar="SECONDS")
def command(
    root_dir: Path | None, resource: str, capacity: int | None, allocatable: int | None, timeout: float
) -> None:
    """Wait until RESOURCE has exactly the given number of devices; without numbers, until a plug-in serves it, or the
    node has it.

    It also waits for a manager that is not there yet, or restarts. Exit status 1 when the time is over, 3 if
    there was no manager all that time.
    """
    wanted = {key: n for key, n in (("capacity", capacity), ("allocatable", allocatable)) if n is not None}
    waited = _Wait(ResourceName(resource), wanted or {"endpoint": "serving"})
    socket = admin_socket(root_dir)
    trio.run(waited.until_reached, socket, timeout)
    if waited.last is None:
        raise ManagerUnavailable(f"no manager was reachable on {socket} within {timeout:g} s")
    if not waited.is_reached():
        raise ResourceWaitTimeout(f"{resource} did not reach {_words(waited.wanted)} within {timeout:g} s: {waited}")
    click.echo(f"{resource}: {waited}")


@dataclasses.dataclass(slots=True)
class _Wait:
    """``last`` is the state of the manager when it was last asked."""

    resource: ResourceName
    wanted: Mapping[str, int | str]
    last: Mapping[ResourceName, ResourceCounts] | None = None

    async def until_reached(self, socket: Path, seconds: float) -> None:
        with trio.move_on_after(seconds):
            while not self.is_reached():
                with suppress(ManagerUnavailable):
                    await self._look(socket)
                await trio.sleep(LOOK_PERIOD)

    async def _look(self, socket: Path) -> None:
        async with connect_manager(socket) as client:
            while not self.is_reached():
                self.last = (await client.status())[0]
                await trio.sleep(LOOK_PERIOD)

    def is_reached(self) -> bool:
        counts = self.last and self.last.get(self.resource)
        return bool(counts) and all(
            getattr(counts, key) == value or getattr(counts, key) == "node" for key, value in self.wanted.items()
        )

    def __str__(self) -> str:
        known = self.last or {}
        if self.resource in known:
            return known[self.resource].in_words()
        return f"there is no such resource{nearest(self.resource, known) or f'; there are {_listed(known)}'}"


def _words(values: Mapping[str, int | str]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _listed(known: Mapping[ResourceName, ResourceCounts]) -> str:
    return ", ".join(known) or "none"
