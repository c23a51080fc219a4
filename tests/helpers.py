"""What tests in many places need: a pod, and to wait until something has happened."""

from __future__ import annotations

from devicemgr import Container, Pod

GPU, NIC = "vendor.com/gpu", "vendor.com/nic"


def pod(name="p", *containers, **limits):
    """A pod with these containers; or with one called main and its limits: ``pod("a", gpu=2, nic=1)``, or by their
    whole names; or one GPU."""
    if not containers:
        wanted = {name if "/" in name else f"vendor.com/{name}": n for name, n in (limits or {"gpu": 1}).items()}
        containers = (Container(name="main", limits=wanted),)
    return Pod(name=name, uid=name, containers=containers)


async def until(manager, condition):
    """Wait until it holds; it is looked at again after each event."""
    sequence = 0
    while not condition():
        sequence, _ = (await manager.events_after(sequence, wait=True))[-1]
