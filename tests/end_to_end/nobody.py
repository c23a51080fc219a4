"""``python -m tests.end_to_end.nobody ROOT_DIR GID``: a device plug-in that runs as the user nobody, in one group.

It serves ``nobody.example/gpu``, registers, prints what it was answered, and goes on until it is killed.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from grpclib.client import Channel
from grpclib.exceptions import GRPCError
from grpclib.server import Server

from devicemgr.rpc.stubs import v1beta1 as wire
from tests.hostile.fakes import Plugin

NOBODY = 65534


async def main(root):
    os.umask(0o007)
    path = root / "device-plugins" / "nobody.sock"
    server = Server([Plugin()])
    try:
        await server.start(path=str(path))
    except OSError as error:
        print(f"cannot serve: {error}", flush=True)
    channel = Channel(path=str(root / "device-plugins" / "kubelet.sock"))
    request = wire.RegisterRequest(version="v1beta1", endpoint=path.name, resource_name="nobody.example/gpu")
    try:
        await wire.RegistrationStub(channel).register(request)
        print("registered", flush=True)
    except (GRPCError, OSError) as error:
        print(f"refused: {getattr(error, 'status', '')} {error}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    os.setgroups([])
    os.setgid(int(sys.argv[2]))
    os.setuid(NOBODY)
    asyncio.run(main(Path(sys.argv[1])))
