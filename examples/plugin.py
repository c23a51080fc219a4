"""A complete device plug-in: four fake cards as vendor.com/card. Run it beside a manager, or check it:

    python -m devicemgr --root-dir /tmp/node &
    python examples/plugin.py /tmp/node/device-plugins

    python -m devicemgr check -- python examples/plugin.py {dir}

It does what every plug-in must: serve first, then register; stream the whole list at every change; answer Allocate,
with an error for what it does not have; start over when kubelet.sock is made anew or its own socket is deleted,
because that is how a kubelet restart looks from here; and tidy up when it is told to end.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from grpclib import GRPCError, Status
from grpclib.client import Channel
from grpclib.server import Server

from devicemgr.rpc.stubs import v1beta1 as api

RESOURCE, SOCKET = "vendor.com/card", "card.sock"
CARDS = [f"card-{number}" for number in range(4)]


class CardPlugin(api.DevicePluginBase):
    async def get_device_plugin_options(self, message: api.Empty) -> api.DevicePluginOptions:
        return api.DevicePluginOptions()

    async def list_and_watch(self, message: api.Empty) -> AsyncIterator[api.ListAndWatchResponse]:
        yield api.ListAndWatchResponse(devices=[api.Device(id=card, health="Healthy") for card in CARDS])
        await asyncio.Event().wait()  # nothing changes: say nothing, and keep the stream open

    async def allocate(self, message: api.AllocateRequest) -> api.AllocateResponse:
        return api.AllocateResponse(container_responses=[self.answer(r) for r in message.container_requests])

    def answer(self, request: api.ContainerAllocateRequest) -> api.ContainerAllocateResponse:
        if unknown := set(request.devices_ids) - set(CARDS):
            raise GRPCError(Status.INVALID_ARGUMENT, f"no such card: {', '.join(sorted(unknown))}")
        nodes = [api.DeviceSpec(f"/dev/{id}", "/dev/null", "rw") for id in request.devices_ids]
        return api.ContainerAllocateResponse(envs={"CARDS": ",".join(request.devices_ids)}, devices=nodes)


async def one_life(directory: Path) -> None:
    """Serve and register, until kubelet.sock is another file than it was, or our own socket is gone."""
    registry, own = directory / "kubelet.sock", directory / SOCKET
    born = registry.stat().st_ctime_ns
    own.unlink(missing_ok=True)
    server = Server([CardPlugin()])
    try:
        await server.start(path=str(own))
        async with Channel(path=str(registry)) as channel:
            request = api.RegisterRequest(version="v1beta1", endpoint=SOCKET, resource_name=RESOURCE)
            await api.RegistrationStub(channel).register(request)
        print(f"registered {RESOURCE}", flush=True)
        while own.exists() and registry.stat().st_ctime_ns == born:  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.2)
    finally:
        server.close()  # and that ends its streams
        own.unlink(missing_ok=True)


async def main(directory: Path) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with suppress(asyncio.CancelledError):
        while True:
            try:
                await one_life(directory)
            except OSError:  # no manager at the moment
                await asyncio.sleep(0.2)


asyncio.run(main(Path(sys.argv[1])))
