"""The kubelet's Device Manager as one Trio process.

Device plug-ins register over gRPC, stream their devices, and pods are handed some of them: faithful to Kubernetes
v1.36 on the wire, on disk and in its decisions, and better where the original is known to be wrong.

    async with devicemgr.open_device_manager(root_dir=directory) as manager:
        await manager.wait_for_resource("vendor.com/gpu", allocatable=8)
        admission = await manager.admit(pod)

Without Trio: :func:`open_portal`.

Read in this order:

===========================  ======================================================================
``model`` ``events``         the words: values, and everything that can happen
``core``                     the decisions, pure: no await, no clock, no file, no log, no gRPC
``daemon.supervisor``        the nursery tree on one screen
``daemon.endpoints``         one task per registration: where a plug-in's failure stops
``daemon.admission``         who, align, allocate, fit, write; ``daemon.allocation``: plan → ask → commit
``daemon.checkpointing``     the state on disk, by one writer
``daemon.plugin_watcher``    plug-ins that want to be found
``rpc.transport``            gRPC on Trio: what an HTTP/2 connection is as a nursery
``cli``                      one file per verb
===========================  ======================================================================

Imports go one way: ``model ← errors, events ← core ← daemon ← cli`` and ``model, errors ← rpc ← daemon``. What cannot
be seen in the code, because it is absent: ``core`` has no ``async`` and knows no clock; nothing outside ``rpc``
imports grpclib, betterproto2 or asyncio; nothing outside ``yaml_text`` imports yaml; only ``daemon.trace`` and ``cli``
log; no module has a global that changes. ``tests/test_structure.py`` checks it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bounds import Bounds
    from .core.numa import Numa
    from .core.policy import Policy, Scope, Topology
    from .daemon.blocking import BlockingManager
    from .daemon.callers import Callers
    from .daemon.manager import DeviceManager
    from .daemon.portal import Portal, open_portal
    from .daemon.supervisor import open_device_manager
    from .errors import ManagerClosed, NeedsTrio
    from .model import Container, ContainerKind, Device, Pod
    from .rpc.plugin_client import Deadlines

__all__ = [
    "BlockingManager",
    "Bounds",
    "Callers",
    "Container",
    "ContainerKind",
    "Deadlines",
    "Device",
    "DeviceManager",
    "ManagerClosed",
    "NeedsTrio",
    "Numa",
    "Pod",
    "Policy",
    "Portal",
    "Scope",
    "Topology",
    "open_device_manager",
    "open_portal",
]

# Imported when they are asked for (PEP 562): ``--help`` and a pytest run that needs no manager must not pay for gRPC.
_HOME = {
    **dict.fromkeys(("Container", "ContainerKind", "Device", "Pod"), "model"),
    **dict.fromkeys(("Policy", "Scope", "Topology"), "core.policy"),
    "Bounds": "bounds",
    "Callers": "daemon.callers",
    "Numa": "core.numa",
    "Deadlines": "rpc.plugin_client",
    "DeviceManager": "daemon.manager",
    **dict.fromkeys(("ManagerClosed", "NeedsTrio"), "errors"),
    **dict.fromkeys(("Portal", "open_portal"), "daemon.portal"),
    "BlockingManager": "daemon.blocking",
    "open_device_manager": "daemon.supervisor",
}


if not TYPE_CHECKING:  # a type checker sees the names above, and no others

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
