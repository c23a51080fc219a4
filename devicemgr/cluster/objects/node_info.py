"""What a Node says of its machine."""

from __future__ import annotations

from dataclasses import dataclass

from .metadata import Object


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What its kernel says of itself. What is not known is empty."""

    architecture: str
    """As Go calls it: amd64, arm64."""
    kernel_version: str = ""
    os_image: str = ""
    machine_id: str = ""
    system_uuid: str = ""
    boot_id: str = ""


def node_info(machine: Machine, *, kubelet_version: str, version: str) -> Object:
    """``kubelet_version`` is that of the kubelet which the node is like; ``version`` is our own."""
    return {
        "architecture": machine.architecture,
        "operatingSystem": "linux",
        "kernelVersion": machine.kernel_version,
        "osImage": machine.os_image,
        "machineID": machine.machine_id,
        "systemUUID": machine.system_uuid,
        "bootID": machine.boot_id,
        # The part after the dash says that this is no kubelet; what compares versions does not look at it.
        "kubeletVersion": f"v{kubelet_version}-devicemgr",
        "kubeProxyVersion": "",
        "containerRuntimeVersion": f"devicemgr://{version}",
    }
