"""Does a server listen on a socket?"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from ....daemon.layout import Layout, checked_endpoint, endpoint_of_found
from ....errors import RegistrationRefused
from ....events import Event, PluginDiscovered, RegistrationRequested
from ....rpc.transport.unix_socket import Place


def is_announced_socket_served(layout: Layout, event: Event) -> bool:
    """When a plug-in announces itself: does it listen on the socket that it names?"""
    try:
        match event:
            case PluginDiscovered(path=path, endpoint=endpoint):
                return is_listening(endpoint_of_found(layout, Path(path), endpoint))
            case RegistrationRequested(endpoint=endpoint):
                return is_listening(checked_endpoint(layout.plugins, endpoint)[1])
    except RegistrationRefused:
        pass
    return False


def place_at(path: Path) -> Place:
    real = path.resolve()
    return Place(real.parent, Path(real.name))


def is_listening(place: Place) -> bool:
    """Connect, and close the connection at once."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        try:
            with place.opened() as plugin:
                probe.connect(os.fspath(plugin))
        except OSError:
            return False
    return True
