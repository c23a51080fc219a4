"""The Device Manager inside a Trio program: start it, wait for devices, admit a pod."""

import tempfile

import trio

import devicemgr
from devicemgr.testing import open_simulated_plugin


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with devicemgr.open_device_manager(root_dir=directory) as manager:
            # A real plug-in would register by itself; it only has to know the directory.
            async with open_simulated_plugin(manager.layout.plugins, "vendor.com/gpu", devices=8) as plugin:
                await plugin.register()
                await manager.wait_for_resource("vendor.com/gpu", allocatable=8)

                container = devicemgr.Container(name="main", limits={"vendor.com/gpu": 2})
                pod = devicemgr.Pod(name="job", uid="1", containers=(container,))
                admission = await manager.admit(pod)

                print(admission.containers[0].devices)
                print(manager.capacity()["vendor.com/gpu"])


trio.run(main)
