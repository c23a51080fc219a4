"""A node as a process that can be killed: ``python -m tests.cluster.chaos_agent ROOT KUBECONFIG NAME TRACE``."""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from devicemgr import open_device_manager
from devicemgr.cluster.api.client import open_api_client
from devicemgr.cluster.api.kubeconfig import find_connection
from devicemgr.cluster.node.agent import open_node
from devicemgr.cluster.node.options import NodeOptions
from devicemgr.daemon.serving.trace import open_trace


async def main(root: str, kubeconfig: str, name: str, trace: str) -> None:
    with open_trace(Path(trace)) as sink:
        async with (
            open_api_client(find_connection(kubeconfig)) as api,
            open_device_manager(Path(root), sinks=[sink]) as manager,
            open_node(api, manager, NodeOptions(name=name, tainted=False)),
        ):
            await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
