"""A complete device plug-in: four fake cards as vendor.com/card. Check it, or run it beside a manager:

    python -m devicemgr check -- python examples/plugin.py {dir}
    python -m devicemgr --root-dir /tmp/node & python examples/plugin.py /tmp/node/device-plugins

It starts over when kubelet.sock is made anew, its own socket deleted or its last stream lost, and tidies up."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from grpclib import GRPCError, Status
from grpclib.client import Channel
from grpclib.server import Server

from devicemgr.rpc.stubs import v1beta1 as api

RESOURCE, SOCKET = "vendor.com/card", "card.sock"
CARDS = [f"card-{number}" for number in range(4)]


class CardPlugin(api.DevicePluginBase):
    def __init__(self) -> None:
        self.over, self.streams, self.is_lost = asyncio.Event(), 0, False

    async def get_device_plugin_options(self, message: api.Empty) -> api.DevicePluginOptions:
        return api.DevicePluginOptions()

    async def list_and_watch(self, message: api.Empty) -> AsyncIterator[api.ListAndWatchResponse]:
        self.streams += 1
        try:
            yield api.ListAndWatchResponse(devices=[api.Device(id=card, health="Healthy") for card in CARDS])
            await self.over.wait()  # nothing changes: say nothing, and keep the stream open
        finally:
            self.streams -= 1
            self.is_lost = not self.streams  # a kubelet does not call again

    async def allocate(self, message: api.AllocateRequest) -> api.AllocateResponse:
        return api.AllocateResponse(container_responses=[self.answer(r) for r in message.container_requests])

    def answer(self, request: api.ContainerAllocateRequest) -> api.ContainerAllocateResponse:
        if unknown := set(request.devices_ids) - set(CARDS):
            raise GRPCError(Status.INVALID_ARGUMENT, f"no such card: {', '.join(sorted(unknown))}")
        nodes = [api.DeviceSpec(f"/dev/{id}", "/dev/null", "rw") for id in request.devices_ids]
        return api.ContainerAllocateResponse(envs={"CARDS": ",".join(request.devices_ids)}, devices=nodes)


async def one_life(directory: Path) -> None:
    """Serve and register, until kubelet.sock is another file than it was, our own socket is gone, or our stream is."""
    registry, own = directory / "kubelet.sock", directory / SOCKET
    born, server = registry.stat().st_ctime_ns, Server([plugin := CardPlugin()])
    own.unlink(missing_ok=True)
    try:
        await server.start(path=str(own))
        made = own.stat().st_ctime_ns
        async with Channel(path=str(registry)) as channel:
            await api.RegistrationStub(channel).register(api.RegisterRequest("v1beta1", SOCKET, RESOURCE))
        print(f"registered {RESOURCE}", flush=True)
        while registry.stat().st_ctime_ns == born and not (own.stat().st_ctime_ns == made and plugin.is_lost):  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    finally:
        plugin.over.set()
        await asyncio.sleep(0.1)  # streams end before the next life registers, or a kubelet of v1.37 refuses it
        server.close()
        own.unlink(missing_ok=True)


async def main(directory: Path) -> None:
    while True:
        try:
            await one_life(directory)
        except (OSError, GRPCError) as error:  # a socket is gone; or v1.37 refuses while an older process serves
            print(f"starting over: {error}", file=sys.stderr)
            await asyncio.sleep(0.2)


signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())
asyncio.run(main(Path(sys.argv[1])))
