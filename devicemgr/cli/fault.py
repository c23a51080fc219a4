"""``fault``: something goes wrong on purpose, in a daemon that was started with ``--allow-faults``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import trio

from ..daemon.faults.injection import CALLS
from ..model import Fault
from ..rpc.admin.client import ManagerClient, wait_for_manager
from ..yaml_fields import nearest
from . import Group, Seconds, admin_socket, root_dir_option
from .ask import ask

_KIND = click.argument("call", type=click.Choice(list(CALLS)))
_RESOURCE = click.argument("resource", metavar="RESOURCE")
_SECONDS = click.argument("seconds", type=Seconds(0), metavar="SECONDS")
_TIMES = click.option("--times", type=click.IntRange(1), default=1, show_default=True, help="How many calls.")
_OF = click.option("--resource", default="", help="Only calls to the plug-in of this resource.")


@click.group("fault", cls=Group)
@root_dir_option
def command(root_dir: Path | None) -> None:
    """Break something in a running manager, to see what a plug-in does then.

    For a manager that was started with --allow-faults.
    """


def _verb(name: str) -> Callable[[Callable[..., None]], click.Command]:
    """A fault of that name; its function gets ``root_dir`` first."""

    def decorate(function: Callable[..., None]) -> click.Command:
        return command.command(name)(root_dir_option(function))

    return decorate


def _inject(root_dir: Path | None, fault: Fault) -> None:
    """A resource may also be one that is still to come, so a misspelt one is only warned of."""

    async def send(client: ManagerClient) -> None:
        known = (await client.status())[0] if fault.resource else {}
        hint = "" if fault.resource in known else nearest(fault.resource, known)
        if hint:
            click.echo(f"warning: there is no {fault.resource}{hint}", err=True)
        await client.inject(fault)

    ask(root_dir, send)


@_verb("restart")
@click.option("--delay", type=Seconds(0), default=0.0, metavar="SECONDS", help="Time until it is back.")
def restart(root_dir: Path | None, delay: float) -> None:
    """Restart as the kubelet does: all sockets are removed and created again. Returns when it serves again."""

    async def restarted(client: ManagerClient) -> None:
        await client.restart(delay=delay)

    ask(root_dir, restarted)
    trio.run(partial(wait_for_manager, admin_socket(root_dir), seconds=delay + 15))


@_verb("wipe")
def wipe(root_dir: Path | None) -> None:
    """Remove every socket in device-plugins/; kubelet.sock is created again within a second."""
    _inject(root_dir, Fault(name="wipe"))


@_verb("drop-connection")
@_RESOURCE
def drop_connection(root_dir: Path | None, resource: str) -> None:
    """Cut the connection to the plug-in that serves RESOURCE."""
    _inject(root_dir, Fault(name="drop-connection", resource=resource))


@_verb("stop-reading")
@_RESOURCE
def stop_reading(root_dir: Path | None, resource: str) -> None:
    """Take no more lists of RESOURCE, without closing the stream."""
    _inject(root_dir, Fault(name="stop-reading", resource=resource))


@_verb("resume-reading")
@_RESOURCE
def resume_reading(root_dir: Path | None, resource: str) -> None:
    """Read on."""
    _inject(root_dir, Fault(name="resume-reading", resource=resource))


@_verb("refuse-registrations")
@_TIMES
@_OF
def refuse_registrations(root_dir: Path | None, times: int, resource: str) -> None:
    """Refuse the next calls of Register, as if the plug-in could not be dialled."""
    _inject(root_dir, Fault(name="refuse-registrations", times=times, resource=resource))


@_verb("accept-registrations")
def accept_registrations(root_dir: Path | None) -> None:
    """Refuse none of those that have not come yet."""
    _inject(root_dir, Fault(name="accept-registrations"))


@_verb("refuse-same-socket")
def refuse_same_socket(root_dir: Path | None) -> None:
    """Refuse a socket that registers again while its stream is open, as v1.37 does."""
    _inject(root_dir, Fault(name="refuse-same-socket"))


@_verb("accept-same-socket")
def accept_same_socket(root_dir: Path | None) -> None:
    """Take it for a replacement again."""
    _inject(root_dir, Fault(name="accept-same-socket"))


@_verb("delay-calls")
@_KIND
@_SECONDS
@_TIMES
@_OF
def delay_calls(root_dir: Path | None, call: str, seconds: float, times: int, resource: str) -> None:
    """The next calls of a kind take SECONDS longer; their deadlines stay."""
    _inject(root_dir, Fault(name="delay-calls", call=call, seconds=seconds, times=times, resource=resource))


@_verb("fail-calls")
@_KIND
@_TIMES
@_OF
@click.option("--error", default="a fault on purpose", show_default=True, help="What the plug-in is taken to say.")
def fail_calls(root_dir: Path | None, call: str, times: int, resource: str, error: str) -> None:
    """The next calls of a kind fail."""
    _inject(root_dir, Fault(name="fail-calls", call=call, times=times, resource=resource, error=error))


@_verb("expire-grace")
def expire_grace(root_dir: Path | None) -> None:
    """The grace period of every stopped plug-in is over."""
    _inject(root_dir, Fault(name="expire-grace"))


@_verb("corrupt-checkpoint")
def corrupt_checkpoint(root_dir: Path | None) -> None:
    """Damage one byte of the checkpoint on disk. A restart will find it."""
    _inject(root_dir, Fault(name="corrupt-checkpoint"))


@_verb("freeze-clock")
def freeze_clock(root_dir: Path | None) -> None:
    """Time stands still in the manager."""
    _inject(root_dir, Fault(name="freeze-clock"))


@_verb("resume-clock")
def resume_clock(root_dir: Path | None) -> None:
    """Time goes on."""
    _inject(root_dir, Fault(name="resume-clock"))


@_verb("advance-clock")
@_SECONDS
def advance_clock(root_dir: Path | None, seconds: float) -> None:
    """It is SECONDS later in the manager, at once."""
    _inject(root_dir, Fault(name="advance-clock", seconds=seconds))
