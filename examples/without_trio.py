"""The Device Manager in a program that is not Trio's: plain code, and then asyncio. A portal runs it in a thread."""

import asyncio
import tempfile

from devicemgr import BlockingManager, open_device_manager, open_portal
from devicemgr.testing import open_simulated_plugin

GPU = "vendor.com/gpu"


def job(name: str) -> dict[str, object]:
    """The manifest of a pod that wants one device."""
    container = {"name": "main", "resources": {"limits": {GPU: 1}}}
    return {"kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container]}}


def plain(manager: BlockingManager) -> None:
    """Any thread may call; the methods are those of a DeviceManager, without ``await``."""
    admission = manager.admit(job("first"))
    print("plain:", admission.containers[0].devices)


async def on_asyncio(manager: BlockingManager) -> None:
    """The same methods, each in a thread of its own, so that the loop goes on."""
    both = await asyncio.gather(*(asyncio.to_thread(manager.admit, job(name)) for name in ("second", "third")))
    print("asyncio:", sum(admission.admitted for admission in both), "more")


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, open_portal() as portal:
        with portal.manager(open_device_manager(directory)) as manager:
            # A real plug-in would register by itself. This one lives in the portal's program, as the manager does.
            with portal.enter(open_simulated_plugin(manager.layout.plugins, GPU, devices=4)) as plugin:
                portal.call(plugin.register)
                manager.wait_for_resource(GPU, allocatable=4)
                plain(manager)
                asyncio.run(on_asyncio(manager))
                print(manager.wait_for_resource(GPU))


main()
