"""``unshare -m python -m tests.end_to_end.mounted_over ROOT``: a file system is mounted over the plug-ins' directory
of a manager that runs, goes again, and kubelet.sock serves each time. The clock jumps, so nobody waits."""

from __future__ import annotations

import sys
from pathlib import Path

import trio
import trio.testing

from devicemgr import Container, Pod, open_device_manager
from devicemgr.rpc.transport.unix_socket import connect
from devicemgr.testing import open_registered_plugin

GPU = "vendor.com/gpu"


async def serves(path, what):
    with trio.fail_after(130):
        while True:
            try:
                connect(path).close()
                break
            except OSError:
                await trio.sleep(1)
    print(what, flush=True)


async def main(root):
    plugins = root / "device-plugins"
    async with open_device_manager(root) as manager, open_registered_plugin(manager, GPU):
        await manager.admit(Pod(name="a", uid="a", containers=(Container(name="c", limits={GPU: 1}),)))
        await trio.run_process(["mount", "-t", "tmpfs", "tmpfs", plugins])
        await serves(plugins / "kubelet.sock", "serves while something is mounted over it")
        await trio.run_process(["umount", "-l", plugins])
        await serves(plugins / "kubelet.sock", "serves when that is gone")
    async with open_device_manager(root) as manager:
        print("remembers", *(pod.name for pod in manager.pods()))


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), clock=trio.testing.MockClock(autojump_threshold=0.01))
