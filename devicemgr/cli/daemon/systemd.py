"""sd_notify(3), for a systemd unit of ``Type=notify``."""

from __future__ import annotations

import os
import socket

import click

from ...daemon.event_log import RecordedEvent
from ...events import ManagerReady


def notify(state: str) -> None:
    """Send ``READY=1`` or ``STOPPING=1`` to the service manager, if ``NOTIFY_SOCKET`` is set."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(state.encode(), address)
    except OSError as error:  # systemd may kill the daemon because of that
        click.echo(f"warning: systemd could not be notified of {state}: {error}", err=True)


def notify_when_ready(recorded: RecordedEvent) -> None:
    """A sink of the event log."""
    if isinstance(recorded.event, ManagerReady):
        notify("READY=1")
