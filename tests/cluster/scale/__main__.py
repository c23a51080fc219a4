"""``python -m tests.cluster.scale [--nodes 1,10,50,200] [--pods 1000] [--flips 200] [-o table|json]``: the figures that
the page about clusters has, in one run.

All nodes are in one process, with simulated device plug-ins; the control plane is Kubernetes' own. The most nodes are
measured once more with the plug-ins in another process. It is a measurement and no test: only an error ends it with
another status than 0.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from collections.abc import Iterator, Sequence

import trio

from devicemgr.cluster.control_plane.programs import COMPONENTS, SCHEDULER, find_programs

from .cluster import OURS
from .rows import HealthRow, PodsRow, measure_health, measure_pods, quantile

HEALTH_NODES = 50
"""How many nodes there are, if that many are measured, while the health of devices is."""


async def rows(nodes: Sequence[int], pods: int, flips: int, idle: float) -> Sequence[PodsRow | HealthRow]:
    programs = await find_programs([*COMPONENTS, SCHEDULER])
    measured = [await measure_pods(programs, count, pods, idle=idle) for count in nodes]
    apart = await measure_pods(programs, max(nodes), pods, idle=idle, plugins_apart=True)
    return [*measured, apart, await measure_health(programs, min(HEALTH_NODES, max(nodes)), flips)]


def as_data(row: PodsRow | HealthRow) -> dict[str, object]:
    return dataclasses.asdict(row)


def lines(found: Sequence[PodsRow | HealthRow]) -> Iterator[str]:
    """Two tables of a page."""
    of_pods = [row for row in found if isinstance(row, PodsRow)]
    components = [name for name in of_pods[0].used if name != OURS]
    yield from table(
        [
            "nodes",
            "joined after",
            "memory",
            "each further node",
            "idle",
            "pods",
            "all Running after",
            "bound → Running",
        ],
        [pods_cells(row, of_pods[0]) for row in of_pods if not row.plugins_apart],
    )
    yield ""
    yield from table(
        ["nodes", "pods", "ours", *components, "our share"],
        [
            [
                f"{row.nodes}{', plug-ins apart' if row.plugins_apart else ''}",
                str(row.pods),
                *(f"{row.used[name]:.1f} s" for name in (OURS, *components)),
                f"{row.share:.0%}",
            ]
            for row in of_pods
        ],
    )
    for row in found:
        if isinstance(row, HealthRow):
            yield ""
            yield (
                f"{row.nodes} nodes, health of a device → allocatable at a watcher, {len(row.delays)} times: "
                f"p50 {milliseconds(quantile(row.delays, 0.5))}, p99 {milliseconds(quantile(row.delays, 0.99))}."
            )


def pods_cells(row: PodsRow, first: PodsRow) -> list[str]:
    further = f"{(row.memory - first.memory) / (row.nodes - first.nodes) / 2**20:.2f} MiB" if row is not first else ""
    times = [quantile(row.until_running, share) for share in (0.5, 0.99)]
    return [
        str(row.nodes),
        f"{row.joined_after:.1f} s",
        f"{row.memory / 2**20:.0f} MiB",
        further,
        f"{row.idle:.1%}",
        str(row.pods),
        f"{row.seconds:.1f} s",
        f"p50 {milliseconds(times[0])}, p99 {milliseconds(times[1])}",
    ]


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def table(header: Sequence[str], cells: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in cells:
        yield f"| {' | '.join(row)} |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.scale", description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", default="1,10,50,200", help="how many, each in a run of its own")
    parser.add_argument("--pods", type=int, default=1000, help="at most so many, and one for each device")
    parser.add_argument("--flips", type=int, default=200, help="how often a device becomes unhealthy")
    parser.add_argument("--idle", type=float, default=10.0, help="seconds for which nothing happens")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    found = trio.run(rows, [int(count) for count in given.nodes.split(",")], given.pods, given.flips, given.idle)
    if given.output == "json":
        print(json.dumps([as_data(row) for row in found]))
    else:
        print(f"Load average at the beginning: {load:.2f}.", "", *lines(found), sep="\n")


if __name__ == "__main__":
    main()
