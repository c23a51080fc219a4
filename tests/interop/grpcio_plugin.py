"""A small device plug-in, and an independent peer for the tests of devicemgr.

It exists because tests with devicemgr's own stand-in would share its mistakes: this one is made of gRPC's C core and
Google's protobuf, has nothing of devicemgr's, and behaves as plug-ins do. It serves its socket, registers, and when
kubelet.sock is made anew it makes its own socket anew and registers again. No other process has its socket's name.

Every call is printed to standard output, one line each, so that a test can see who was asked what.
"""

from __future__ import annotations

import argparse
import errno
import signal
import socket
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc
from grpc_tools import protoc

PROTO = Path(__file__).parents[2] / "proto" / "deviceplugin" / "v1beta1" / "api.proto"
CHECK_PERIOD = 0.1
REGISTER_TIMEOUT = 10.0


def generate() -> tuple[Any, Any]:
    """The modules api_pb2 and api_pb2_grpc, made from the .proto file."""
    with tempfile.TemporaryDirectory() as made:
        arguments = ["protoc", f"-I{PROTO.parent}", f"--python_out={made}", f"--grpc_python_out={made}", PROTO.name]
        if protoc.main(arguments) != 0:
            sys.exit(f"protoc cannot translate {PROTO}")
        sys.path.insert(0, made)
        return import_module("api_pb2"), import_module("api_pb2_grpc")


api, api_grpc = generate()


class Plugin(api_grpc.DevicePluginServicer):
    def __init__(self, arguments: argparse.Namespace) -> None:
        self.registry = arguments.directory / "kubelet.sock"
        self.socket = arguments.directory / arguments.endpoint
        self.resource = arguments.resource
        self.ids = [f"dev-{number}" for number in range(arguments.count)]
        self.options = api.DevicePluginOptions(
            pre_start_required=arguments.pre_start, get_preferred_allocation_available=arguments.preferred
        )

    def stay_registered(self, ended: threading.Event) -> None:
        """Serve and register once per life of kubelet.sock and of our own socket, until ``ended``; then leave none."""
        known = None
        server = None
        while not ended.wait(CHECK_PERIOD):
            current = identity(self.registry)
            if current is None or (current == known and self.socket.exists()):
                continue
            if server is not None:
                server.stop(grace=None).wait()
            server = self.serve()
            try:
                self.register()
            except grpc.RpcError as error:
                print(f"not registered, trying again: {error}", file=sys.stderr, flush=True)
            else:
                known = current
                tell("registered")
        if server is not None:
            server.stop(grace=None).wait()
        self.socket.unlink(missing_ok=True)

    def serve(self) -> grpc.Server:
        remove_leftovers(self.socket.parent)
        self.socket.unlink(missing_ok=True)
        server = grpc.server(ThreadPoolExecutor())
        api_grpc.add_DevicePluginServicer_to_server(self, server)
        server.add_insecure_port(f"unix:{self.socket}")
        server.start()
        return server

    def register(self) -> None:
        request = api.RegisterRequest(
            version="v1beta1", endpoint=self.socket.name, resource_name=self.resource, options=self.options
        )
        with grpc.insecure_channel(f"unix:{self.registry}") as channel:
            api_grpc.RegistrationStub(channel).Register(request, timeout=REGISTER_TIMEOUT)

    # --- what the manager asks; the names are gRPC's -----------------------------------------------

    def GetDevicePluginOptions(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self.options

    def ListAndWatch(self, request: Any, context: grpc.ServicerContext) -> Any:
        ended = threading.Event()
        context.add_callback(ended.set)
        yield api.ListAndWatchResponse(devices=[api.Device(ID=id, health="Healthy") for id in self.ids])
        ended.wait()

    def GetPreferredAllocation(self, request: Any, context: grpc.ServicerContext) -> Any:
        return api.PreferredAllocationResponse(container_responses=[prefer_last(r) for r in request.container_requests])

    def Allocate(self, request: Any, context: grpc.ServicerContext) -> Any:
        return api.AllocateResponse(
            container_responses=[self.answer(list(r.devices_ids), context) for r in request.container_requests]
        )

    def PreStartContainer(self, request: Any, context: grpc.ServicerContext) -> Any:
        tell("PreStartContainer", ",".join(request.devices_ids))
        return api.PreStartContainerResponse()

    def answer(self, ids: list[str], context: grpc.ServicerContext) -> Any:
        tell("Allocate", ",".join(ids))
        for id in ids:
            if id not in self.ids:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"there is no device {id!r}")
        return api.ContainerAllocateResponse(
            envs={"GRPCIO_DEVICES": ",".join(ids)},
            mounts=[api.Mount(container_path="/run/firmware", host_path="/lib/firmware", read_only=True)],
            devices=[
                api.DeviceSpec(container_path=f"/dev/{id}", host_path="/dev/null", permissions="rw") for id in ids
            ],
            cdi_devices=[api.CDIDevice(name=f"{self.resource}=all")],
        )


def prefer_last(question: Any) -> Any:
    tell("GetPreferredAllocation", ",".join(question.available_deviceIDs), question.allocation_size)
    ordered = dict.fromkeys([*question.must_include_deviceIDs, *reversed(question.available_deviceIDs)])
    return api.ContainerPreferredAllocationResponse(deviceIDs=list(ordered)[: question.allocation_size])


def remove_leftovers(directory: Path) -> None:
    """Of processes of this program that were killed: nobody serves them."""
    for left in directory.glob("grpcio-*.sock"):
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(left)) == errno.ECONNREFUSED:
                left.unlink(missing_ok=True)


def identity(path: Path) -> tuple[int, int] | None:
    """With the time: a file system may give the number of a deleted inode to the next one."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def tell(*words: object) -> None:
    print(*words, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="the directory of kubelet.sock")
    parser.add_argument("--resource", required=True, help="the extended resource")
    own = f"grpcio-{time.time_ns()}.sock"
    parser.add_argument("--endpoint", default=own, help="file name of the plug-in's socket")
    parser.add_argument("--count", type=int, default=1, help="how many devices there are")
    parser.add_argument("--pre-start", action="store_true", help="ask for PreStartContainer")
    parser.add_argument("--preferred", action="store_true", help="offer GetPreferredAllocation; prefers the last ones")
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: ended.set())
    Plugin(parser.parse_args()).stay_registered(ended)


if __name__ == "__main__":
    main()
