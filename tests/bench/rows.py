"""The rows that have no counterpart in Go: what the daemon takes, and bears. Times are medians, in seconds."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext

from tests.daemon_process import COMMAND, open_daemon
from tests.grpcio_peers import Client, Plugin, admit_request, admitted, device_list
from tests.processes import running

from .figures import Figure

GPU = "bench.example/gpu"


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
    peer_limits = ("registration-burst=1000", "time-burst=3600", f"listed-size={2**30}")
    unbounded = [part for limit in peer_limits for part in ("--peer-limit", limit)]
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


def register(devices: int, times: int) -> Iterator[Figure]:
    """From the call of Register until a list that was never seen before is known."""
    message, found = device_list(devices), []
    with node("--peer-limit", f"message-size={256 * 2**20}") as (_, client, open_plugin):
        client.follow()
        for number in range(times + 1):
            resource = f"bench.example/gpu-{number}"
            plugin = open_plugin(f"gpu-{number}")
            plugin.say(message)
            started = time.perf_counter()
            client.register(resource, plugin.socket.name)
            found.append(client.wait_for("DeviceListApplied", resource) - started)
            plugin.stop()
    yield Figure("register → visible", f"{devices:,} devices", statistics.median(found[1:]))


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
        client.wait_for("DeviceListApplied", *(f"bench.example/p{number}" for number in range(count)))
        yield Figure(f"register {count} plug-ins", f"{devices} devices each", time.perf_counter() - started)


def flood(times: int) -> Iterator[Figure]:
    """What one plug-in that sends lists as fast as it can, in a process of its own, costs the pods of another."""
    with open_daemon() as daemon:  # with the usual peer limits
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
        with running([sys.executable, "-m", "tests.hostile.fakes", daemon.root, "floods"]):
            while "limit=report_rate" not in daemon.log:
                time.sleep(0.05)
            loud = admissions("loud")
        skipped = sum(
            int(line.partition("times=")[2].split()[0]) for line in daemon.log.splitlines() if "report_rate" in line
        )
        client.close()
        plugin.stop()
    yield Figure("a flood delays another's admission", f"{skipped:,} lists", max(loud - quiet, 0.0))


def page_readers(devices: int, times: int) -> Iterator[Figure]:
    """What ten readers of the page, one of whom has stopped, cost those who admit pods: in turns with and without."""
    with node("--page", "127.0.0.1:0") as (daemon, client, open_plugin):
        serve(client, open_plugin, GPU, device_list(devices))
        (port,) = re.findall(r"http://127\.0\.0\.1:(\d+)/", daemon.log)
        found: dict[bool, list[float]] = {False: [], True: []}
        for turn in range(2 * times):
            someone_reads = turn % 2 == 1
            with readers(port, 9, 1) if someone_reads else nullcontext():
                for number in range(20):
                    name = f"pod-{turn}-{number}"
                    request = admit_request(name, {GPU: 1})
                    found[someone_reads].append(
                        timed(lambda request=request: admitted(client.admit(request, timeout=60)))
                    )
                    client.remove(name)
        alone, beside = (statistics.median(found[someone_reads]) for someone_reads in (False, True))
    yield Figure("admit, nobody reads the page", f"{devices:,} devices", alone)
    yield Figure("admit, 10 read the page, 1 of them stopped", f"× {beside / alone:.2f}", beside)


@contextmanager
def readers(port: str, reading: int, stopped: int) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.bench.page_readers", port, str(reading), str(stopped)]
    with running(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield


def empty_call(times: int) -> Iterator[Figure]:
    """The least that a question to the daemon can cost: what of every other figure is gRPC in Python."""
    with node() as (_, client, _):
        yield Figure("an empty call of the daemon", "", median(client.nothing, times * 10))


def many_nodes(nodes: int, resources: int, times: int, *, everywhere: bool = False) -> Iterator[Figure]:
    """One pod with one device of each of several resources, on a machine of which Go would look at 2^nodes masks."""
    config = (
        "kind: KubeletConfiguration\ntopologyManagerPolicy: best-effort\n"
        f"topologyManagerPolicyOptions: {{max-allowable-numa-nodes: '{nodes}'}}\n"
    )
    names = [f"bench.example/r{number}" for number in range(resources)]
    with node("--numa", ",".join(map(str, range(nodes))), config=config) as (_, client, open_plugin):
        for name in names:
            serve(client, open_plugin, name, device_list(nodes, nodes=nodes, everywhere=everywhere))

        def admission(number: int) -> float:
            request = admit_request(f"pod-{number}", dict.fromkeys(names, 1))
            found = timed(lambda: admitted(client.admit(request, timeout=60)))
            client.remove(f"pod-{number}")
            return found

        found = statistics.median([admission(number) for number in range(times + 1)][1:])
    case = f"{nodes} nodes × {resources} resources{', each device on all nodes' if everywhere else ''}"
    yield Figure("admit, best-effort", case, found)


def memory(devices: int) -> Iterator[Figure]:
    with node() as (daemon, client, open_plugin):
        client.capacity()
        idle = daemon.memory
        yield Figure("memory, idle", "", idle / 2**20, "MB")
        serve(client, open_plugin, GPU, device_list(devices))
        time.sleep(1.5)  # until the checkpoint is written, and written again
        grown = daemon.memory
        yield Figure("memory per device", f"{devices:,} devices", (grown - idle) / devices / 1000, "kB")


def start(times: int) -> Iterator[Figure]:
    found = []
    for _ in range(times):
        with open_daemon() as daemon:
            found.append(daemon.ready_after)
    yield Figure("start → ready", "", statistics.median(found))
    shown = statistics.median(
        timed(lambda: subprocess.run([*COMMAND, "--help"], capture_output=True, check=True)) for _ in range(times)
    )
    yield Figure("--help", "", shown)


def idle(seconds: float) -> Iterator[Figure]:
    with open_daemon() as daemon:
        time.sleep(3)  # whatever follows a start has been done
        before = daemon.processor_seconds
        time.sleep(seconds)
        yield Figure("processor time, idle", f"{seconds:g} s", daemon.processor_seconds - before)
