"""Our manager, embedded in a program of its own, behind the same loop of commands as Go's (``oracle/go_manager``).

Plug-ins reach it by its sockets. What a kubelet does in its own process, admitting and removing pods, are method calls
here, as they are in Go.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import trio

from devicemgr import Container, DeviceManager, Numa, PeerLimits, Pod, Policy, Topology, open_device_manager

MESSAGE_SIZE = 2**28
UNBOUNDED = PeerLimits(
    message_size=MESSAGE_SIZE,
    listed_size=2**30,
    report_rate=1e6,
    report_burst=2**30,
    registration_rate=1e6,
    registration_burst=2**30,
    time_share=1.0,
    time_burst=3600.0,
)
"""All plug-ins of the benchmark are one process; what one process may ask for is measured elsewhere."""
MARKS = {"DeviceListApplied": "applied", "EndpointStopped": "gone"}


class Marks:
    """When what happened to which resource, on the machine's monotonic clock; a sink of events."""

    def __init__(self) -> None:
        self._times: dict[tuple[str, str], list[float]] = defaultdict(list)
        self._changed = trio.Event()

    def __call__(self, recorded: Any) -> None:
        at, event = time.perf_counter(), recorded.event
        if what := MARKS.get(type(event).__name__):
            self._times[what, event.resource].append(at)
            self._changed.set()
            self._changed = trio.Event()

    async def wait(self, what: str, resource: str, count: int) -> float:
        """When it happened for the ``count``-th time."""
        times = self._times[what, resource]
        while len(times) < count:
            await self._changed.wait()
        return times[count - 1]


async def serve(commands: AsyncIterator[dict[str, Any]], start: dict[str, Any]) -> None:
    """Everything after the command ``start``."""
    marks = Marks()
    topology = Topology(policy=Policy(start["policy"]), numa=Numa(nodes=tuple(range(start["nodes"]))))
    async with open_device_manager(
        start["directory"], topology=topology, peer_limits=UNBOUNDED, sinks=[marks]
    ) as manager:
        answer()
        async for command in commands:
            with trio.fail_after(60):
                if command["do"] == "wait":
                    answer(at=await wait(manager, marks, command["what"], command["resource"], command["count"]))
                else:
                    await for_each_pod(manager, command["do"], command["pods"])
                    answer()


async def wait(manager: DeviceManager, marks: Marks, what: str, resource: str, count: int) -> float:
    if what == "written":
        await manager.flush()
    elif what == "listed":
        await manager.wait_for_resource(resource, capacity=count)
    else:
        return await marks.wait(what, resource, count)
    return time.perf_counter()


async def for_each_pod(manager: DeviceManager, do: str, pods: list[dict[str, Any]]) -> None:
    work = {"admit": admit, "remove": remove}[do]
    if len(pods) == 1:  # Go's side calls its manager in a loop, so a task for one pod would be the benchmark's own cost
        await work(manager, pods[0]["name"], pods[0]["limits"])
        return
    async with trio.open_nursery() as nursery:
        for pod in pods:
            nursery.start_soon(work, manager, pod["name"], pod["limits"])


async def admit(manager: DeviceManager, name: str, limits: dict[str, int]) -> None:
    pod = Pod(name=name, uid=name, containers=(Container(name="main", limits=limits),))
    admission = await manager.admit(pod, start=False)
    assert admission.admitted, admission.message


async def remove(manager: DeviceManager, name: str, limits: dict[str, int]) -> None:
    assert await manager.remove("default", name), name


async def read_commands() -> AsyncIterator[dict[str, Any]]:
    stream, rest = trio.lowlevel.FdStream(os.dup(0)), b""
    while data := await stream.receive_some(2**20):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield json.loads(line)


def answer(**values: float) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


async def main() -> None:
    commands = read_commands()
    await serve(commands, await anext(commands))


if __name__ == "__main__":
    trio.run(main)
