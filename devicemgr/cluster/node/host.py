"""What the machine says of itself, for the Node."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path

from ..objects.lease import holder_identity
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


def holder(root: Path) -> str:
    """Who an agent is in the Lease of its node: the same after a restart, and nobody else's."""
    found, place = read_machine(), root.stat()
    return holder_identity(
        host=socket.gethostname(),
        machine=_fingerprint(found),
        boot=found.boot_id[:8],
        root=str(root),
        directory=f"{place.st_dev}-{place.st_ino}",
    )


def _fingerprint(found: Machine) -> str:
    """The same after a reboot, and that of no other machine; empty if this one has no id. Images of containers have
    none, or say "uninitialized". Copies of a virtual machine have one together; their UUIDs differ, which only root may
    read."""
    if not re.fullmatch("[0-9a-f]{32}", found.machine_id):
        return ""
    return hashlib.sha256(f"{found.machine_id}/{found.system_uuid}".encode()).hexdigest()[:8]


def own_address(server: str, port: int) -> str:
    """The address from which this machine speaks to the server; loopback if there is no way to it. Nothing is sent."""
    with suppress(OSError):
        for family, kind, protocol, _, place in socket.getaddrinfo(server, port, type=socket.SOCK_DGRAM):
            with suppress(OSError), socket.socket(family, kind, protocol) as probe:
                probe.connect(place)
                address: str = probe.getsockname()[0]
                return address.partition("%")[0]  # without the interface of a link-local one
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
