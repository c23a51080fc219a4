"""``python -m tests.bench [--devices 8,100,1000,10000] [-o table|json]``: every row of the README's tables, in one run.

Where there is a ``go``, Kubernetes' own device manager is measured beside ours, and the ratios of the two are what
counts; without it they stay empty. It is a benchmark and no test: only an error ends it with another status than 0.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.oracle.go_build import built

from . import compared, figures, rows, sides
from .figures import Compared, Figure
from .streams import GRPCLIB, OURS, streams

NO_GO = "There is no go in PATH: the Go side is left out, and there are no ratios."


def with_go(go: Path | None, devices: list[int], *, short: bool) -> Iterator[Compared]:
    opened, times = partial(sides.open_sides, go), 3 if short else 31
    for row in (compared.register, compared.flip, compared.admit):
        for count in devices:
            yield from row(opened, count, times)
    for resources in (1, 2, 3):
        yield from compared.aligned(opened, 8, resources, times)
    yield from compared.processor(opened, 100 if short else 1000)


def by_itself(devices: list[int], *, short: bool) -> Iterator[Figure]:
    times = 3 if short else 21
    yield from rows.empty_call(times)
    yield from rows.many_plugins(10 if short else 100, 100)
    yield from rows.flood(times)
    yield from rows.page_readers(8 if short else 1000, 1 if short else 5)
    for nodes in (34, 64):
        yield from rows.many_nodes(nodes, 3, times)
        yield from rows.many_nodes(nodes, 3, times, everywhere=True)
    if not short:
        yield from rows.register(100_000, 3)
    yield from rows.memory(max(devices))
    yield from rows.start(times)
    yield from rows.idle(1 if short else 10)


def load() -> str:
    return f"{os.getloadavg()[0]:.2f}"


def print_tables(go: Path | None, devices: list[int], *, short: bool) -> None:
    print(f"Load average at the beginning: {load()}.", *([] if go else [NO_GO]))
    for base, others, found in (
        (sides.GO, [sides.EMBEDDED, sides.DAEMON], with_go(go, devices, short=short)),
        (GRPCLIB, [OURS], streams(1 if short else 5)),
    ):
        print(figures.heading(figures.columns_of(base, others)))
        for figure in found:
            print(figures.compared_line(figure, others), flush=True)
    print(figures.heading(["what", "case", sides.DAEMON]))
    for figure in by_itself(devices, short=short):
        print(figures.plain_line(figure), flush=True)
    print(f"\nLoad average at the end: {load()}.")


def print_json(go: Path | None, devices: list[int], *, short: bool) -> None:
    before = load()
    found = [*with_go(go, devices, short=short), *streams(1 if short else 5), *by_itself(devices, short=short)]
    document = {"go": go is not None, "load": [before, load()], "rows": [figure.as_json() for figure in found]}
    json.dump(document, sys.stdout, indent=2)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--devices", default="8,100,1000,10000", help="how many, with commas between")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    parser.add_argument("--short", action="store_true", help="few repetitions: does it run at all?")
    parser.add_argument("--curves", metavar="FILE", help="draw cost curves into an SVG file, and nothing else")
    arguments = parser.parse_args()
    if arguments.curves:
        from .curves import draw

        draw(arguments.curves)
        return 0
    devices = [int(count) for count in arguments.devices.split(",")]
    output = print_tables if arguments.output == "table" else print_json
    output(built(), devices, short=arguments.short)
    return 0


sys.exit(main())
