"""What the machine says of itself, for the Node."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path

from ..objects.node_info import Machine

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
"""Go's names, where they are not those of the kernel."""


@cache
def read_machine() -> Machine:
    """Read once; nothing of it changes while a program runs."""
    kernel = os.uname()
    return Machine(
        architecture=_ARCHITECTURES.get(kernel.machine, kernel.machine),
        kernel_version=kernel.release,
        os_image=_os_image(),
        machine_id=_line("/etc/machine-id"),
        system_uuid=_line("/sys/class/dmi/id/product_uuid"),
        boot_id=_line("/proc/sys/kernel/random/boot_id"),
    )


def own_address(server: str, port: int) -> str:
    """The address from which this machine speaks to the server; loopback if there is no way to it. Nothing is sent."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((server, port))
        address: str = probe.getsockname()[0]
        return address
    return "127.0.0.1"


def _os_image() -> str:
    for line in _text("/etc/os-release").splitlines():
        key, _, value = line.partition("=")
        if key == "PRETTY_NAME":
            return value.strip('"')
    return "Linux"


def _line(path: str) -> str:
    return _text(path).strip()


def _text(path: str) -> str:
    """Empty if it may not be read, or is not there."""
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
