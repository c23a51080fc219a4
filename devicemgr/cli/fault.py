"""``fault``: injects a fault into a daemon that was started with ``--allow-faults``.

The commands are generated from the methods of :class:`~devicemgr.daemon.faults.actions.Faults`: a required parameter
is an argument, one with a default is an option, and the first line of the docstring is the help.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import click
import trio

from ..daemon.faults.actions import FAULTS
from ..input.yaml_fields import nearest
from ..model import INJECTED_ERROR, Fault
from ..rpc.admin.client import ManagerClient, wait_for_manager
from ..rpc.deviceplugin.methods import METHODS, Method, unary
from .shared.ask import ask
from .shared.group import Group
from .shared.parameters import Number, Seconds, admin_socket, root_dir_option

_MOST = 1_000_000
"""Seconds, or calls. More is a slip, such as a number of nanoseconds."""
_OPTIONS: dict[str, Callable[..., Any]] = {
    "delay": click.option(
        "--delay", type=Seconds(0, _MOST), default=0.0, metavar="SECONDS", help="Time until it serves again."
    ),
    "times": click.option("--times", type=Number(1, _MOST), default=1, show_default=True, help="How many calls."),
    "resource": click.option("--resource", default="", metavar="NAME", help="Only calls to this resource's plug-in."),
    "error": click.option(
        "--error", default=INJECTED_ERROR, metavar="MESSAGE", show_default=True, help="The error's message."
    ),
}


def fault_group(methods: Iterable[Method] = METHODS) -> click.Group:
    """The verb; ``methods`` are those that can be delayed or fail."""

    @click.group("fault", cls=Group)
    @root_dir_option
    def command(root_dir: Path | None) -> None:
        """Break something in a running manager, to see what a plug-in does then.

        For a manager that was started with --allow-faults.
        """

    arguments: dict[str, Callable[..., Any]] = {
        "call": click.argument("call", type=click.Choice(list(unary(methods)))),
        "resource": click.argument("resource", metavar="RESOURCE"),
        "seconds": click.argument("seconds", type=Seconds(0, _MOST), metavar="SECONDS"),
    }
    for name, method in FAULTS.items():
        function: Callable[..., Any] = partial(_restart if name == "restart" else _inject, name)
        for parameter in list(inspect.signature(method).parameters.values())[:0:-1]:
            required = parameter.default is inspect.Parameter.empty
            function = (arguments if required else _OPTIONS)[parameter.name](function)
        summary, *_ = inspect.cleandoc(method.__doc__ or "").splitlines()
        command.command(name, help=summary)(root_dir_option(function))
    return command


def _inject(name: str, root_dir: Path | None, **fields: Any) -> None:
    """A plug-in of the resource may register later, so for a misspelt one there is only a warning."""
    fault = Fault(name=name, **fields)

    async def send(client: ManagerClient) -> None:
        known = (await client.status())[0] if fault.resource else {}
        hint = "" if fault.resource in known else nearest(fault.resource, known)
        if hint:
            click.echo(f"warning: there is no {fault.resource}{hint}", err=True)
        await client.inject(fault)

    ask(root_dir, send)


def _restart(name: str, root_dir: Path | None, delay: float) -> None:
    """Returns when the manager serves again."""

    async def restart(client: ManagerClient) -> None:
        await client.restart(delay=delay)

    ask(root_dir, restart)
    trio.run(partial(wait_for_manager, admin_socket(root_dir), seconds=delay + 15))


command = fault_group()
