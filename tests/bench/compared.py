"""The rows in which Kubernetes' own device manager is measured beside ours, with the ratios that we want to keep to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from tests.daemon_process import processor_seconds
from tests.grpcio_peers import device_list

from .figures import Compared, medians
from .sides import DAEMON, EMBEDDED, GO, Side, in_turns

GPU = "bench.example/gpu"
PODS = 110
"""As many as a kubelet takes by default."""

Open = Callable[..., AbstractContextManager[list[Side]]]
"""``open_sides`` with the program of the Go side filled in."""

REGISTER = {8: 1.2, 100: 1.2, 1_000: 1.2, 10_000: 1.2}
FLIP = {8: 1.0, 100: 0.9, 1_000: 0.7, 10_000: 0.4}
ADMIT_ALONE = {8: 1.2, 100: 1.2, 1_000: 1.0, 10_000: 0.5}
ADMIT_TOGETHER = {100: (0.6, 0.8), 1_000: (0.4, 0.6), 10_000: (0.15, 0.2)}
ALIGNED = {1: 1.0, 2: 0.3, 3: 0.003}
PROCESSOR = 2.0


def register(opened: Open, devices: int, times: int) -> Iterator[Compared]:
    """From the call of Register until a list that was never seen before counts."""
    message = device_list(devices)

    def measure(side: Side, number: int) -> float:
        resource = f"{GPU}-{number}"
        plugin = side.open_plugin(f"gpu-{number}.sock", message)
        started = time.perf_counter()
        side.register(resource, plugin.socket.name)
        found = side.wait("applied", resource) - started
        side.wait("written", resource)
        plugin.stop()
        side.wait("gone", resource)
        return found

    with opened(news=True) as sides:
        found = in_turns(sides, times, measure)
    yield _row("register → visible", f"{devices:,} devices", found, {EMBEDDED: REGISTER.get(devices)})


def flip(opened: Open, devices: int, times: int) -> Iterator[Compared]:
    """From the moment a plug-in sends a list in which one device has another health until that counts."""
    lists = [device_list(devices, bad={devices // 2}), device_list(devices)]
    with opened(news=True) as sides:
        plugins = {side.name: side.serve(GPU, lists[1]) for side in sides}

        def measure(side: Side, number: int) -> float:
            said = plugins[side.name].say(lists[number % 2])
            found = side.wait("applied", GPU) - said
            side.wait("written", GPU)
            return found

        found = in_turns(sides, times, measure)
    yield _row("flip → visible", f"{devices:,} devices", found, {EMBEDDED: FLIP.get(devices)})


def admit(opened: Open, devices: int, times: int) -> Iterator[Compared]:
    """Pods with one device each: one alone; then as many as fit, 110 at the most, at once."""
    with opened() as sides:
        for side in sides:
            side.serve(GPU, device_list(devices))
        alone = in_turns(sides, times, lambda side, number: _admission(side, [f"pod-{number}"], [GPU]))
        yield _row("admit one pod, durable", f"{devices:,} devices", alone, {EMBEDDED: ADMIT_ALONE.get(devices)})
        if devices in ADMIT_TOGETHER:
            names = [f"pod-{number}" for number in range(min(devices, PODS))]
            together = in_turns(sides, times, lambda side, number: _admission(side, names, [GPU]) / len(names))
            targets = dict(zip((EMBEDDED, DAEMON), ADMIT_TOGETHER[devices], strict=True))
            yield _row(f"admit {len(names)} at once, per pod", f"{devices:,} devices", together, targets)


def aligned(opened: Open, nodes: int, resources: int, times: int) -> Iterator[Compared]:
    """One pod with one device of each of several resources of 64, policy best-effort."""
    takes_seconds = resources >= 3  # in Go
    rounds, warm = (-(-times // 3), 0) if takes_seconds else (times, 1)
    names = [f"bench.example/r{number}" for number in range(resources)]
    with opened(policy="best-effort", nodes=nodes) as sides:
        for side in sides:
            for name in names:
                side.serve(name, device_list(64, nodes=nodes))
        found = in_turns(sides, rounds, lambda side, number: _admission(side, [f"pod-{number}"], names), warm=warm)
    yield _row("admit, best-effort", f"{nodes} nodes × {resources} resources", found, {EMBEDDED: ALIGNED[resources]})


def processor(opened: Open, pods: int) -> Iterator[Compared]:
    """What so many admissions and removals, one after the other, take of the processor."""
    with opened() as sides:
        for side in sides:
            side.serve(GPU, device_list(100))

        def measure(side: Side, number: int) -> float:
            before = processor_seconds(side.pid)
            for pod in range(pods // 10):
                _admission(side, [f"pod-{number}-{pod}"], [GPU])
            return processor_seconds(side.pid) - before

        found = {name: [sum(parts)] for name, parts in in_turns(sides, 10, measure, warm=0).items()}
    yield _row("processor time", f"{pods:,} admissions and removals", found, {EMBEDDED: PROCESSOR})


def _admission(side: Side, names: list[str], resources: list[str]) -> float:
    """Seconds; the pods are removed again."""
    pods = side.pods(names, dict.fromkeys(resources, 1))
    started = time.perf_counter()
    side.admit(pods)
    found = time.perf_counter() - started
    side.remove(pods)
    return found


def _row(row: str, case: str, found: dict[str, list[float]], targets: dict[str, float | None]) -> Compared:
    wanted = {side: target for side, target in targets.items() if target is not None}
    return Compared(row, case, medians(found), GO, wanted)
