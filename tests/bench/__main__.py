"""``python -m tests.bench [--devices 8,100,1000,10000] [-o table|json]``: every row of the README's table, in one run.

U is one unary round trip of grpcio on this machine; a target holds when the figure is at most so many U. It is a
benchmark and no test: a missed target is printed, and only an error ends it with another status than 0.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator

from . import rows
from .rows import Figure

TARGETS = {
    "register": {8: 4, 100: 4, 1000: 6, 10000: 30},
    "health": {8: 1.2, 100: 1.5, 1000: 2.5, 10000: 12},
    "admit": {8: 2.0, 100: 2.2, 1000: 2.5, 10000: 4},
}


def all_rows(devices: list[int], *, short: bool) -> Iterator[Figure]:
    times = 3 if short else 21
    yield from rows.empty_call(times)
    yield from rows.least_register(min(devices), times)
    for name in ("register", "health", "admit"):
        for count in devices:
            yield from getattr(rows, name)(count, times, TARGETS[name].get(count))
    for nodes, resources in [(8, 4)] if short else [(4, 1), (4, 3), (8, 1), (8, 2), (8, 3), (8, 4)]:
        yield from rows.aligned(nodes, resources, times, 20 if (nodes, resources) == (8, 4) else None)
    yield from rows.many_plugins(10 if short else 100, 100)
    yield from rows.flood(times)
    if not short:
        yield from rows.register(100_000, 3, None)
    yield from rows.memory(max(devices))
    yield from rows.start(times)
    yield from rows.idle(1 if short else 10)


def judged(figure: Figure, unit: float) -> dict[str, object]:
    in_units = figure.value / unit if figure.unit == "s" else None
    measured = figure.value if in_units is None else in_units
    verdict = "" if figure.target is None else "met" if measured <= figure.target else "missed"
    return {
        "row": figure.row,
        "case": figure.case,
        "value": figure.value,
        "unit": figure.unit,
        "in_u": in_units,
        "target": figure.target,
        "verdict": verdict,
    }


def line(row: dict) -> str:
    value, target = row["value"], row["target"]
    shown = f"{value * 1000:9.2f} ms" if row["unit"] == "s" else f"{value:9.2f} {row['unit'].partition(' ')[0]:2}"
    in_u = "" if row["in_u"] is None else f"{row['in_u']:7.1f}"
    wanted = "" if target is None else f"≤ {target:g}"
    return f"{row['row']:36} {row['case']:20} {shown:>12} {in_u:>8} {wanted:>8}  {row['verdict']}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--devices", default="8,100,1000,10000", help="how many, with commas between")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    parser.add_argument("--short", action="store_true", help="few repetitions: does it run at all?")
    parser.add_argument("--curves", metavar="FILE", help="draw cost curves into an SVG file, and nothing else")
    arguments = parser.parse_args()
    devices = [int(count) for count in arguments.devices.split(",")]
    unit = rows.round_trip()
    if arguments.curves:
        from .curves import draw

        draw(arguments.curves, unit)
        return 0
    found = []
    if arguments.output == "table":
        print(f"U = {unit * 1000:.3f} ms, one unary round trip of grpcio on this machine\n")
        print(f"{'what':36} {'case':20} {'median':>12} {'in U':>8} {'target':>8}")
    for figure in all_rows(devices, short=arguments.short):
        found.append(judged(figure, unit))
        if arguments.output == "table":
            print(line(found[-1]), flush=True)
    if arguments.output == "json":
        json.dump({"u": unit, "rows": found}, sys.stdout, indent=2)
    return 0


sys.exit(main())
