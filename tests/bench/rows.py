"""What is measured, row by row. Each function yields figures; times are medians, in seconds."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from .daemon import COMMAND, open_daemon
from .peers import OPTIONS, Client, Plugin, admit_request, admitted, device_list, unary

GPU = "bench.example/gpu"
PODS = 110
"""As many as a kubelet takes by default."""


@dataclass(frozen=True)
class Figure:
    """``value`` in seconds, bytes or whatever ``unit`` says; ``target`` in U for times, in the unit for others."""

    row: str
    case: str
    value: float
    target: float | None
    unit: str = "s"


def round_trip(times: int = 400) -> float:
    """U: one unary call of grpcio, both ends in this process, over a unix socket."""
    echo = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
    with tempfile.TemporaryDirectory(prefix="dm-") as made:
        server = grpc.server(ThreadPoolExecutor(1), options=OPTIONS)
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("u.U", {"Echo": echo})])
        server.add_insecure_port(f"unix:{made}/u.sock")
        server.start()
        with grpc.insecure_channel(f"unix:{made}/u.sock", options=OPTIONS) as channel:
            call = unary(channel, "/u.U/Echo")
            found = median(lambda: call(b"x"), times)
        server.stop(None).wait()
    return found


def median(work, times: int) -> float:
    work()
    return statistics.median([timed(work) for _ in range(times)])


def timed(work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@contextmanager
def node(*options: str, config: str = ""):
    """(daemon, client, open_plugin). What one process may take is not bounded: all plug-ins are in this one."""
    bounds = ("registration-burst=1000", "time-burst=3600", f"listed-size={2**30}")
    unbounded = [part for bound in bounds for part in ("--bound", bound)]
    with open_daemon(*unbounded, *options, config=config) as daemon:
        client, plugins = Client(daemon.root), []

        def open_plugin(name: str) -> Plugin:
            plugins.append(Plugin(daemon.root / "device-plugins" / f"{name}.sock"))
            return plugins[-1]

        try:
            yield daemon, client, open_plugin
        finally:
            client.close()
            for plugin in plugins:
                plugin.stop()


def serve(client: Client, open_plugin, resource: str, message: bytes) -> Plugin:
    """A plug-in that is registered, and its list known."""
    plugin = open_plugin(resource.replace("/", "-"))
    plugin.say(message)
    client.register(resource, plugin.socket.name)
    client.wait_capacity(resource)
    return plugin


def register(devices: int, times: int, target: float | None) -> Iterator[Figure]:
    """From the call of Register until a list that was never seen before is known."""
    message, found = device_list(devices), []
    with node("--bound", f"message-size={256 * 2**20}") as (_, client, open_plugin):
        client.follow()
        for number in range(times + 1):
            resource = f"bench.example/gpu-{number}"
            plugin = open_plugin(f"gpu-{number}")
            plugin.say(message)
            started = time.perf_counter()
            client.register(resource, plugin.socket.name)
            found.append(client.wait_for("ReportApplied", resource) - started)
            plugin.stop()
    yield Figure("register → visible", f"{devices:,} devices", statistics.median(found[1:]), target)


def least_register(devices: int, times: int) -> Iterator[Figure]:
    """The calls of a registration made by grpcio itself, one after the other: dial, options, first list, and Register.

    What a registration costs without any device manager, with this plug-in on this machine.
    """
    message, found = device_list(devices), []
    with tempfile.TemporaryDirectory(prefix="dm-") as made:
        for number in range(times + 1):
            plugin = Plugin(Path(made) / f"{number}.sock")
            plugin.say(message)
            started = time.perf_counter()
            with grpc.insecure_channel(f"unix:{plugin.socket}", options=OPTIONS) as channel:
                unary(channel, "/v1beta1.DevicePlugin/GetDevicePluginOptions")(b"")
                unary(channel, "/v1beta1.DevicePlugin/GetDevicePluginOptions")(b"")  # stands for Register
                lists = channel.unary_stream("/v1beta1.DevicePlugin/ListAndWatch", None, None)(b"")
                next(lists)
                found.append(time.perf_counter() - started)
                lists.cancel()
            plugin.stop()
    yield Figure("the same calls by grpcio alone", f"{devices:,} devices", statistics.median(found[1:]), None)


def health(devices: int, times: int, target: float | None) -> Iterator[Figure]:
    """From the moment a plug-in sends a list in which one device has another health until that is known."""
    lists, found = [device_list(devices, bad={devices // 2}), device_list(devices)], []
    with node("--bound", f"message-size={256 * 2**20}") as (_, client, open_plugin):
        plugin = serve(client, open_plugin, GPU, lists[1])
        client.follow()
        for number in range(times):
            client.hush()
            started = time.perf_counter()
            plugin.say(lists[number % 2])
            found.append(client.wait_for("ReportApplied", GPU) - started)
    yield Figure("health change → visible", f"{devices:,} devices", statistics.median(found), target)


def admit(devices: int, times: int, target: float | None) -> Iterator[Figure]:
    """Pods with one device each: as many as fit, 110 at the most, asked for together; then one after the other."""
    count = min(devices, PODS)
    requests = [admit_request(f"pod-{number}", {GPU: 1}) for number in range(count)]
    together, alone = [], []
    with node() as (_, client, open_plugin):
        serve(client, open_plugin, GPU, device_list(devices))
        for _ in range(times):
            started = time.perf_counter()
            answers = [client.admit.future(request, timeout=60) for request in requests]
            assert all(admitted(answer.result()) for answer in answers)
            together.append((time.perf_counter() - started) / count)
            for number in range(count):
                client.remove(f"pod-{number}")
        for request in requests[: max(times, 20)]:
            alone.append(timed(lambda request=request: admitted(client.admit(request, timeout=60))))
    yield Figure("admit a pod, durable", f"{devices:,} devices", statistics.median(together), target)
    yield Figure("admit a pod by itself, durable", f"{devices:,} devices", statistics.median(alone), None)


def aligned(nodes: int, resources: int, times: int, target: float | None) -> Iterator[Figure]:
    """One pod with one device of each of several resources of 64, policy best-effort."""
    config = "kind: KubeletConfiguration\ntopologyManagerPolicy: best-effort\n"
    names = [f"bench.example/r{number}" for number in range(resources)]
    with node("--numa", ",".join(map(str, range(nodes))), config=config) as (_, client, open_plugin):
        for name in names:
            serve(client, open_plugin, name, device_list(64, nodes=nodes))
        found = []
        for number in range(min(times, 60) + 1):
            request = admit_request(f"pod-{number}", dict.fromkeys(names, 1))
            found.append(timed(lambda request=request: admitted(client.admit(request, timeout=60))))
    yield Figure("admit, best-effort", f"{nodes} nodes × {resources} resources", statistics.median(found[1:]), target)


def many_plugins(count: int, devices: int) -> Iterator[Figure]:
    """All register at once."""
    message = device_list(devices)
    with node() as (_, client, open_plugin):
        plugins = [open_plugin(f"p{number}") for number in range(count)]
        for plugin in plugins:
            plugin.say(message)
        client.follow()
        started = time.perf_counter()
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda n: client.register(f"bench.example/p{n}", f"p{n}.sock"), range(count)))
        client.wait_for("ReportApplied", *(f"bench.example/p{number}" for number in range(count)))
        yield Figure(
            f"register {count} plug-ins",
            f"{devices} devices each",
            time.perf_counter() - started,
            300 if count == 100 else None,
        )


def flood(times: int) -> Iterator[Figure]:
    """What one plug-in that sends lists as fast as it can, in a process of its own, costs the pods of another."""
    with open_daemon() as daemon:  # with the usual bounds
        client, plugin = Client(daemon.root), Plugin(daemon.root / "device-plugins" / "gpu.sock")
        plugin.say(device_list(100))
        client.register(GPU, plugin.socket.name)
        client.wait_capacity(GPU)

        def admissions(name: str) -> float:
            found = []
            for number in range(times * 5):
                request = admit_request(f"{name}-{number}", {GPU: 1})
                found.append(timed(lambda request=request: admitted(client.admit(request, timeout=60))))
                client.remove(f"{name}-{number}")
            return statistics.median(found)

        quiet = admissions("quiet")
        flooding = subprocess.Popen([sys.executable, "-m", "tests.hostile.fakes", daemon.root, "floods"])
        while "bound=report_rate" not in daemon.log:
            time.sleep(0.05)
        loud = admissions("loud")
        flooding.kill()
        flooding.wait()
        skipped = sum(
            int(line.partition("times=")[2].split()[0]) for line in daemon.log.splitlines() if "report_rate" in line
        )
        client.close()
        plugin.stop()
    yield Figure("a flood delays another's admission", f"{skipped:,} lists", max(loud - quiet, 0.0), 3)


def empty_call(times: int) -> Iterator[Figure]:
    """The least that a question to the daemon can cost: what of every other figure is gRPC in Python."""
    with node() as (_, client, _):
        yield Figure("an empty call of the daemon", "", median(client.nothing, times * 10), None)


def memory(devices: int) -> Iterator[Figure]:
    with node() as (daemon, client, open_plugin):
        client.capacity()
        idle = daemon.memory
        yield Figure("memory, idle", "", idle / 2**20, 60, "MB")
        serve(client, open_plugin, GPU, device_list(devices))
        time.sleep(1.5)  # until the checkpoint is written, and written again
        grown = daemon.memory
        yield Figure("memory per device", f"{devices:,} devices", (grown - idle) / devices / 1000, 1.5, "kB")


def start(times: int) -> Iterator[Figure]:
    found = []
    for _ in range(times):
        with open_daemon() as daemon:
            found.append(daemon.ready_after)
    yield Figure("start → ready", "", statistics.median(found), 0.45, "s of time")
    shown = statistics.median(
        timed(lambda: subprocess.run([*COMMAND, "--help"], capture_output=True, check=True)) for _ in range(times)
    )
    yield Figure("--help", "", shown, 0.25, "s of time")


def idle(seconds: float) -> Iterator[Figure]:
    with open_daemon() as daemon:
        time.sleep(3)  # whatever follows a start has been done
        before = daemon.processor_seconds
        time.sleep(seconds)
        yield Figure("processor time, idle", f"{seconds:g} s", daemon.processor_seconds - before, 0.0, "s of time")
