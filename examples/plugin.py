"""A complete device plug-in: four fake cards as vendor.com/card. Check it, or run it beside a manager:

    python -m devicemgr check -- python examples/plugin.py {dir}
    python -m devicemgr --root-dir /tmp/node & python examples/plugin.py /tmp/node/device-plugins

It serves, then registers; streams the whole list at every change; answers Allocate, with an error for unknown devices;
starts over when kubelet.sock is created again or its own socket is deleted, as by a restart; and removes its sockets.
"""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from grpclib import GRPCError, Status
from grpclib.client import Channel
from grpclib.server import Server

from devicemgr.rpc.stubs import v1beta1 as api

RESOURCE, SOCKET = "vendor.com/card", f"card-{time.time_ns()}.sock"  # a name that no other process has
CARDS = [f"card-{number}" for number in range(4)]


class CardPlugin(api.DevicePluginBase):
    def __init__(self) -> None:
        self.over = asyncio.Event()

    async def get_device_plugin_options(self, message: api.Empty) -> api.DevicePluginOptions:
        return api.DevicePluginOptions()

    async def list_and_watch(self, message: api.Empty) -> AsyncIterator[api.ListAndWatchResponse]:
        yield api.ListAndWatchResponse(devices=[api.Device(id=card, health="Healthy") for card in CARDS])
        await self.over.wait()  # nothing changes: say nothing, and keep the stream open

    async def allocate(self, message: api.AllocateRequest) -> api.AllocateResponse:
        return api.AllocateResponse(container_responses=[self.answer(r) for r in message.container_requests])

    def answer(self, request: api.ContainerAllocateRequest) -> api.ContainerAllocateResponse:
        if unknown := set(request.devices_ids) - set(CARDS):
            raise GRPCError(Status.INVALID_ARGUMENT, f"no such card: {', '.join(sorted(unknown))}")
        nodes = [api.DeviceSpec(f"/dev/{id}", "/dev/null", "rw") for id in request.devices_ids]
        return api.ContainerAllocateResponse(envs={"CARDS": ",".join(request.devices_ids)}, devices=nodes)


async def serve_once(directory: Path) -> None:
    """Serve and register, until kubelet.sock is another file than it was, or our own socket is gone."""
    registry, own = directory / "kubelet.sock", directory / SOCKET
    born = registry.stat().st_mtime_ns
    for socket in directory.glob("card-*.sock"):
        try:
            (await asyncio.open_unix_connection(socket))[1].close()
        except ConnectionRefusedError:  # its process was killed
            socket.unlink(missing_ok=True)
    server = Server([plugin := CardPlugin()])
    try:
        await server.start(path=str(own))
        async with Channel(path=str(registry)) as kubelet:
            await api.RegistrationStub(kubelet).register(api.RegisterRequest("v1beta1", SOCKET, RESOURCE))
        print(f"registered {RESOURCE}", flush=True)
        while own.exists() and registry.stat().st_mtime_ns == born:  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.2)
    finally:
        plugin.over.set()
        await asyncio.sleep(0.1)  # streams end before it registers again, or a kubelet of v1.37 refuses it
        server.close()
        own.unlink(missing_ok=True)


async def main(directory: Path) -> None:
    if task := asyncio.current_task():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with suppress(asyncio.CancelledError):
        while True:
            try:
                await serve_once(directory)
            except (OSError, GRPCError) as error:  # no manager, or one that still serves an older process of ours
                print(f"not registered, trying again: {error}", file=sys.stderr)
                await asyncio.sleep(0.2)


asyncio.run(main(Path(sys.argv[1])))
