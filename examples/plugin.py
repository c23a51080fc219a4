"""A complete device plug-in: four fake cards as vendor.com/card. Run it beside a manager:

    python -m devicemgr --root-dir /tmp/node &
    python examples/plugin.py /tmp/node/device-plugins

It does what every plug-in must: serve first, then register; stream the whole list at every change; answer
Allocate; and start over when kubelet.sock is made anew, because that is how a kubelet restart looks from here.
"""

import asyncio
import sys
from pathlib import Path

from grpclib.client import Channel
from grpclib.server import Server

from devicemgr.rpc.stubs import v1beta1 as api

RESOURCE, SOCKET = "vendor.com/card", "card.sock"


class CardPlugin(api.DevicePluginBase):
    async def get_device_plugin_options(self, message):
        return api.DevicePluginOptions()

    async def list_and_watch(self, message):
        yield api.ListAndWatchResponse(devices=[api.Device(id=f"card-{n}", health="Healthy") for n in range(4)])
        await asyncio.Event().wait()  # nothing changes: say nothing, and keep the stream open

    async def allocate(self, message):
        return api.AllocateResponse(container_responses=[self.answer(r) for r in message.container_requests])

    def answer(self, request):
        nodes = [
            api.DeviceSpec(container_path=f"/dev/{id}", host_path="/dev/null", permissions="rw")
            for id in request.devices_ids
        ]
        return api.ContainerAllocateResponse(envs={"CARDS": ",".join(request.devices_ids)}, devices=nodes)


async def register(directory):
    async with Channel(path=str(directory / "kubelet.sock")) as channel:
        request = api.RegisterRequest(version="v1beta1", endpoint=SOCKET, resource_name=RESOURCE)
        await api.RegistrationStub(channel).register(request)


async def one_life(directory):
    """Serve and register, until kubelet.sock is another file than it was."""
    registry, own = directory / "kubelet.sock", directory / SOCKET
    born = registry.stat().st_ctime_ns
    own.unlink(missing_ok=True)
    async with Server([CardPlugin()]) as server:
        await server.start(path=str(own))
        await register(directory)
        print(f"registered {RESOURCE}", flush=True)
        while registry.exists() and registry.stat().st_ctime_ns == born:  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.2)


async def main(directory):
    while True:
        try:
            await one_life(directory)
        except OSError:  # no manager at the moment
            await asyncio.sleep(0.2)


asyncio.run(main(Path(sys.argv[1])))
