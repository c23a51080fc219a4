"""A device plug-in of a story, on grpcio: one process and one state, serving on all sides."""

from __future__ import annotations

import os
import queue
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc

from devicemgr.model import natural_order
from devicemgr.rpc.stubs import pluginregistration as watcher_wire
from devicemgr.rpc.stubs import v1beta1 as wire
from tests.grpcio_peers import OPTIONS, unary

from .story import Answers, Device, Register, parse_devices, resource_name

Call = tuple[Any, ...]
"""The method's name and what the request says; ids are sorted."""

PATIENCE = 120.0
DOES_NOT_WORK = "it does not work"


class Plugin:
    def __init__(self, step: Register):
        self.name = step.plugin
        self.resource = resource_name(step.resource)
        self.endpoint = step.socket or f"{step.plugin}.sock"
        self.answers = Answers(step.plugin)
        self.devices: tuple[Device, ...] | None = None
        self.serving: dict[str, Serving] = {}
        """By side."""
        self.calls: defaultdict[str, list[Call]] = defaultdict(list)
        """By side, in the order in which they came."""
        self.configure(step)

    def configure(self, step: Register) -> None:
        """What the step says about the plug-in holds from now on."""
        self.prefers, self.prestart, self.watched = step.prefers, step.prestart, step.watched
        if step.devices != "" or self.devices is None:
            self.devices = None if step.devices is None else parse_devices(step.devices)

    def serve(self, side: str, path: Path) -> Serving:
        """On a socket file, if it does not yet."""
        if side not in self.serving:
            self.serving[side] = Serving(self, self.calls[side])
        self.serving[side].link(path)
        return self.serving[side]

    def flip(self, ids: tuple[str, ...]) -> None:
        assert self.devices is not None
        assert set(ids) <= {device.id for device in self.devices}
        self.devices = tuple(replace(one, healthy=one.healthy != (one.id in ids)) for one in self.devices)

    def end_streams(self) -> None:
        for serving in self.serving.values():
            serving.end_streams()

    def kill(self) -> None:
        for serving in self.serving.values():
            serving.close()
        self.serving = {}

    def message(self) -> bytes:
        assert self.devices is not None
        return bytes(wire.ListAndWatchResponse(devices=[_on_the_wire(device) for device in self.devices]))


