"""What grows with what: an admission and a change of health, as functions of devices, pods and plug-ins."""

from __future__ import annotations

import statistics
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

from tests.grpcio_peers import Plugin, admit_request, admitted, device_list

from .rows import GPU, node, serve, timed

TIMES = 21
SIZES = (1, 10, 100, 1_000, 10_000)
PLUGINS = (1, 10, 100, 1_000)
"""More need more open files than a process usually may have."""


def by_devices(count: int) -> tuple[float, float]:
    with node() as (_, client, open_plugin):
        plugin = serve(client, open_plugin, GPU, device_list(count))
        admission = _admissions(client, GPU)
        return admission, _changes(client, plugin, GPU, count)


def by_pods(count: int) -> tuple[float, float]:
    """One device each, of as many and some more."""
    with node() as (_, client, open_plugin):
        plugin = serve(client, open_plugin, GPU, device_list(count + 10))
        for begin in range(0, count, 100):
            requests = [admit_request(f"here-{n}", {GPU: 1}) for n in range(begin, min(begin + 100, count))]
            for answer in [client.admit.future(request, timeout=600) for request in requests]:
                admitted(answer.result())
        admission = _admissions(client, GPU)
        return admission, _changes(client, plugin, GPU, count + 10)


def by_plugins(count: int) -> tuple[float, float]:
    """All on one server with as many sockets; each has ten devices."""
    with node() as (daemon, client, _):
        names = [f"p{number}.sock" for number in range(count)]
        plugin = Plugin(daemon.root / "device-plugins" / names[0], more=names[1:])
        plugin.say(device_list(10))
        for number, name in enumerate(names):
            client.register(f"bench.example/p{number}", name)
        client.wait_capacity(f"bench.example/p{count - 1}")
        admission = _admissions(client, "bench.example/p0")
        found = admission, _changes(client, plugin, "bench.example/p0", 10, streams=1)
        plugin.stop()
        return found


def _admissions(client, resource: str) -> float:
    found = []
    for number in range(TIMES):
        request = admit_request(f"pod-{number}", {resource: 1})
        found.append(timed(lambda request=request: admitted(client.admit(request, timeout=60))))
        client.remove(f"pod-{number}")
    return statistics.median(found)


def _changes(client, plugin, resource: str, devices: int, *, streams: int | None = None) -> float:
    """The last device breaks, and is mended again."""
    lists, found = [device_list(devices, bad={devices - 1}), device_list(devices)], []
    client.follow()
    for number in range(TIMES):
        client.hush()
        started = plugin.say(lists[number % 2], streams=streams)
        found.append(client.wait_for("DeviceListApplied", resource) - started)
    client.unfollow()
    return statistics.median(found)


def draw(path: str) -> None:
    """Both curves over each of the three, on two logarithmic axes."""
    mpl.rcParams["svg.hashsalt"] = "devicemgr"  # the same curves make the same file
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharey=True)
    series = {"devices": (by_devices, SIZES), "pods": (by_pods, SIZES), "plug-ins": (by_plugins, PLUGINS)}
    for name, (measure, sizes) in series.items():
        points = [measure(size) for size in sizes]
        print(
            name,
            [(size, *(f"{value * 1000:.1f} ms" for value in point)) for size, point in zip(sizes, points, strict=True)],
        )
        for axis, values in zip(axes, zip(*points, strict=True), strict=True):
            axis.plot(sizes, [value * 1000 for value in values], marker="o", label=name)
    for axis, title in zip(axes, ("admit a pod by itself, durable", "health change → visible"), strict=True):
        axis.set(xscale="log", yscale="log", title=title, xlabel="how many", ylabel="ms")
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(Path(path), metadata={"Date": None})
