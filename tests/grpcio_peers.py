"""The two ends of the daemon that are not ours: a device plug-in and a client, on grpcio, of bytes made beforehand.

Whatever they spend is spent in gRPC's C core as far as possible, so that what is measured is the daemon.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from devicemgr.rpc.stubs import v1beta1 as wire
from devicemgr.rpc.stubs.devicemgr import v1 as admin

OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.default_authority", "localhost"),
]
ANSWER = bytes(
    wire.AllocateResponse(
        container_responses=[
            wire.ContainerAllocateResponse(
                envs={"DEVICES": "some"},
                devices=[wire.DeviceSpec(container_path="/dev/x", host_path="/dev/null", permissions="rw")],
            )
        ]
    )
)


def device_list(count, *, bad=frozenset(), nodes=1, everywhere=False, prefix="dev"):
    """The bytes of a list of ``count`` devices, of which those numbered in ``bad`` are broken.

    They stand on one of ``nodes`` each, in turns, or all on all of them.
    """
    return bytes(
        wire.ListAndWatchResponse(
            devices=[
                wire.Device(
                    id=f"{prefix}-{number}",
                    health="Unhealthy" if number in bad else "Healthy",
                    topology=wire.TopologyInfo(
                        nodes=[wire.NumaNode(id=node) for node in (range(nodes) if everywhere else [number % nodes])]
                    ),
                )
                for number in range(count)
            ]
        )
    )


def unary(channel, path):
    return channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)


class Plugin:
    """Serves one list to whoever asks, and the next one to whoever is listening."""

    def __init__(self, socket: Path, threads: int = 8, more: tuple[str, ...] | list[str] = ()):
        self.socket = socket
        self.allocated = 0
        self._list = b""
        self._streams: list[queue.SimpleQueue] = []
        self._lock = threading.Lock()
        self._server = grpc.server(ThreadPoolExecutor(threads + 2 * len(more)), options=OPTIONS)
        self._server.add_generic_rpc_handlers([_Handler(self)])
        for path in (socket, *(socket.with_name(name) for name in more)):
            self._server.add_insecure_port(f"unix:{path}")
        self._server.start()

    def say(self, message: bytes, *, streams: int | None = None) -> float:
        """The list from now on, also on every open stream, or the oldest so many; returns when it was said."""
        with self._lock:
            self._list = message
            said = time.perf_counter()
            for stream in self._streams[:streams]:
                stream.put(message)
        return said

    def watch(self, request, context):
        stream = queue.SimpleQueue()
        with self._lock:
            self._streams.append(stream)
            stream.put(self._list)
        context.add_callback(lambda: stream.put(None))
        while (message := stream.get()) is not None:
            yield message
        with self._lock:
            self._streams.remove(stream)

    def allocate(self, request, context):
        self.allocated += 1
        return ANSWER

    def stop(self):
        self._server.stop(None).wait()


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, plugin):
        plain = {"request_deserializer": None, "response_serializer": None}
        self._methods = {
            "ListAndWatch": grpc.unary_stream_rpc_method_handler(plugin.watch, **plain),
            "Allocate": grpc.unary_unary_rpc_method_handler(plugin.allocate, **plain),
            "GetDevicePluginOptions": grpc.unary_unary_rpc_method_handler(lambda request, context: b"", **plain),
        }

    def service(self, details):
        return self._methods.get(details.method.rpartition("/")[2])


class Client:
    """Registers plug-ins, admits pods, and hears of events, all on the daemon's sockets."""

    def __init__(self, root: Path):
        self._registry = grpc.insecure_channel(f"unix:{root}/device-plugins/kubelet.sock", options=OPTIONS)
        self._admin = grpc.insecure_channel(f"unix:{root}/devicemgr/admin.sock", options=OPTIONS)
        self._register = unary(self._registry, "/v1beta1.Registration/Register")
        self.admit = unary(self._admin, "/devicemgr.v1.Admin/Admit")
        self._remove = unary(self._admin, "/devicemgr.v1.Admin/Remove")
        self._explain = unary(self._admin, "/devicemgr.v1.Admin/Explain")
        self._status = unary(self._admin, "/devicemgr.v1.Admin/Status")
        self._news: queue.SimpleQueue = queue.SimpleQueue()
        self._following = None

    def follow(self):
        """Hear of every event from now on; it costs the daemon something."""
        events = self._admin.unary_stream(
            "/devicemgr.v1.Admin/Events", request_serializer=bytes, response_deserializer=bytes
        )
        self._following = events(bytes(admin.EventsRequest(follow=True)))
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self):
        try:
            for message in self._following:
                self._news.put((time.perf_counter(), message))
        except grpc.RpcError:
            self._news.put((0.0, b""))

    def wait_for(self, kind: str, *resources: str) -> float:
        """When an event of a kind about each of these resources was here, on the clock of perf_counter."""
        name, missing = f'"event": "{kind}"'.encode(), {f'"resource": "{one}"'.encode() for one in resources}
        while True:
            at, message = self._news.get(timeout=60)
            assert message, "the daemon has gone"
            if name in message:
                missing = {about for about in missing if about not in message}
                if not missing:
                    return at

    def hush(self):
        """Forget the news up to now."""
        while not self._news.empty():
            self._news.get()

    def unfollow(self):
        if self._following is not None:
            self._following.cancel()

    def register(self, resource: str, endpoint: str) -> None:
        self._register(register_request(resource, endpoint), timeout=60)

    def remove(self, *names: str) -> None:
        """All at once."""
        requests = [bytes(admin.RemoveRequest(namespace="default", name=name)) for name in names]
        for answer in [self._remove.future(request, timeout=60) for request in requests]:
            answer.result()

    def wait_capacity(self, resource: str) -> None:
        """Until some of it can be allocated."""
        deadline = time.monotonic() + 60
        while not self.capacity().get(resource):
            assert time.monotonic() < deadline, f"nothing of {resource}"
            time.sleep(0.01)

    def capacity(self) -> dict[str, int]:
        return {resource.name: resource.allocatable for resource in self.status().resources}

    def status(self, *, timeout: float = 60) -> admin.StatusResponse:
        return admin.StatusResponse.parse(self._status(b"", timeout=timeout))

    def nothing(self) -> None:
        """Ask about a pod that is not here."""
        self._explain(b"", timeout=60)

    def close(self):
        self.unfollow()
        self._registry.close()
        self._admin.close()


def register_request(resource: str, endpoint: str) -> bytes:
    return bytes(wire.RegisterRequest(version="v1beta1", endpoint=endpoint, resource_name=resource))


def admit_request(name: str, limits: dict[str, int]) -> bytes:
    container = admin.Container(name="main", kind=admin.ContainerKind.MAIN, limits=limits)
    return bytes(
        admin.AdmitRequest(pod=admin.Pod(name=name, namespace="default", uid=name, containers=[container]), start=False)
    )


def admitted(answer: bytes) -> bool:
    response = admin.AdmitResponse.parse(answer)
    assert response.admitted, json.dumps(response.to_dict())
    return True