class Serving:
    """The plug-in's gRPC server for one side, and what it was asked.

    gRPC's C core unlinks the path of its socket when it stops, whoever serves there by then. So it listens elsewhere,
    and the file that the manager sees is a link to that socket.
    """

    def __init__(self, plugin: Plugin, calls: list[Call]):
        self._plugin = plugin
        self._calls = calls
        self._place = tempfile.TemporaryDirectory(prefix="dm-")
        self._socket = Path(self._place.name) / "plugin.sock"
        self._links: list[Path] = []
        self._streams: list[queue.SimpleQueue[bytes | None]] = []
        self._changed = threading.Condition()
        self._opened = 0
        self._tells_options = threading.Event()
        self._tells_options.set()
        self._notified: list[watcher_wire.RegistrationStatus] = []
        self._server = grpc.server(ThreadPoolExecutor(6), options=OPTIONS)
        self._server.add_generic_rpc_handlers([_Handler(self)])
        self._server.add_insecure_port(f"unix:{self._socket}")
        self._server.start()

    def link(self, path: Path) -> None:
        if path.exists() and path.samefile(self._socket):
            return
        fresh = path.with_name(f".{path.name}")
        fresh.unlink(missing_ok=True)
        os.link(self._socket, fresh)
        fresh.rename(path)
        self._links.append(path)

    def wait_watched(self, streams: int) -> None:
        """Until so many streams were opened, since the beginning, and the last one is the only one that is open: who
        registers again loses the stream before."""
        with self._changed:
            watched = self._changed.wait_for(lambda: self._opened >= streams and len(self._streams) == 1, PATIENCE)
        assert watched, f"{self._opened} streams were opened, not {streams}, and {len(self._streams)} are open"

    @contextmanager
    def asked_for_options(self, ask: Callable[[], Any]) -> Iterator[Any]:
        """Begins with what ``ask`` returns, when the options are asked for. The answer waits for the end."""
        before = self._asked_for_options()
        self._tells_options.clear()
        try:
            asking = ask()
            with self._changed:
                asked = self._changed.wait_for(lambda: self._asked_for_options() > before, PATIENCE)
            assert asked, "nobody called GetDevicePluginOptions"
            yield asking
        finally:
            self._tells_options.set()

    def _asked_for_options(self) -> int:
        return self._calls.count(("GetDevicePluginOptions",))

    def wait_notified(self) -> str | None:
        """Until the plug-in watcher says how the registration went: its text, or None."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._notified, PATIENCE), "nobody called NotifyRegistrationStatus"
            status = self._notified.pop()
        return None if status.plugin_registered else status.error

    @property
    def opened(self) -> int:
        """How many streams were opened up to now."""
        return self._opened

    @property
    def open(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    def say(self) -> int:
        """Send the list on every open stream. Returns how many there are."""
        with self._changed:
            for stream in self._streams:
                stream.put(self._plugin.message())
            return len(self._streams)

    def end_streams(self) -> None:
        with self._changed:
            for stream in self._streams:
                stream.put(None)

    def close(self) -> None:
        for path in self._links:
            with suppress(FileNotFoundError):
                if path.samefile(self._socket):
                    path.unlink()
        self._server.stop(None).wait()
        self._place.cleanup()

    # --- the calls ---

    def get_options(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        with self._changed:
            self._calls.append(("GetDevicePluginOptions",))
            self._changed.notify_all()
        assert self._tells_options.wait(PATIENCE)
        _fail_if(self._plugin.answers.options == "error", context)
        plugin = self._plugin
        return bytes(
            wire.DevicePluginOptions(
                pre_start_required=plugin.prestart, get_preferred_allocation_available=plugin.prefers
            )
        )

    def watch(self, request: bytes, context: grpc.ServicerContext) -> Any:
        stream: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        with self._changed:
            self._calls.append(("ListAndWatch",))
            self._streams.append(stream)
            self._opened += 1
            if self._plugin.devices is not None:
                stream.put(self._plugin.message())
            self._changed.notify_all()
        context.add_callback(lambda: stream.put(None))
        try:
            while (message := stream.get()) is not None:
                yield message
        finally:
            with self._changed:
                self._streams.remove(stream)
                self._changed.notify_all()

    def allocate(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        (asked,) = wire.AllocateRequest.parse(request).container_requests
        ids = _sorted(asked.devices_ids)
        self._calls.append(("Allocate", ids))
        _fail_if(self._plugin.answers.allocate == "error", context)
        if self._plugin.answers.allocate == "nothing":
            return b""
        return bytes(wire.AllocateResponse(container_responses=[_answer(self._plugin.resource, ids)]))

    def prefer(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        (asked,) = wire.PreferredAllocationRequest.parse(request).container_requests
        must, size = _sorted(asked.must_include_deviceIDs), asked.allocation_size
        self._calls.append(("GetPreferredAllocation", _sorted(asked.available_deviceIDs), must, size))
        how = self._plugin.answers.prefer
        _fail_if(how == "error", context)
        if how == "nothing":
            return b""
        rest = [id for id in _sorted(asked.available_deviceIDs) if id not in must]
        chosen = [*must, *rest[len(rest) - max(size - len(must), 0) :]]
        if how == "short":
            chosen = chosen[:-1]
        if how == "unknown":
            chosen = [f"no-{id}" for id in chosen]
        answer = wire.ContainerPreferredAllocationResponse(device_i_ds=chosen)
        return bytes(wire.PreferredAllocationResponse(container_responses=[answer]))

    def start(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self._calls.append(("PreStartContainer", _sorted(wire.PreStartContainerRequest.parse(request).devices_ids)))
        _fail_if(self._plugin.answers.start == "error", context)
        return b""

    # --- as the watcher wants it ---

    def get_info(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        info = watcher_wire.PluginInfo(type="DevicePlugin", name=self._plugin.resource, supported_versions=["v1beta1"])
        return bytes(info)

    def notify(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        with self._changed:
            self._notified.append(watcher_wire.RegistrationStatus.parse(request))
            self._changed.notify_all()
        return b""


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, serving: Serving):
        plain: dict[str, Any] = {"request_deserializer": None, "response_serializer": None}
        self._methods = {
            name: grpc.unary_unary_rpc_method_handler(method, **plain)
            for name, method in {
                "GetDevicePluginOptions": serving.get_options,
                "GetPreferredAllocation": serving.prefer,
                "Allocate": serving.allocate,
                "PreStartContainer": serving.start,
                "GetInfo": serving.get_info,
                "NotifyRegistrationStatus": serving.notify,
            }.items()
        }
        self._methods["ListAndWatch"] = grpc.unary_stream_rpc_method_handler(serving.watch, **plain)

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        return self._methods.get(details.method.rpartition("/")[2])


def register(kubelet_sock: Path, plugin: Plugin, version: str) -> str | None:
    """Call Register. Returns the refusal's text, or None."""
    request = wire.RegisterRequest(version=version, endpoint=plugin.endpoint, resource_name=plugin.resource)
    with grpc.insecure_channel(f"unix:{kubelet_sock}", options=OPTIONS) as channel:
        try:
            unary(channel, "/v1beta1.Registration/Register")(bytes(request), timeout=PATIENCE)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
    return None


def _sorted(ids: list[str]) -> list[str]:
    return sorted(ids, key=natural_order)


def _on_the_wire(device: Device) -> wire.Device:
    health = "Healthy" if device.healthy else "Unhealthy"
    if device.nodes is None:
        return wire.Device(id=device.id, health=health)
    return wire.Device(
        id=device.id, health=health, topology=wire.TopologyInfo(nodes=[wire.NumaNode(id=n) for n in device.nodes])
    )


def _answer(resource: str, ids: list[str]) -> wire.ContainerAllocateResponse:
    name = resource.rpartition("/")[2]
    return wire.ContainerAllocateResponse(
        envs={f"{name.upper()}_DEVICES": ",".join(ids)},
        annotations={f"devices/{name}": "-".join(ids)},
        mounts=[wire.Mount(container_path=f"/lib/{name}", host_path=f"/usr/lib/{name}", read_only=True)],
        devices=[
            wire.DeviceSpec(container_path=f"/dev/{name}/{id}", host_path="/dev/null", permissions="rw") for id in ids
        ],
        cdi_devices=[wire.CdiDevice(name=f"vendor.com/{name}={id}") for id in ids],
    )


def _fail_if(wanted: bool, context: grpc.ServicerContext) -> None:
    if wanted:
        context.abort(grpc.StatusCode.INTERNAL, DOES_NOT_WORK)
